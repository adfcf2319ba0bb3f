package proxy

import (
	"net/http"
	"strings"

	"vestibule/configs"
	"vestibule/routing"
)

// guard refuses, before routing, what no front door passes on, whichever front
// end took it in. It fills the exchange's decision and says whether it did.
func (x *exchange) guard() bool { return Guard(x.req.Method, x.req.Host, &x.decision) }

// Guard is what guard does, for explain.
func Guard(method, host string, d *routing.Decision) bool {
	switch {
	case method == http.MethodConnect || method == http.MethodTrace:
		// An answer to CONNECT turns the connection into a tunnel for whoever takes
		// it at its word (RFC 9110, section 9.3.6), and TRACE shows a page what its
		// cookies are and what was added on the way (section 9.3.8).
		*d = routing.Decision{Action: routing.Refuse, Rule: ruleNowhere, Status: http.StatusNotImplemented, Errcode: "M_UNRECOGNIZED",
			Class: configs.ClassDeny, Endpoint: configs.ClassDeny}
	case !isToken(method) || !plainPort(host):
		// Go's HTTP/2 server takes any method; one with blanks in it would bring a
		// target of its own into the request line, past routing.
		*d = routing.Decision{Action: routing.Refuse, Rule: ruleNowhere, Status: http.StatusBadRequest, Errcode: "M_UNKNOWN",
			Class: configs.ClassDeny, Endpoint: configs.ClassDeny}
	default:
		return false
	}
	return true
}

// plainPort says whether what follows the name in a Host is a port or nothing
// (RFC 9110, section 7.2). Routing looks at the name alone, a back end may not.
func plainPort(host string) bool {
	if strings.HasPrefix(host, "[") {
		name, after, _ := strings.Cut(host, "]")
		if after != "" && after[0] != ':' {
			return false
		}
		host = strings.ReplaceAll(name, ":", "") + after
	}
	_, port, _ := strings.Cut(host, ":")
	for i := range len(port) {
		if port[i] < '0' || port[i] > '9' {
			return false
		}
	}
	return len(port) <= len("65535")
}
