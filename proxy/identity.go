package proxy

import (
	"net/netip"
	"strings"
)

// identity is who a request is attributed to.
type identity struct {
	client netip.Addr // invalid on Unix sockets without a trusted header
	secure bool
}

// identify believes the connection, and forwarding headers only as far as
// trusted proxies wrote them: X-Forwarded-For is read from its right end up to
// the first address that is not trusted.
func identify(req *Request, proxies []netip.Prefix) identity {
	id := identity{client: req.Peer.Addr().Unmap(), secure: req.Secure}
	if !trusted(id.client, proxies) {
		return id
	}
	if proto, ok := req.Header.Get("X-Forwarded-Proto"); ok {
		id.secure = strings.EqualFold(strings.TrimSpace(proto), "https")
	}
	var buf [4]string
	lists := req.Header.Values(buf[:0], "X-Forwarded-For")
	for i := len(lists) - 1; i >= 0; i-- {
		list := lists[i]
		for list != "" {
			var last string
			if comma := strings.LastIndexByte(list, ','); comma >= 0 {
				list, last = list[:comma], list[comma+1:]
			} else {
				list, last = "", list
			}
			addr, ok := parseHop(trimBlanks(last))
			if !ok {
				return id
			}
			id.client = addr
			if !trusted(addr, proxies) {
				return id
			}
		}
	}
	return id
}

// trusted says whether an address may speak for others. The peer of a Unix
// socket has no address; the socket's mode is what guards it.
func trusted(addr netip.Addr, proxies []netip.Prefix) bool {
	if !addr.IsValid() {
		return true
	}
	for _, p := range proxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// parseHop reads an address as proxies write it: bare, in brackets, with or
// without a port.
func parseHop(s string) (netip.Addr, bool) {
	if addr, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return addr.Unmap().WithZone(""), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	return netip.Addr{}, false
}

// mask shortens an address to its network for the log: /24 and /48.
func mask(addr netip.Addr) netip.Addr {
	bits := 48
	if addr.Is4() {
		bits = 24
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Addr{}
	}
	return p.Addr()
}
