package proxy

import (
	"net/netip"
	"strings"

	"vestibule/configs"
	"vestibule/routing"
)

// Preview is what an upstream would get of a request, for explain.
type Preview struct {
	// Target as it is forwarded.
	Target string
	// Set are the fields that are not the client's: who asked, and the route's.
	Set Header
	// Dropped are the client's fields that are left out.
	Dropped []DroppedField
}

// DroppedField is a field of the client's that no upstream sees.
type DroppedField struct{ Name, Why string }

// NewPreview writes the head of a request as Serve would, and tells what became
// of it. The decision is to forward it.
func NewPreview(req *Request, d *routing.Decision, client netip.Addr, secure bool) Preview {
	x := &exchange{req: req, id: identity{client, secure}, decision: *d}
	pl := &pool{Pool: d.Pool, synapse: IsSynapse(d.Pool.Class)}
	lines := strings.Split(string(x.appendHead(nil, pl)), "\r\n")
	var v Preview
	v.Target, _, _ = strings.Cut(strings.TrimPrefix(lines[0], req.Method+" "), " ")
	kept := x.previewDropped(&v, x.upgrade(pl))
	for _, line := range lines[2+kept:] { // Host stands before what is kept
		name, value, _ := strings.Cut(line, ": ")
		if name != "" && name != "Content-Length" {
			v.Set = append(v.Set, Field{name, value})
		}
	}
	return v
}

// previewDropped sorts the client's fields and counts those that are kept.
// An upgrade's are written anew with the same meaning.
func (x *exchange) previewDropped(v *Preview, upgrade bool) (kept int) {
	var buf [4]string
	connection := x.req.Header.Values(buf[:0], "Connection")
	for _, f := range x.req.Header {
		why := ""
		switch {
		case dropped(f.Name, connection):
			why = whyDropped(f.Name, connection)
		case x.replaced(f.Name):
			why = "the route sets or removes it"
		default:
			kept++
			continue
		}
		if !upgrade || !strings.EqualFold(f.Name, "Connection") && !strings.EqualFold(f.Name, "Upgrade") {
			v.Dropped = append(v.Dropped, DroppedField{f.Name, why})
		}
	}
	return kept
}

// whyDropped explains dropped.
func whyDropped(name string, connection []string) string {
	n := []byte(name)
	for i := range n {
		n[i] = plain(n[i])
	}
	switch {
	case forThisHop(n):
		return "it is for one hop alone"
	case string(n) == "host" || string(n) == "content-length" || string(n) == "expect":
		return "it belongs to the framing"
	case setAnew(n) || strings.HasPrefix(string(n), identityPrefix):
		return "it claims who the client is"
	case named(name, connection):
		return "Connection names it"
	}
	return "it is not passed on"
}

// Attribute finds who a request comes from, and whether over TLS, as far as the
// trusted proxies of its entrypoint say so.
func Attribute(cfg *configs.Config, req *Request) (client netip.Addr, secure bool) {
	id := identify(req, trustedProxies(cfg, req.Entrypoint.Role))
	return id.client, id.secure
}

// trustedProxies are the addresses that may speak for clients on an entrypoint.
func trustedProxies(cfg *configs.Config, role routing.Entrypoint) []netip.Prefix {
	own := map[routing.Entrypoint][]netip.Prefix{
		routing.HTTPS:      cfg.Entrypoints.HTTPS.TrustedProxies,
		routing.Federation: cfg.Entrypoints.Federation.TrustedProxies,
	}[role]
	if own != nil {
		return own
	}
	return cfg.TrustedProxies
}
