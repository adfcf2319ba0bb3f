package proxy

import (
	"net"
	"net/http"
	"strconv"
	"strings"

	"vestibule/configs"
	"vestibule/routing"
)

// redirector decides on the http entrypoint: everything is at https, but for what
// proves to an authority that a name is ours.
type redirector struct {
	port  string // of https, as clients see it, with its colon; "" for 443
	prove func(host, path string) (proof string, ok bool)
}

var (
	ruleHTTPS     = &routing.Rule{Name: "https"}
	ruleChallenge = &routing.Rule{Name: "acme_challenge"}
	ruleNowhere   = &routing.Rule{Name: "bad_request"}
)

// challengePath is where authorities look (RFC 8555, section 8.3).
const challengePath = "/.well-known/acme-challenge/"

// proof is what an authority is to be told, if that is what the request is for.
func (r *redirector) proof(x *exchange) (string, bool) {
	path, _, _ := strings.Cut(x.req.Target, "?")
	if !strings.HasPrefix(path, challengePath) || x.req.Method != http.MethodGet && x.req.Method != http.MethodHead {
		return "", false
	}
	return r.prove(routing.Host(x.req.Host), path)
}

// decide fills the exchange's decision.
func (r *redirector) decide(x *exchange) {
	var ok bool
	if x.proof, ok = r.proof(x); ok {
		x.decision = routing.Decision{Action: routing.Local, Rule: ruleChallenge, Class: configs.ClassLocal, Endpoint: configs.ClassLocal}
		return
	}
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
