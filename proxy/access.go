package proxy

import (
	"context"
	"log/slog"
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
	d := &x.decision
	client := x.id.client
	if x.state.cfg.Logging.Addresses == "masked" {
		client = mask(client)
	}
	attrs := make([]slog.Attr, 0, 18)
	attrs = append(attrs,
		slog.String("entrypoint", x.req.Entrypoint.Name),
		slog.String("client", addressText(client)),
		slog.String("proto", x.req.Proto),
		slog.String("method", logged(x.req.Method, 32)),
		slog.String("host", logged(x.req.Host, 255)),
		slog.String("path", x.loggedPath()),
		slog.String("site", d.Site),
		slog.String("route", d.Rule.Name),
		slog.String("endpoint", string(d.Endpoint)),
		slog.String("class", string(d.Class)),
		slog.String("upstream", x.record.Upstream),
		slog.Int("status", x.record.Status),
		slog.Int64("received", x.record.received.Load()),
		slog.Int64("sent", x.record.Sent),
		slog.Float64("seconds", float64(time.Since(x.record.Start).Microseconds())/1e6),
	)
	if q := loggedQuery(x.req.Target); q != "" {
		attrs = append(attrs, slog.String("query", q))
	}
	if x.record.Error != "" {
		attrs = append(attrs, slog.String("error", logged(x.record.Error, 300)))
	}
	x.proxy.accessLog.LogAttrs(context.Background(), slog.LevelInfo, "request", attrs...)
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

func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// loggedKeys are the query parameters worth a look and without a secret.
var loggedKeys = map[string]bool{
	"timeout": true, "limit": true, "dir": true, "full_state": true, "set_presence": true,
	"width": true, "height": true, "method": true, "animated": true,
}

// loggedQuery keeps the allow-listed parameters whose key is written plainly
// and whose value is a short word.
func loggedQuery(target string) string {
	_, query, _ := strings.Cut(target, "?")
	var out []byte
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		key, value, _ := strings.Cut(pair, "=")
		if !loggedKeys[key] || len(value) > 16 || !isWord(value) {
			continue
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
