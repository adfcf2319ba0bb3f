package configs

import (
	"net"
	"net/url"
	"strings"
)

// Upstream is one process that answers: a URL, or a mapping with a url.
type Upstream struct {
	// URL is "http://host:port", "https://host:port" (verified) or "unix:/path".
	URL string `yaml:"url"`
	// Weight is its share among the upstreams of its pool. Optional. Defaults
	// to 1.
	Weight int `yaml:"weight"`
	// CAFile verifies an https upstream instead of the system's roots. Optional.
	CAFile string `yaml:"ca_file"`
	// ServerName is the name an https upstream must prove. Optional. Defaults to
	// the URL's host.
	ServerName string `yaml:"server_name"`
	// MaxConns bounds the connections open to it at once. Optional. Defaults to
	// no bound.
	MaxConns int `yaml:"max_conns"`

	Place Place `yaml:"-"`
}

// Network is what to dial: "tcp" or "unix".
func (u Upstream) Network() string {
	if strings.HasPrefix(u.URL, "unix:") {
		return "unix"
	}
	return "tcp"
}

// Address is where to dial: "host:port", the port being 80 or 443 when the URL
// names none, or the path of a Unix socket. Hosts are in lower case.
func (u Upstream) Address() string {
	if path, ok := strings.CutPrefix(u.URL, "unix:"); ok {
		return path
	}
	parsed, err := url.Parse(u.URL)
	if err != nil {
		return ""
	}
	port := parsed.Port()
	switch {
	case port != "":
	case u.TLS():
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(strings.ToLower(parsed.Hostname()), port)
}

// TLS tells whether the upstream is spoken to over TLS.
func (u Upstream) TLS() bool { return strings.HasPrefix(u.URL, "https://") }

// TLSName is the name an https upstream must prove: ServerName, or the URL's
// host. It is empty without TLS.
func (u Upstream) TLSName() string {
	if !u.TLS() || u.ServerName != "" {
		return u.ServerName
	}
	host, _, err := net.SplitHostPort(u.Address())
	if err != nil {
		return ""
	}
	return host
}

func (u *Upstream) setDefaults() { u.Weight = 1 }

// decodeFrom reads a URL or a mapping with a url.
func (u *Upstream) decodeFrom(at spot) {
	if at.node.kind != mappingNode {
		text, ok := at.text()
		if !ok {
			at.reject("expected an upstream", `write "http://host:port" or { url: "http://host:port" }`)
		}
		u.URL, u.Place = text, at.node.place
		return
	}
	decodeStruct(at, u)
}

// normalise lower-cases the scheme and drops a lone slash after the host, which
// says nothing.
func (u *Upstream) normalise() {
	scheme, rest, found := strings.Cut(u.URL, "://")
	if !found {
		return
	}
	u.URL = strings.ToLower(scheme) + "://" + rest
	if strings.Count(rest, "/") == 1 {
		u.URL = strings.TrimSuffix(u.URL, "/")
	}
}

// check reports what is wrong with the upstream itself.
func (u *Upstream) check(at spot) {
	u.normalise()
	urlAt := at
	if at.node != nil && at.node.kind == mappingNode {
		urlAt = at.key("url")
		at.require("url")
	}
	if u.URL == "" {
		if at.written() && at.node.kind == scalarNode {
			at.fail("is empty", `write "http://host:port", or remove it`)
		}
		return
	}
	if message, hint := upstreamMistake(u.URL); message != "" {
		urlAt.fail(message, hint)
		return
	}
	at.key("weight").inRange(u.Weight, 1, 1000)
	if at.key("max_conns").written() {
		at.key("max_conns").inRange(u.MaxConns, 1, 1_000_000)
	}
	u.checkTLS(at)
}

func (u *Upstream) checkTLS(at spot) {
	for _, name := range []string{"ca_file", "server_name"} {
		if key := at.key(name); key.written() && !u.TLS() {
			key.fail("is only for https upstreams", "remove it, or write the url with https://")
		}
	}
	at.key("server_name").valid(u.ServerName, hostMistake)
	if u.CAFile != "" && u.TLS() {
		u.CAFile = at.key("ca_file").resolve(u.CAFile)
		at.key("ca_file").checkRoots(u.CAFile)
	}
}

// upstreamMistake says what is wrong with an upstream's URL.
func upstreamMistake(text string) (message, hint string) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		return socketPathMistake(path)
	}
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		return quote(text) + " has no scheme", "write " + quote("http://"+strings.TrimLeft(text, "/"))
	}
	if scheme != "http" && scheme != "https" {
		return "the scheme " + quote(scheme) + " is not one of http, https, unix", "write " + quote("http://"+rest)
	}
	host, _, hasPath := cutAny(rest, "/?#")
	if i := strings.LastIndex(host, "@"); i >= 0 {
		return "the URL holds a user name or a password", "write " + quote(scheme+"://"+host[i+1:])
	}
	if hasPath {
		return quote(text) + " has a path or a query", "write " + quote(scheme+"://"+host)
	}
	return authorityMistake(host)
}

// authorityMistake says what is wrong with "host" or "host:port" of an upstream.
// Container names may hold an underscore, unlike host names.
func authorityMistake(authority string) (message, hint string) {
	host, port, hasPort := splitPort(authority)
	if hasPort {
		if _, ok := parsePort(port, 1); !ok {
			return quote(port) + " is not a port", "write a number from 1 to 65535"
		}
	}
	if host == "" {
		return quote(authority) + " has no host", ""
	}
	return nameMistake(strings.ReplaceAll(host, "_", "-"), host)
}

// cutAny is strings.Cut around the first of several bytes.
func cutAny(s, separators string) (before, after string, found bool) {
	i := strings.IndexAny(s, separators)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}
