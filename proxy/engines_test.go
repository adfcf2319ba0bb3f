package proxy

import (
	"log/slog"
	"net/http"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"vestibule/configs"
)

// engine is a front end under test: what listens, parses and calls Proxy.Serve.
// The suite in messages_test.go, behaviour_test.go and h2spec_test.go asks all
// of them the same, from outside.
type engine struct {
	name string // as in the exceptions of testdata/messages.txt
	// start serves what Listen opened for f.proxy.
	start func(f *front, cfg *configs.Config, ls *Listeners)
}

var engines = []engine{{"standard", startServer}, {"own", startServer}}

// startServer serves with the engine that the configuration names.
func startServer(f *front, cfg *configs.Config, ls *Listeners) {
	f.server = NewServer(f.proxy, cfg, ls, newSelfSigned(f.t), http.NotFoundHandler(), slog.New(slog.NewJSONHandler(f.messages, nil)))
	f.server.Start()
	f.t.Cleanup(func() { f.server.Stop(0) })
}

// eachEngine runs a test for every front end.
func eachEngine(t *testing.T, test func(t *testing.T, e engine)) {
	t.Helper()
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) { test(t, e) })
	}
}

// front is a front door of this engine with one entrypoint, https, whose port the
// system chooses; it speaks TLS or, for tests that look at bytes, does not.
func (e engine) front(t testing.TB, sites string, secure bool) *front {
	t.Helper()
	f := &front{t: t, registry: prometheus.NewRegistry(), log: &lockedBuffer{}, messages: &lockedBuffer{}}
	cfg := f.load(sites)
	cfg.Engine = e.name
	p := &cfg.Entrypoints
	p.HTTP.Addresses, p.Federation.Addresses, p.Admin.Addresses = nil, nil, nil
	p.HTTPS.Addresses, p.HTTPS.TLS = []configs.Address{"127.0.0.1:0"}, secure
	f.proxy = New(NewMetrics(f.registry), slog.New(slog.NewJSONHandler(f.messages, nil)), f.log)
	f.proxy.unprobed = true
	if err := f.proxy.Apply(cfg, nil); err != nil {
		t.Fatal(err)
	}
	ls, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	f.https = ls.Routed[0].Listeners[0].Addr().String()
	e.start(f, cfg, ls)
	return f
}
