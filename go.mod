module vestibule

go 1.26.0

require (
	github.com/caddyserver/certmagic v0.25.6
	github.com/miekg/dns v1.1.73
	github.com/prometheus/client_golang v1.25.0
	go.uber.org/zap v1.28.0
	golang.org/x/net v0.59.0
	gopkg.in/yaml.v3 v3.0.1
)
