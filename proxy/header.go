package proxy

import "strings"

// Field is one header field; Value has no surrounding blanks.
type Field struct{ Name, Value string }

// Header is a message's fields in the order they came.
type Header []Field

// Get returns the value of the first field of that name, in any case.
func (h Header) Get(name string) (value string, ok bool) {
	for _, f := range h {
		if len(f.Name) == len(name) && strings.EqualFold(f.Name, name) {
			return f.Value, true
		}
	}
	return "", false
}

// Values returns the values of all fields of that name, appended to buf.
func (h Header) Values(buf []string, name string) []string {
	for _, f := range h {
		if len(f.Name) == len(name) && strings.EqualFold(f.Name, name) {
			buf = append(buf, f.Value)
		}
	}
	return buf
}

// hasToken says whether a comma-separated list holds a token, in any case.
func hasToken(list, token string) bool {
	for list != "" {
		var item string
		item, list, _ = strings.Cut(list, ",")
		if strings.EqualFold(strings.Trim(item, " \t"), token) {
			return true
		}
	}
	return false
}

// connectionFields are meant for the next hop alone (RFC 9110, section 7.6.1);
// HTTP2-Settings belongs to an upgrade that RFC 9113 withdrew.
var connectionFields = map[string]bool{
	"connection": true, "proxy-connection": true, "keep-alive": true, "te": true, "trailer": true,
	"transfer-encoding": true, "upgrade": true, "http2-settings": true,
	"proxy-authenticate": true, "proxy-authorization": true, "proxy-authentication-info": true,
}

// framingFields are ours to write, from what the front end or the upstream's
// framing said.
var framingFields = map[string]bool{"host": true, "content-length": true, "expect": true}

// normal is a field name as a back end might read it: CGI-like gateways take
// "_" and "." for "-", and case never matters. buf holds the result.
func normal(buf []byte, name string) []byte {
	buf = buf[:0]
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case c == '_' || c == '.':
			c = '-'
		}
		buf = append(buf, c)
	}
	return buf
}

// identityFields say who a client is. They are dropped in every spelling and
// set anew, all but those with the prefix below, which are dropped whole.
var identityFields = map[string]bool{"forwarded": true, "x-real-ip": true}

const identityPrefix = "x-forwarded-"

// dropped says whether a request field or trailer is left out: it is for this
// hop alone, it is framing, or it claims an identity. Spellings with "_" or "."
// count as the name they imitate.
func dropped(name string, connection []string) bool {
	var buf [64]byte
	if len(name) > len(buf) {
		return named(name, connection)
	}
	n := normal(buf[:], name)
	if connectionFields[string(n)] || framingFields[string(n)] || identityFields[string(n)] {
		return true
	}
	if len(n) >= len(identityPrefix) && string(n[:len(identityPrefix)]) == identityPrefix {
		return true
	}
	return named(name, connection)
}

// droppedFromResponse is dropped for a response: only what is for this hop, and
// the framing that the front end writes itself.
func droppedFromResponse(name string, connection []string) bool {
	var buf [64]byte
	if len(name) > len(buf) {
		return named(name, connection)
	}
	n := buf[:0]
	for i := 0; i < len(name); i++ {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		n = append(n, c)
	}
	return connectionFields[string(n)] || string(n) == "content-length" || named(name, connection)
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
