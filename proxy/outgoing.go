package proxy

import "strconv"

// appendHead writes the request's head as the upstream gets it: the target
// byte for byte or with its declared prefix changed, the fields that are not
// for this hop alone, and who asked, set by us alone.
func (x *exchange) appendHead(b []byte, p *pool) []byte {
	req := x.req
	b = append(b, req.Method...)
	b = append(b, ' ')
	b = x.decision.Rule.Rewrite.Append(b, req.Target)
	b = append(b, " HTTP/1.1\r\n"...)
	b = appendField(b, "Host", req.Host)
	b = x.appendFields(b)
	b = x.id.append(b, req.Host)
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
	for _, f := range x.req.Header {
		if !dropped(f.Name, connection) && !x.replaced(f.Name) {
			b = appendField(b, f.Name, f.Value)
		}
	}
	for _, s := range x.decision.Rule.RequestHeaders {
		if s.Value != "" {
			b = appendField(b, s.Name, s.Value)
		}
	}
	return b
}

// replaced says whether the rule sets or removes a request field. A back end may
// trust it then, so what imitates it is left out too.
func (x *exchange) replaced(name string) bool {
	for _, s := range x.decision.Rule.RequestHeaders {
		if imitates(name, s.Name) {
			return true
		}
	}
	return false
}

// append says who asked, in one value each: Synapse takes the first address of the
// first field (synapse/http/site.py).
func (id identity) append(b []byte, host string) []byte {
	if id.client.IsValid() {
		b = append(b, "X-Forwarded-For: "...)
		start := len(b)
		b = id.client.WithZone("").AppendTo(b)
		client := b[start:]
		b = append(b, "\r\nX-Real-IP: "...)
		b = append(b, client...)
		b = append(b, "\r\n"...)
	}
	proto := "http"
	if id.secure {
		proto = "https"
	}
	b = appendField(b, "X-Forwarded-Proto", proto)
	return appendField(b, "X-Forwarded-Host", host)
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}
