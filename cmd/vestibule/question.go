package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"vestibule/configs"
	"vestibule/proxy"
	"vestibule/routing"
)

// question is a request as explain was asked about it.
type question struct {
	routing.Request
	header proxy.Header // but for Host
	secure bool
}

// question reads a request as a person writes it: a URL, or a target with a
// Host field. The target's bytes are kept.
func (e *explainer) question(method, url string, fields []string, from, entrypoint string) (*question, error) {
	if method == "" || strings.ContainsAny(method, "/: \t") {
		return nil, fmt.Errorf("%q is not a method (hint: GET, before the URL)", method)
	}
	q := &question{Request: routing.Request{Method: method, Target: url}}
	scheme := "https"
	if i := strings.Index(url, "://"); i > 0 && !strings.HasPrefix(url, "/") {
		scheme = strings.ToLower(url[:i])
		q.Host, q.Target = splitURL(url[i+3:])
	}
	if scheme != "https" && scheme != "http" {
		return nil, fmt.Errorf("%s:// is not answered (hint: ask about https://)", scheme)
	}
	for _, f := range fields {
		if err := q.addField(f); err != nil {
			return nil, err
		}
	}
	if q.Host == "" {
		q.Host = e.cfg.Sites[0].Host
	}
	if err := e.enter(&q.Request, scheme, entrypoint); err != nil {
		return nil, err
	}
	q.secure = scheme == "https" && q.Entrypoint != routing.Internal
	if from == "" {
		return q, nil
	}
	addr, err := netip.ParseAddr(from)
	if err != nil {
		return nil, fmt.Errorf("--from %s is not an address", from)
	}
	q.Client, q.secure = proxy.Attribute(e.cfg, &proxy.Request{
		Entrypoint: &proxy.Entrypoint{Role: q.Entrypoint}, Header: q.header, Secure: q.secure, Peer: netip.AddrPortFrom(addr, 0),
	})
	return q, nil
}

// addField reads "Name: value".
func (q *question) addField(field string) error {
	name, value, ok := strings.Cut(field, ":")
	value = strings.Trim(value, " \t")
	if !ok || name == "" || strings.ContainsFunc(field, unicode.IsControl) {
		return fmt.Errorf("%q is not a header field (hint: write 'Name: value')", field)
	}
	if strings.EqualFold(name, "Host") {
		q.Host = value
		return nil
	}
	if strings.EqualFold(name, "Authorization") {
		q.Authorization = append(q.Authorization, value)
	}
	q.header = append(q.header, proxy.Field{Name: name, Value: value})
	return nil
}

// splitURL cuts what follows "://" into host and target. Browsers keep the
// fragment to themselves, and a name and password out of both.
func splitURL(rest string) (host, target string) {
	rest, _, _ = strings.Cut(rest, "#")
	host, target = rest, "/"
	if end := strings.IndexAny(rest, "/?"); end >= 0 {
		host, target = rest[:end], rest[end:]
	}
	if target[0] == '?' {
		target = "/" + target
	}
	return host[strings.LastIndexByte(host, '@')+1:], target
}

// enter finds the entrypoint: the one named, else the one whose port the
// request's host carries.
func (e *explainer) enter(q *routing.Request, scheme, name string) error {
	_, port, _ := net.SplitHostPort(q.Host)
	q.Site = e.internalSite(q.Host, port)
	switch {
	case name == "https":
		q.Entrypoint = routing.HTTPS
	case name == "federation":
		q.Entrypoint = routing.Federation
	case name == "internal":
		q.Entrypoint = routing.Internal
	case name != "":
		return fmt.Errorf("there is no entrypoint %q to route on (hint: https, federation or internal)", name)
	case scheme == "http" && slices.ContainsFunc(e.cfg.Sites, func(s *configs.Site) bool { return listensOn(s.Internal.Addresses, port) }):
		q.Entrypoint = routing.Internal
	case scheme == "http" && e.cfg.Entrypoints.HTTPS.TLS:
		return errors.New("everything at http:// is redirected to https:// (hint: ask about that, or with --entrypoint internal)")
	case e.federates(port):
		q.Entrypoint = routing.Federation
	default:
		q.Entrypoint = routing.HTTPS
	}
	return nil
}

// internalSite is the server_name whose internal entrypoint a request can come
// in on: the one with the port, else that of the host, else the first.
func (e *explainer) internalSite(host, port string) string {
	for _, s := range e.cfg.Sites {
		if listensOn(s.Internal.Addresses, port) {
			return s.ServerName
		}
	}
	host = routing.Host(host)
	for _, s := range e.cfg.Sites {
		if host == routing.Host(s.Host) || host == routing.Host(s.ServerName) {
			return s.ServerName
		}
	}
	return e.cfg.Sites[0].ServerName
}

// listensOn tells whether one of the addresses has a port.
func listensOn(addresses []configs.Address, port string) bool {
	return slices.ContainsFunc(addresses, func(a configs.Address) bool {
		_, p, err := net.SplitHostPort(string(a))
		return err == nil && p == port
	})
}

// federates says whether a port is one that other homeservers use.
func (e *explainer) federates(port string) bool {
	takes := func(ep *configs.Entrypoint) bool {
		return port == strconv.Itoa(ep.PublicPort) || listensOn(ep.Addresses, port)
	}
	if takes(&e.cfg.Entrypoints.HTTPS) {
		return false
	}
	advertised := slices.ContainsFunc(e.cfg.Sites, func(s *configs.Site) bool { return port == strconv.Itoa(s.Federation.Port) })
	return advertised || port == "8448" || takes(&e.cfg.Entrypoints.Federation)
}
