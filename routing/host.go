package routing

import "strings"

// Host returns the canonical form of a Host header field or authority: without
// port and final dot, in lower case. An IPv6 literal keeps its brackets.
func Host(raw string) string {
	return strings.ToLower(trimHost(raw))
}

// appendHost appends Host(raw) to dst. Names in DNS are ASCII, so only A to Z
// have a lower case.
func appendHost(dst []byte, raw string) []byte {
	for _, c := range []byte(trimHost(raw)) {
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
