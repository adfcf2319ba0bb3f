package proxy

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// TestNoTokenIsLogged plants a token in every encoding a client could choose.
func TestNoTokenIsLogged(t *testing.T) {
	for _, target := range []string{
		"/_matrix/client/v3/sync?access_token=SYT_YWxpY2U_secret&timeout=30000",
		"/_matrix/client/v3/sync?access%5Ftoken=syt_YWxpY2U_secret",
		"/_matrix/client/v3/sync?%61ccess_token=syt_YWxpY2U_secret",
		"/_matrix/client/v3/sync?access%255Ftoken=syt_YWxpY2U_secret",
		"/_matrix/client/v3/sync?timeout=syt_YWxpY2U_secret",
		"/_matrix/client/v3/sync?timeout=%73yt_secret",
		"/_matrix/client/v3/sync?x=1;access_token=syt_secret",
		"/_matrix/client/v3/login/mat_secret",
		"/_matrix/client/v3/login/%6dat_secret/x",
		"/_matrix/client/v3/login/%256dat%255fsecret",
		"/a%2Fmct_secret/b",
		"/_matrix/client/v3/register/email/submit_token?token=secret&client_secret=secret",
		"/_matrix/client/v3/login/sso/redirect?redirectUrl=https://x/%3FloginToken%3Dsecret",
		"http://host/_matrix?access_token=syt_secret",
		"/x?method=sesecretret",
		"/x/%zzsyr_secret",
	} {
		logged := loggedPath(target) + "?" + loggedQuery(target)
		if strings.Contains(strings.ToLower(logged), "secret") && !strings.Contains(target, "sesecretret") {
			t.Errorf("%s is logged as %s", target, logged)
		}
	}
}

func TestWhatIsLogged(t *testing.T) {
	is := func(target, path, query string) {
		t.Helper()
		if p, q := loggedPath(target), loggedQuery(target); p != path || q != query {
			t.Errorf("%s is logged as %q %q; want %q %q", target, p, q, path, query)
		}
	}
	is("/_matrix/client/v3/sync?since=s1_2&timeout=30000&set_presence=offline",
		"/_matrix/client/v3/sync", "timeout=30000&set_presence=offline")
	is("/_matrix/client/v3/rooms/%21abc%3Aexample.org/send/m.room.message/1", "/_matrix/client/v3/rooms/%21abc%3Aexample.org/send/m.room.message/1", "")
	is("/x?"+strings.Repeat("limit=1&", 1000), "/x", strings.Repeat("limit=1&", 25)+"limit=1") // bounded
	is("/format_x", "/format_x", "")                                                           // mat_ inside a word is no token
	is("/v3/login/mat_x/y", "/v3/login/[redacted]/y", "")                                      // a token as a segment
	is("/"+strings.Repeat("a", 600), "/"+strings.Repeat("a", 511)+"…", "")                     // bounded
}

// written is the access log when every request that was sent is in it.
func (f *front) written() string {
	f.t.Helper()
	eventually(f.t, "no request is under way", func() bool { return f.proxy.metrics.inflight.Load() == 0 })
	f.proxy.accessLog.flush(time.Minute)
	return f.log.String()
}

// lines are the access log, parsed.
func (f *front) lines() []map[string]any {
	f.t.Helper()
	var out []map[string]any
	for line := range strings.Lines(f.written()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil || !utf8.ValidString(line) {
			f.t.Fatalf("a log line that is no JSON: %v\n%s", err, line)
		}
		out = append(out, m)
	}
	return out
}

// TestAccessLog sends a token wherever a client can put one, in every form that
// somebody could read back, and finds one bounded line a request without it.
func TestAccessLog(t *testing.T) {
	const token = "syt_YWxpY2U_PLANTEDsecretPLANTED_0aBcDe"
	each := func(format string) string {
		var b strings.Builder
		for i := range len(token) {
			fmt.Fprintf(&b, format, token[i])
		}
		return b.String()
	}
	percent := each("%%%02x")
	forms := map[string]string{
		"plain":                token,
		"upper case":           strings.ToUpper(token),
		"percent":              percent,
		"percent upper":        each("%%%02X"),
		"percent twice":        strings.ReplaceAll(percent, "%", "%25"),
		"percent three times":  strings.ReplaceAll(percent, "%", "%2525"),
		"underscore encoded":   strings.ReplaceAll(token, "_", "%5F"),
		"first letter encoded": "%73" + token[1:],
		"base64":               base64.StdEncoding.EncodeToString([]byte(token)),
		"base64 for URLs":      base64.RawURLEncoding.EncodeToString([]byte(token)),
		"hex":                  hex.EncodeToString([]byte(token)),
		"hex upper":            strings.ToUpper(hex.EncodeToString([]byte(token))),
		"HTML entities":        strings.ReplaceAll(each("&#%d;"), "#", "%23"),
		"JavaScript escapes":   strings.ReplaceAll(each("\\u%04x"), "\\", "%5C"),
		"after a word":         "Bearer%20" + token,
		"in quotes":            "%22" + token + "%22",
	}
	main := newBackend(t, "main")
	f := newFront(t, oneSite(main, ""))
	sent := 0
	ask := func(target, more string) {
		c := f.rawConn(f.https, "http/1.1")
		defer c.Close()
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: matrix.example.com\r\nConnection: close\r\n%s\r\n", target, more)
		if _, err := io.ReadAll(c); err != nil {
			t.Fatal(err)
		}
		sent++
	}
	for _, form := range forms {
		ask("/_matrix/client/v3/sync?access_token="+form+"&timeout=1000", "")
		ask("/_matrix/client/v3/sync?access%5Ftoken="+form, "")
		ask("/_matrix/client/v3/sync?timeout="+form+"&"+form+"=1&set_presence=x;access_token="+form, "")
		ask("/_matrix/client/v3/rooms/"+form+"/state", "")
		ask("/_matrix/client/v3/profile/x%2F"+form, "")
		ask("/"+form, "")
		ask("/_matrix/client/v3/sync", "Authorization: Bearer "+form+"\r\nCookie: t="+form+"\r\nReferer: https://x/?t="+form+"\r\nUser-Agent: "+form+"\r\n"+
			"X-Forwarded-For: "+form+"\r\n")
	}
	ask("/_matrix/"+strings.Repeat("%C3%A9", 2000), "")
	lines := f.lines()
	for _, line := range lines {
		text, _ := json.Marshal(line)
		if len(text) > 2000 {
			t.Errorf("a line of %d bytes", len(text))
		}
		for name, form := range forms {
			for _, secret := range []string{form, form[len(form)/4 : len(form)*3/4]} {
				if strings.Contains(strings.ToLower(string(text)), strings.ToLower(secret)) {
					t.Fatalf("%s: %s", name, text)
				}
			}
		}
		for _, key := range []string{"client", "method", "class", "upstream", "entrypoint", "site", "status", "seconds", "proto", "host", "path"} {
			if _, ok := line[key]; !ok {
				t.Errorf("no %s in %s", key, text)
			}
		}
	}
	if len(lines) != sent {
		t.Errorf("%d lines for %d requests", len(lines), sent)
	}
}

// TestTokensElsewhere: a client that mistakes a token for a method or a host
// name, and a back end that answers nothing but a token.
func TestTokensElsewhere(t *testing.T) {
	main := newBackend(t, "main")
	main.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
		io.WriteString(w, "HTTP/1.1 200 OK\r\nsyt_PLANTED no field\r\n\r\n")
		return false
	})
	f := newFront(t, oneSite(main, ""))
	for _, request := range []string{"syt_PLANTED / HTTP/1.1\r\nHost: matrix.example.com", "GET / HTTP/1.1\r\nHost: syt_planted.example.com",
		"GET /_matrix/client/versions HTTP/1.1\r\nHost: matrix.example.com"} {
		c := f.rawConn(f.https, "http/1.1")
		io.WriteString(c, request+"\r\nConnection: close\r\n\r\n")
		io.ReadAll(c)
	}
	if text := f.written(); strings.Contains(strings.ToLower(text), "planted") || len(f.lines()) != 3 {
		t.Errorf("logged:\n%s", text)
	}
}

// TestMaskedAddresses: not even an error tells a client's whole address.
func TestMaskedAddresses(t *testing.T) {
	main := newBackend(t, "main")
	main.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
		io.WriteString(w, "HTTP/1.1 200 OK\r\n\r\n")
		for {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return false
			}
		}
	})
	f := newFront(t, "logging: { addresses: masked }\n"+oneSite(main, ""))
	for _, h2 := range []bool{false, true} {
		resp, err := f.client(f.https, h2).Get("https://matrix.example.com/_matrix/client/versions")
		if err != nil {
			t.Fatal(err)
		}
		io.CopyN(io.Discard, resp.Body, 1<<20)
		resp.Body.Close() // leaves
	}
	c := f.rawConn(f.https, "http/1.1") // leaves in the middle of its body
	io.WriteString(c, "POST /_matrix/client/v3/login HTTP/1.1\r\nHost: matrix.example.com\r\nContent-Length: 100\r\n\r\nhalf")
	c.Close()
	eventually(t, "three lines", func() bool { return strings.Count(f.log.String(), "\n") == 3 })
	for _, line := range f.lines() {
		if line["client"] != "127.0.0.0" || strings.Contains(fmt.Sprint(line["error"]), "127.0.0.1") || line["error"] == nil {
			t.Errorf("client %v, error %v", line["client"], line["error"])
		}
		if line["method"] == "POST" && line["status"] != 499.0 {
			t.Errorf("a client that left in its body has status %v", line["status"])
		}
	}
}

// TestSecretPaths: webhooks have their secret in the path, so of what an
// operator's route serves only the route is logged.
func TestSecretPaths(t *testing.T) {
	main, hook := newBackend(t, "main"), newBackend(t, "hook")
	f := newFront(t, oneSite(main, fmt.Sprintf(`    routes:
      - { name: hookshot, path_prefix: /hookshot/webhooks, strip_prefix: true, upstreams: [%q] }
`, hook.url())))
	do(t, f.client(f.https, true), "GET", "https://matrix.example.com/hookshot/webhooks/cec3d7a2PLANTED", nil)
	if line := f.lines()[0]; strings.Contains(f.written(), "PLANTED") || !strings.HasPrefix(line["path"].(string), "/hookshot/webhooks") {
		t.Errorf("logged: %s", f.log)
	}
}

// TestTokenBehindUnderscore: what joins a token to a word with an underscore hides it
// from nobody who reads the log.
func TestTokenBehindUnderscore(t *testing.T) {
	for _, path := range []string{"/_matrix/client/v3/access_token_syt_YWxpY2U_secret/x", "/x/token_mct_secret", "/x/token_c3l0X1lXeHBZMlU"} {
		if got := loggedPath(path); !strings.Contains(got, redacted) {
			t.Errorf("%s is logged as %s", path, got)
		}
	}
}

// TestMaskedMessages: logging.addresses: masked holds for messages as well.
func TestMaskedMessages(t *testing.T) {
	f := h1Front(t, oneSite(newBackend(t, "main"), "logging: { level: debug, addresses: masked }\n"), true)
	var messages lockedBuffer
	f.server.routed[0].(*own).log = slog.New(slog.NewJSONHandler(&messages, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for _, secure := range []bool{false, true} {
		var c net.Conn
		if secure {
			c = f.rawConn(f.https, "http/1.1")
			io.WriteString(c, "nonsense\r\n\r\n")
		} else {
			c, _ = net.Dial("tcp", f.https)
			io.WriteString(c, "nonsense")
		}
		io.Copy(io.Discard, c)
		c.Close()
	}
	eventually(t, "both are told of", func() bool { return strings.Count(messages.String(), "\n") >= 2 })
	if text := messages.String(); strings.Contains(text, "127.0.0.1") {
		t.Error(text)
	}
}
