package proxy

import (
	"net/netip"
	"strings"
	"sync/atomic"
	"time"
)

// Access is what is written of a request, once, when it has ended.
type Access struct {
	Start    time.Time
	Upstream string
	Status   int
	Sent     int64 // bytes of the response's body
	Error    string

	received atomic.Int64 // bytes of the request's body
}

// log writes the access record: one JSON line, without tokens.
func (x *exchange) log() {
	line := lineBuffers.lend()
	*line = x.appendLine((*line)[:0])
	x.proxy.accessLog.add(*line)
	lineBuffers.takeBack(line)
}

// shown is a client's address as messages may have it.
func (p *Proxy) shown(peer netip.AddrPort) string {
	if p != nil {
		if st := p.state.Load(); st != nil && st.cfg.Logging.Addresses == "masked" {
			return mask(peer.Addr()).String()
		}
	}
	return peer.String()
}

// lineBuffers hold lines of the access log while they are written down.
var lineBuffers = newBuffers(0, 1024)

// appendLine appends the access record. It has the form of what log/slog writes, as
// all other lines have it, but costs a tenth.
func (x *exchange) appendLine(b []byte) []byte {
	d := &x.decision
	client := x.id.client
	if x.state.cfg.Logging.Addresses == "masked" {
		client = mask(client)
	}
	now := time.Now()
	l := jsonLine{append(now.AppendFormat(append(b, `{"time":"`...), time.RFC3339Nano), `","level":"INFO","msg":"request"`...)}
	l.text("entrypoint", x.req.Entrypoint.Name)
	l.address("client", client)
	l.text("proto", x.req.Proto)
	l.text("method", logged(x.req.Method, 32))
	l.text("host", logged(x.req.Host, 255))
	l.text("path", x.loggedPath())
	l.text("site", d.Site)
	l.text("route", d.Rule.Name)
	l.text("endpoint", string(d.Endpoint))
	l.text("class", string(d.Class))
	l.text("upstream", x.record.Upstream)
	l.number("status", int64(x.record.Status))
	l.number("received", x.record.received.Load())
	l.number("sent", x.record.Sent)
	l.seconds("seconds", now.Sub(x.record.Start))
	if q := loggedQuery(x.req.Target); q != "" {
		l.text("query", q)
	}
	if x.record.Error != "" {
		l.text("error", logged(x.record.Error, 300))
	}
	return append(l.b, "}\n"...)
}

// loggedPath is the path; for what an operator's route serves, the route's own,
// since webhooks have their secret in the path. So has a challenge its token.
func (x *exchange) loggedPath() string {
	if x.decision.Rule == ruleChallenge {
		return challengePath + redacted
	}
	if strings.HasPrefix(string(x.decision.Class), "route:") {
		return x.decision.Rule.Pattern
	}
	return loggedPath(x.req.Target)
}

// loggedKeys are the query parameters worth a look and without a secret.
var loggedKeys = map[string]bool{
	"timeout": true, "limit": true, "dir": true, "full_state": true, "set_presence": true,
	"width": true, "height": true, "method": true, "animated": true,
}

// maxLoggedQuery is about how much of a query is logged, in bytes: more than all of
// loggedKeys take once.
const maxLoggedQuery = 200

// loggedQuery keeps the allow-listed parameters whose key is written plainly
// and whose value is a short word.
func loggedQuery(target string) string {
	_, query, _ := strings.Cut(target, "?")
	var memory [96]byte
	out := memory[:0]
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		key, value, _ := strings.Cut(pair, "=")
		if !loggedKeys[key] || len(value) > 16 || !isWord(value) {
			continue
		}
		if len(out) > maxLoggedQuery {
			break
		}
		if len(out) > 0 {
			out = append(out, '&')
		}
		out = append(append(append(out, key...), '='), value...)
	}
	return string(out)
}

// isWord says whether s is lower-case letters and digits only, as no token is.
func isWord(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}
