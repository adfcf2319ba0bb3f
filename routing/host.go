package routing

import (
	"net/netip"
	"strings"
)

// Host returns the canonical form of a Host header field or authority: without
// port and final dot, in lower case. An IPv6 literal keeps its brackets.
func Host(raw string) string {
	if literal := strings.ToLower(trimHost(raw)); !strings.HasPrefix(literal, "[") {
		return literal
	}
	return string(appendHost(nil, raw))
}

// appendHost appends Host(raw) to dst. Names in DNS are ASCII, so only A to Z
// have a lower case.
func appendHost(dst []byte, raw string) []byte {
	raw = trimHost(raw)
	if len(raw) > 2 && raw[0] == '[' && raw[len(raw)-1] == ']' {
		if address, err := netip.ParseAddr(raw[1 : len(raw)-1]); err == nil && address.Is6() && address.Zone() == "" {
			return append(address.AppendTo(append(dst, '[')), ']') // one address has many spellings (RFC 5952)
		}
	}
	for _, c := range []byte(raw) {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

// trimHost cuts the port and the final dot off.
func trimHost(raw string) string {
	if strings.HasPrefix(raw, "[") {
		if i := strings.IndexByte(raw, ']'); i >= 0 {
			return raw[:i+1]
		}
		return raw
	}
	if i := strings.IndexByte(raw, ':'); i >= 0 {
		raw = raw[:i]
	}
	return strings.TrimSuffix(raw, ".")
}
