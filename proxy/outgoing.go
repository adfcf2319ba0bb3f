package proxy

import (
	"strconv"
	"strings"
)

// appendHead writes the request's head as the upstream gets it: the target
// byte for byte or with its declared prefix changed, the fields that are not
// for this hop alone, and who asked, set by us alone.
func (x *exchange) appendHead(b []byte, p *pool, inline []byte) []byte {
	req := x.req
	b = append(b, req.Method...)
	b = append(b, ' ')
	b = x.decision.Rule.Rewrite.Append(b, req.Target)
	b = append(b, " HTTP/1.1\r\n"...)
	b = appendField(b, "Host", req.Host)
	b = x.appendFields(b)
	b = x.appendIdentity(b)
	if x.upgrade(p) {
		b = append(b, "Connection: Upgrade\r\nUpgrade: websocket\r\n"...)
	}
	switch {
	case req.Body != nil && req.Length < 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case req.Body != nil || req.Method == "POST" || req.Method == "PUT" || req.Method == "PATCH":
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, max(req.Length, 0), 10)
		b = append(b, "\r\n"...)
	}
	return append(b, "\r\n"...)
}

func (x *exchange) appendFields(b []byte) []byte {
	var buf [4]string
	connection := x.req.Header.Values(buf[:0], "Connection")
	set := x.decision.Rule.RequestHeaders
next:
	for _, f := range x.req.Header {
		if dropped(f.Name, connection) {
			continue
		}
		for _, s := range set {
			if strings.EqualFold(s.Name, f.Name) {
				continue next
			}
		}
		b = appendField(b, f.Name, f.Value)
	}
	for _, s := range set {
		if s.Value != "" {
			b = appendField(b, s.Name, s.Value)
		}
	}
	return b
}

// appendIdentity says who asked, in one value each: Synapse takes the first
// address of the first field (synapse/http/site.py).
func (x *exchange) appendIdentity(b []byte) []byte {
	if x.id.client.IsValid() {
		b = append(b, "X-Forwarded-For: "...)
		start := len(b)
		b = x.id.client.WithZone("").AppendTo(b)
		client := b[start:]
		b = append(b, "\r\nX-Real-IP: "...)
		b = append(b, client...)
		b = append(b, "\r\n"...)
	}
	proto := "http"
	if x.id.secure {
		proto = "https"
	}
	b = appendField(b, "X-Forwarded-Proto", proto)
	return appendField(b, "X-Forwarded-Host", x.req.Host)
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}
