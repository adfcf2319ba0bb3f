package proxy

import "strings"

// Field is one header field; Value has no surrounding blanks.
type Field struct{ Name, Value string }

// Header is a message's fields in the order they came.
type Header []Field

// Get returns the value of the first field of that name, in any case.
func (h Header) Get(name string) (value string, ok bool) {
	for _, f := range h {
		if sameToken(f.Name, name) {
			return f.Value, true
		}
	}
	return "", false
}

// Values returns the values of all fields of that name, appended to buf.
func (h Header) Values(buf []string, name string) []string {
	for _, f := range h {
		if sameToken(f.Name, name) {
			buf = append(buf, f.Value)
		}
	}
	return buf
}

// trimBlanks removes the blanks around a value or an item (OWS in RFC 9110,
// section 5.6.3).
func trimBlanks(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// sameToken says whether two words are one, in any case of ASCII: strings.EqualFold
// takes the Kelvin sign for a k too, which is longer.
func sameToken(a, b string) bool { return len(a) == len(b) && strings.EqualFold(a, b) }

// hasToken says whether a comma-separated list holds a token, in any case.
func hasToken(list, token string) bool {
	for list != "" {
		var item string
		item, list, _ = strings.Cut(list, ",")
		if sameToken(trimBlanks(item), token) {
			return true
		}
	}
	return false
}

// forThisHop says whether a field, in lower case, is meant for the next hop alone
// (RFC 9110, section 7.6.1); HTTP2-Settings belongs to an upgrade that RFC 9113
// withdrew.
func forThisHop(name []byte) bool {
	switch string(name) {
	case "connection", "proxy-connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings",
		"proxy-authenticate", "proxy-authorization", "proxy-authentication-info":
		return true
	}
	return false
}

// setAnew says whether a request field, in lower case, is set from what is known:
// the framing, and who the client is. So is whatever begins with identityPrefix.
func setAnew(name []byte) bool {
	switch string(name) {
	case "host", "content-length", "expect", "forwarded", "x-real-ip":
		return true
	}
	return false
}

const identityPrefix = "x-forwarded-"

// longestField is the length of the longest name that forThisHop and setAnew know.
const longestField = len("proxy-authentication-info")

// dropped says whether a request field or trailer is left out: it is for this
// hop alone, it is framing, or it claims an identity, in any spelling that a
// back end might take for that.
func dropped(name string, connection []string) bool {
	if len(name) > len(identityPrefix) && imitates(name[:len(identityPrefix)], identityPrefix) {
		return true
	}
	if len(name) <= longestField {
		var buf [longestField]byte
		n := buf[:len(name)]
		for i := range n {
			n[i] = plain(name[i])
		}
		if forThisHop(n) || setAnew(n) {
			return true
		}
	}
	return named(name, connection)
}

// droppedFromResponse is dropped for a response: only what is for this hop, and
// the framing that the front end writes itself.
func droppedFromResponse(name string, connection []string) bool {
	if len(name) <= longestField {
		var buf [longestField]byte
		n := buf[:len(name)]
		for i := range n {
			n[i] = lower(name[i])
		}
		if forThisHop(n) || string(n) == "content-length" {
			return true
		}
	}
	return named(name, connection)
}

// imitates says whether a back end might take one field name for the other:
// gateways in the manner of CGI (RFC 3875, section 4.1.18) read all that is
// neither a letter nor a digit alike, and case never matters.
func imitates(name, other string) bool {
	if len(name) != len(other) {
		return false
	}
	for i := range len(name) {
		if plain(name[i]) != plain(other[i]) {
			return false
		}
	}
	return true
}

// plain is a byte of a field name as imitates compares it.
func plain(c byte) byte {
	c = lower(c)
	if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
		return c
	}
	return '-'
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// named says whether a Connection field names this one.
func named(name string, connection []string) bool {
	for _, list := range connection {
		if hasToken(list, name) {
			return true
		}
	}
	return false
}
