package proxy

import (
	"net"
	"net/http"
	"strconv"
	"strings"

	"vestibule/configs"
	"vestibule/routing"
)

// redirector decides on the http entrypoint: everything is at https.
type redirector struct {
	port string // of https, as clients see it, with its colon; "" for 443
}

var (
	ruleHTTPS   = &routing.Rule{Name: "https"}
	ruleNowhere = &routing.Rule{Name: "bad_request"}
)

// decide fills the exchange's decision.
func (r *redirector) decide(x *exchange) {
	d := &x.decision
	host := routing.Host(x.req.Host)
	if host == "" || !strings.HasPrefix(x.req.Target, "/") {
		*d = routing.Decision{Action: routing.Refuse, Rule: ruleNowhere, Status: http.StatusBadRequest, Errcode: "M_UNKNOWN",
			Class: configs.ClassDeny, Endpoint: configs.ClassDeny}
		return
	}
	*d = routing.Decision{Action: routing.Redirect, Rule: ruleHTTPS, Status: http.StatusPermanentRedirect,
		Location: "https://" + host + r.port + x.req.Target, Class: configs.ClassLocal, Endpoint: configs.ClassLocal}
	if x.req.Method == http.MethodGet || x.req.Method == http.MethodHead {
		d.Status = http.StatusMovedPermanently
	}
}

// publicPort is the port that clients use for https, as a redirector has it: the
// one that is configured, else the one listened on. Behind another proxy, which
// ends TLS, it is that proxy's, and that is 443.
func publicPort(cfg *configs.Config, ls *Listeners) string {
	port := cfg.Entrypoints.HTTPS.PublicPort
	for _, r := range ls.Routed {
		if port != 0 || r.Entrypoint.Name != "https" || !r.TLS {
			continue
		}
		for _, l := range r.Listeners {
			if a, ok := l.Addr().(*net.TCPAddr); ok {
				port = a.Port
				break
			}
		}
	}
	if port == 0 || port == 443 {
		return ""
	}
	return ":" + strconv.Itoa(port)
}
