package proxy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// oneSite is a site whose Synapse is one process, and more keys of it.
func oneSite(main *backend, more string) string {
	return fmt.Sprintf(`sites:
  - server_name: example.com
    synapse: { main: %q, hold: 2s }
%s`, main.url(), more)
}

func TestForwarding(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("h2=%v", h2), func(t *testing.T) {
			main := newBackend(t, "main")
			f := newFront(t, oneSite(main, ""))
			c := f.client(f.https, h2)
			resp, text := do(t, c, "PUT", "https://matrix.example.com/_matrix/client/v3/rooms/%21a%3ab/send/x/1?q=%2f&", strings.NewReader("hello"),
				"X-Forwarded-For", "6.6.6.6", "X_Forwarded_For", "6.6.6.6", "Forwarded", "for=6.6.6.6", "X-Real-Ip", "6.6.6.6",
				"X-Custom", "a", "X-Custom", "b", "Te", "trailers")
			if resp.StatusCode != 200 || text != "main" || h2 != (resp.ProtoMajor == 2) {
				t.Fatalf("%s %s: %q", resp.Proto, resp.Status, text)
			}
			s := main.last(t)
			if s.line != "PUT /_matrix/client/v3/rooms/%21a%3ab/send/x/1?q=%2f& HTTP/1.1" || s.body != "hello" {
				t.Errorf("the back end got %q with body %q", s.line, s.body)
			}
			if strings.Contains(s.head, "6.6.6.6") {
				t.Errorf("a forged identity came through:\n%s", s.head)
			}
			for name, want := range map[string]string{"Host": "matrix.example.com", "X-Forwarded-For": "127.0.0.1",
				"X-Real-Ip": "127.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "matrix.example.com",
				"X-Custom": "a,b", "Te": "", "Content-Length": "5"} {
				if got := strings.Join(s.field.Values(name), ","); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestBodies(t *testing.T) {
	main := newBackend(t, "main")
	main.answers(func(w net.Conn, _ *bufio.Reader, s seen) bool {
		fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n")
		for rest := s.body; rest != ""; {
			n := min(len(rest), 10000)
			fmt.Fprintf(w, "%x\r\n%s\r\n", n, rest[:n])
			rest = rest[n:]
		}
		fmt.Fprint(w, "0\r\nX-End: yes\r\nConnection: close\r\n\r\n")
		return true
	})
	f := newFront(t, oneSite(main, ""))
	large := strings.Repeat("0123456789abcdef", 1<<16)
	for _, h2 := range []bool{false, true} {
		c := f.client(f.https, h2)
		for _, body := range []string{"", "small", large} {
			for _, counted := range []bool{true, false} {
				var r io.Reader = strings.NewReader(body)
				if !counted {
					r = struct{ io.Reader }{r}
				}
				resp, text := do(t, c, "POST", "https://matrix.example.com/_matrix/media/v3/upload", r)
				if text != body {
					t.Fatalf("h2=%v %d bytes, counted=%v: %d bytes came back", h2, len(body), counted, len(text))
				}
				if resp.Trailer.Get("X-End") != "yes" || resp.Trailer.Get("Connection") != "" {
					t.Errorf("trailer %v", resp.Trailer)
				}
			}
		}
	}
}

func TestRequestTrailer(t *testing.T) {
	main := newBackend(t, "main")
	f := newFront(t, oneSite(main, ""))
	c := f.rawConn(f.https)
	fmt.Fprint(c, "POST /_matrix/x HTTP/1.1\r\nHost: matrix.example.com\r\nTrailer: X-End, X-Forwarded-For\r\nTransfer-Encoding: chunked\r\n\r\n"+
		"3\r\nabc\r\n0\r\nX-End: yes\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != 200 {
		t.Fatal(resp, err)
	}
	if got := main.last(t).body; got != "abc[X-End: yes]" {
		t.Errorf("the back end got %q", got)
	}
}

func TestHeadAndNoBody(t *testing.T) {
	main := newBackend(t, "main")
	f := newFront(t, oneSite(main, ""))
	c := f.client(f.https, false)
	resp, text := do(t, c, "HEAD", "https://matrix.example.com/_matrix/client/versions", nil)
	if resp.ContentLength != 4 || text != "" {
		t.Errorf("HEAD: length %d, body %q", resp.ContentLength, text)
	}
	main.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
		fmt.Fprint(w, "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n")
		return true
	})
	if resp, _ := do(t, c, "GET", "https://matrix.example.com/_matrix/client/versions", nil); resp.StatusCode != 304 || resp.Header.Get("Etag") != `"x"` {
		t.Errorf("304: %v", resp)
	}
	main.answers(nil)
	if _, text := do(t, c, "GET", "https://matrix.example.com/_matrix/client/versions", nil); text != "main" {
		t.Errorf("the connection is out of step: %q", text)
	}
	if _, conns := main.count(); conns != 1 {
		t.Errorf("%d connections for three exchanges", conns)
	}
}

// TestStreaming: what a back end sends is passed on at once.
func TestStreaming(t *testing.T) {
	main, next := newBackend(t, "main"), make(chan string)
	main.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
		fmt.Fprint(w, "HTTP/1.1 200 OK\r\n\r\n")
		for text := range next {
			if text == "end" {
				break
			}
			io.WriteString(w, text)
		}
		return false
	})
	f := newFront(t, oneSite(main, ""))
	for _, h2 := range []bool{false, true} {
		resp, err := f.client(f.https, h2).Get("https://matrix.example.com/_matrix/client/v3/events")
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 16)
		for _, text := range []string{"one", "two"} {
			next <- text
			if n, err := io.ReadAtLeast(resp.Body, buf, len(text)); err != nil || string(buf[:n]) != text {
				t.Fatalf("h2=%v: %q %v", h2, buf[:n], err)
			}
		}
		next <- "end"
		resp.Body.Close()
	}
}

// TestStreamedChunks: a chunk goes out when it is whole, wherever the pieces end
// in which it comes.
func TestStreamedChunks(t *testing.T) {
	main, next := newBackend(t, "main"), make(chan string)
	main.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
		for text := range next {
			if text == "" {
				return true
			}
			io.WriteString(w, text)
		}
		return false
	})
	f := newFront(t, oneSite(main, ""))
	c := f.client(f.https, false)
	for _, pieces := range [][]string{ // the first goes with the head; each holds the next letter
		{"", "1\r\na\r\n", "1\r\nb\r\n", "0\r\n\r\n"},
		{"1\r\na", "\r\n1\r\nb", "\r\n0\r\n\r\n"},
		{"1\r\na\r", "\n1\r\nb\r\n0", "\r\n\r\n"},
		{"1\r\na\r\n1", "\r\nb\r\n0\r\n", "\r\n"},
		{"1\r\na\r\n1\r\n", "b\r\n0\r\n\r", "\n"},
		{"1\r\na\r\n1\r\nb\r\n0\r\n\r\n"},
	} {
		go func() { next <- "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces[0] }()
		resp, err := c.Get("https://matrix.example.com/_matrix/client/v3/events")
		if err != nil {
			t.Fatal(err)
		}
		var got string
		for i, piece := range pieces {
			if i > 0 {
				next <- piece
			}
			for want := got + strings.Map(func(r rune) rune {
				if r != 'a' && r != 'b' {
					r = -1
				}
				return r
			}, piece); got != want; {
				buf := make([]byte, 2)
				n, err := resp.Body.Read(buf)
				if got += string(buf[:n]); err != nil && got != want {
					t.Fatalf("%q: %q, then %v", pieces, got, err)
				}
			}
		}
		if rest, err := io.ReadAll(resp.Body); len(rest) != 0 || err != nil || got != "ab" {
			t.Errorf("%q: %q, then %q %v", pieces, got, rest, err)
		}
		next <- ""
	}
}

// TestEarlyAnswer: a back end that refuses a body early is heard, and an upload
// nobody wants does not hold anything up.
func TestEarlyAnswer(t *testing.T) {
	main := newBackend(t, "main")
	main.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
		fmt.Fprint(w, "HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlong")
		return false
	})
	f := newFront(t, oneSite(main, ""))
	for _, h2 := range []bool{false, true} {
		resp, text, err := uploadForEver(f.client(f.https, h2))
		if err != nil || resp.StatusCode != 413 || text != "long" {
			t.Errorf("h2=%v: %v %q %v", h2, resp, text, err)
		}
	}
}

// uploadForEver sends a part of a body and never the rest.
func uploadForEver(c *http.Client) (*http.Response, string, error) {
	body, feed := io.Pipe()
	defer feed.Close()
	go feed.Write(bytes.Repeat([]byte("x"), 100<<10))
	req, err := http.NewRequest("POST", "https://matrix.example.com/_matrix/media/v3/upload", body)
	if err != nil {
		return nil, "", err
	}
	req.Header["Expect-No-Body-Read"] = []string{"1"}
	resp, err := c.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp, string(text), err
}

func TestBrokenBackends(t *testing.T) {
	main := newBackend(t, "main")
	f := newFront(t, oneSite(main, ""))
	c := f.client(f.https, false)
	is := func(name, raw string, status int) {
		t.Helper()
		main.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
			io.WriteString(w, raw)
			return false
		})
		resp, text := do(t, c, "GET", "https://matrix.example.com/_matrix/client/versions", nil)
		var body struct{ Errcode, Error string }
		if err := json.Unmarshal([]byte(text), &body); err != nil || resp.StatusCode != status || body.Errcode != "M_UNKNOWN" || body.Error == "" {
			t.Errorf("%s: %s %q", name, resp.Status, text)
		}
		if resp.Header.Get("Access-Control-Allow-Origin") != "*" || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %v", name, resp.Header)
		}
	}
	is("closes at once", "", 502)
	is("no HTTP", "hello\r\n\r\n", 502)
	is("ambiguous framing", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 502)
	is("an upgrade nobody asked for", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", 502)

	main.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
		io.WriteString(w, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort")
		return false
	})
	for _, h2 := range []bool{false, true} {
		resp, err := f.client(f.https, h2).Get("https://matrix.example.com/_matrix/client/versions")
		if err == nil {
			_, err = io.ReadAll(resp.Body)
		}
		if err == nil {
			t.Errorf("h2=%v: a broken response looks whole", h2)
		}
	}
	main.listener.Close()
}

// TestHold: a process that is not there yet is waited for.
// TestContinueThenSilence: a back end that asks for a body nobody has, and then takes
// its time, has as much of it as others.
func TestContinueThenSilence(t *testing.T) {
	main := newBackend(t, "main")
	main.answers(func(w net.Conn, r *bufio.Reader, s seen) bool {
		io.WriteString(w, "HTTP/1.1 100 Continue\r\n\r\n")
		time.Sleep(4 * unattendedWait)
		return main.sayName(w, r, s)
	})
	f := newFront(t, oneSite(main, ""))
	if resp, text := do(t, f.client(f.https, true), "GET", site+"/_matrix/client/versions", nil); resp.StatusCode != 200 || text != "main" {
		t.Errorf("%s %q", resp.Status, text)
	}
}

func TestHold(t *testing.T) {
	main := newBackend(t, "main")
	address := main.listener.Addr().String()
	main.listener.Close()
	f := newFront(t, oneSite(main, ""))
	time.AfterFunc(300*time.Millisecond, func() {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Error(err)
			return
		}
		serveBackend(t, "restarted", l)
	})
	if resp, text := do(t, f.client(f.https, true), "GET", "https://matrix.example.com/_matrix/client/versions", nil); text != "restarted" {
		t.Errorf("%s %q", resp.Status, text)
	}
}

func TestDown(t *testing.T) {
	main := newBackend(t, "main")
	main.listener.Close()
	f := newFront(t, strings.Replace(oneSite(main, ""), "hold: 2s", "hold: 100ms", 1))
	resp, text := do(t, f.client(f.https, true), "GET", "https://matrix.example.com/_matrix/client/versions", nil)
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || !strings.Contains(text, `"errcode":"M_UNKNOWN"`) {
		t.Errorf("%s %v %q", resp.Status, resp.Header, text)
	}
}

// TestStaleConnection: a back end that closes an idle connection just as a
// request goes out on it costs the client nothing, unless doing the request
// twice could matter.
func TestStaleConnection(t *testing.T) {
	main := newBackend(t, "main")
	f := newFront(t, oneSite(main, ""))
	c := f.client(f.https, false)
	var requests atomic.Int32
	main.answers(func(w net.Conn, _ *bufio.Reader, s seen) bool {
		if requests.Add(1)%2 == 0 {
			return false // the second request on a connection: closed without a word
		}
		return main.sayName(w, nil, s)
	})
	do(t, c, "GET", "https://matrix.example.com/_matrix/client/versions", nil)
	if resp, text := do(t, c, "GET", "https://matrix.example.com/_matrix/client/versions", nil); text != "main" {
		t.Errorf("GET: %s %q", resp.Status, text)
	}
	if resp, _ := do(t, c, "POST", "https://matrix.example.com/_matrix/client/v3/login", strings.NewReader("{}")); resp.StatusCode != 502 {
		t.Errorf("POST was tried twice: %s", resp.Status)
	}
}

// TestClientLeaves: a long poll whose client is gone frees its upstream.
func TestClientLeaves(t *testing.T) {
	main := newBackend(t, "main")
	parked, freed := make(chan bool, 2), make(chan bool, 2)
	main.answers(func(_ net.Conn, r *bufio.Reader, _ seen) bool {
		parked <- true
		r.ReadByte()
		freed <- true
		return false
	})
	f := newFront(t, oneSite(main, ""))
	for _, h2 := range []bool{false, true} {
		ctx, cancel := context.WithCancel(context.Background())
		req, err := http.NewRequestWithContext(ctx, "GET", "https://matrix.example.com/_matrix/client/v3/sync?timeout=30000", nil)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			<-parked
			cancel()
		}()
		if _, err := f.client(f.https, h2).Do(req); err == nil {
			t.Error("the request did not end")
		}
		select {
		case <-freed:
		case <-time.After(30 * time.Second):
			t.Fatalf("h2=%v: the upstream is still held", h2)
		}
	}
}

func TestWebSocket(t *testing.T) {
	main, ntfy := newBackend(t, "main"), newBackend(t, "ntfy")
	upgrade := func(w net.Conn, r *bufio.Reader, s seen) bool {
		if s.field.Get("Upgrade") != "websocket" || s.field.Get("Connection") != "Upgrade" {
			io.WriteString(w, "HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n")
			return true
		}
		io.WriteString(w, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nfirst ")
		io.Copy(w, r)
		io.WriteString(w, " bye")
		return false
	}
	ntfy.answers(upgrade)
	main.answers(upgrade)
	f := newFront(t, oneSite(main, fmt.Sprintf("    ntfy: { upstream: %q }\n", ntfy.url())))
	ask := func(host string) (*http.Response, *bufio.Reader, net.Conn) {
		c := f.rawConn(f.https, "http/1.1")
		fmt.Fprintf(c, "GET /_matrix/x/ws HTTP/1.1\r\nHost: %s\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: k\r\n\r\nping", host)
		r := bufio.NewReader(c)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		return resp, r, c
	}
	resp, r, c := ask("ntfy.example.com")
	if resp.StatusCode != 101 || resp.Header.Get("Sec-Websocket-Accept") != "x" {
		t.Fatal(resp)
	}
	c.(interface{ CloseWrite() error }).CloseWrite()
	text, err := io.ReadAll(r)
	if string(text) != "first ping bye" {
		t.Errorf("through the tunnel: %q %v", text, err)
	}
	if resp, _, _ := ask("matrix.example.com"); resp.StatusCode != 400 {
		t.Errorf("Synapse was asked to upgrade: %s", resp.Status)
	}
}

func TestPrefixes(t *testing.T) {
	main, app := newBackend(t, "main"), newBackend(t, "app")
	f := newFront(t, oneSite(main, fmt.Sprintf(`    element: { path: /element, upstream: %[1]q }
    mas: { path: /auth, upstream: %[1]q }
    routes:
      - { name: hook, path_prefix: /hook, strip_prefix: true, upstreams: [%[1]q], request_headers: { X-Set: a, X-Gone: "" }, response_headers: { X-Answered-By: "", X-Frame-Options: DENY } }
      - { name: old, path: /old, redirect: "https://www.example.com/new" }
      - { name: gone, path: /gone, status: 410 }
`, app.url())))
	c := f.client(f.https, true)
	arrives := func(target, line string) {
		t.Helper()
		do(t, c, "GET", "https://matrix.example.com"+target, nil, "X-Gone", "x")
		if got := app.last(t).line; got != line {
			t.Errorf("%s arrives as %q, want %q", target, got, line)
		}
	}
	arrives("/element/config.json?x=%2f", "GET /config.json?x=%2f HTTP/1.1")
	arrives("/element/a%2Fb/", "GET /a%2Fb/ HTTP/1.1")
	arrives("/auth/login", "GET /auth/login HTTP/1.1")
	arrives("/_matrix/client/v3/login", "GET /auth/_matrix/client/v3/login HTTP/1.1")
	arrives("/hook/x//y", "GET /x//y HTTP/1.1")
	arrives("/hook?q", "GET /?q HTTP/1.1")
	if s := app.last(t); s.field.Get("X-Set") != "a" || s.field.Get("X-Gone") != "" {
		t.Errorf("request headers:\n%s", s.head)
	}
	if resp, _ := do(t, c, "GET", "https://matrix.example.com/hook/", nil); resp.Header.Get("X-Frame-Options") != "DENY" || resp.Header.Get("X-Answered-By") != "" {
		t.Errorf("response headers: %v", resp.Header)
	}
	if resp, _ := do(t, c, "GET", "https://matrix.example.com/old", nil); resp.Header.Get("Location") != "https://www.example.com/new" {
		t.Errorf("redirect: %s %v", resp.Status, resp.Header)
	}
	if resp, _ := do(t, c, "GET", "https://matrix.example.com/gone", nil); resp.StatusCode != 410 {
		t.Errorf("status: %s", resp.Status)
	}
}

func TestOwnAnswers(t *testing.T) {
	main := newBackend(t, "main")
	f := newFront(t, oneSite(main, ""))
	c := f.client(f.https, false)
	resp, text := do(t, c, "GET", "https://matrix.example.com/_synapse/admin/v1/server_version", nil)
	if resp.StatusCode != 403 || !strings.Contains(text, "M_FORBIDDEN") {
		t.Errorf("closed: %s %q", resp.Status, text)
	}
	resp, text = do(t, c, "GET", "https://nobody.example.net/", nil)
	if resp.StatusCode != 404 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("unknown host: %s %q", resp.Status, text)
	}
	resp, _ = do(t, f.client(f.http, false), "GET", "http://matrix.example.com/_matrix/client/versions?x=%2f", nil)
	_, port, _ := net.SplitHostPort(f.https)
	if want := "https://matrix.example.com:" + port + "/_matrix/client/versions?x=%2f"; resp.StatusCode != 301 || resp.Header.Get("Location") != want {
		t.Errorf("http: %s %v, want %s", resp.Status, resp.Header, want)
	}
	if requests, _ := main.count(); requests != 0 {
		t.Errorf("%d requests reached the back end", requests)
	}
}

// TestFederationWithSome: a server that is not listed is told so before its
// transaction is read, over HTTP/1.1 and HTTP/2; all its claims count.
func TestFederationWithSome(t *testing.T) {
	main := newBackend(t, "main")
	f := newFront(t, fmt.Sprintf("sites:\n  - server_name: example.com\n    synapse: { main: %q }\n    federation: { with: [partner.example] }\n", main.url()))
	const target = "https://matrix.example.com/_matrix/federation/v1/send/1"
	signed := func(origin string) []string {
		return []string{"Authorization", `X-Matrix origin="` + origin + `",key="ed25519:a",sig="c2ln"`}
	}
	for _, h2 := range []bool{false, true} {
		c := f.client(f.fed, h2)
		for _, fields := range [][]string{
			signed("stranger.example"),
			append(signed("stranger.example"), signed("partner.example")...),
			append(signed("partner.example"), signed("stranger.example")...),
		} {
			resp, text := do(t, c, "PUT", target, strings.NewReader("{}"), fields...)
			if resp.StatusCode != 403 || text != `{"errcode":"M_FORBIDDEN","error":"This homeserver does not federate with you."}` {
				t.Errorf("h2 %t: %s %q", h2, resp.Status, text)
			}
		}
		if requests, _ := main.count(); requests != 0 {
			t.Errorf("h2 %t: %d requests of strangers reached Synapse", h2, requests)
		}
	}
	c := f.client(f.fed, true)
	if resp, text := do(t, c, "PUT", target, strings.NewReader("{}"), signed("partner.example")...); resp.StatusCode != 200 || text != "main" {
		t.Errorf("a partner: %s %q", resp.Status, text)
	}
}

// TestPreflight: a browser's question before a request that will be refused, or
// fail, is permitted, so that the page can read why; the request itself is not.
func TestPreflight(t *testing.T) {
	main := newBackend(t, "main")
	f := newFront(t, strings.Replace(oneSite(main, ""), "hold: 2s", "hold: 10ms", 1))
	c := f.client(f.https, true)
	is := func(name, target string, status int) {
		t.Helper()
		resp, text := do(t, c, "OPTIONS", target, nil, "Origin", "https://app.example.net",
			"Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "authorization")
		if resp.StatusCode != 204 || text != "" || resp.Header.Get("Access-Control-Allow-Origin") != "*" ||
			!strings.Contains(resp.Header.Get("Access-Control-Allow-Headers"), "Authorization") {
			t.Errorf("%s: the preflight: %s %v %q", name, resp.Status, resp.Header, text)
		}
		resp, text = do(t, c, "GET", target, nil, "Origin", "https://app.example.net", "Authorization", "Bearer x")
		if resp.StatusCode != status || resp.Header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(text, `"errcode"`) {
			t.Errorf("%s: %s %v %q; want %d", name, resp.Status, resp.Header, text, status)
		}
	}
	is("closed", "https://matrix.example.com/_synapse/admin/v1/server_version", 403)
	is("a host of nobody", "https://nobody.example.net/_matrix/client/versions", 404)
	if requests, _ := main.count(); requests != 0 {
		t.Errorf("%d requests reached the back end", requests)
	}
	main.listener.Close()
	is("down", "https://matrix.example.com/_matrix/client/v3/sync", 503)
	if resp, _ := do(t, c, "OPTIONS", "https://nobody.example.net/", nil); resp.StatusCode != 404 {
		t.Errorf("OPTIONS of no Matrix API: %s", resp.Status)
	}
}

// TestMisrouted: a worker's "unrecognized" is counted, and the main process asked
// in its place, whether or not the length was declared; another 404 is passed on.
func TestMisrouted(t *testing.T) {
	main, worker := newBackend(t, "main"), newBackend(t, "sync")
	f := newFront(t, workers(main, "sync", worker.url()))
	c := f.client(f.https, true)
	unrecognized := `{"errcode":"M_UNRECOGNIZED","error":"Unrecognized request"}`
	for i, body := range []string{unrecognized, unrecognized, `{"errcode":"M_NOT_FOUND"}`, strings.Repeat("x", 2000)} {
		worker.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
			if i == 0 {
				fmt.Fprintf(w, "HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			} else {
				fmt.Fprintf(w, "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)
			}
			return true
		})
		status, want := 404, body
		if body == unrecognized {
			status, want = 200, "main"
		}
		resp, text := do(t, c, "GET", "https://matrix.example.com/_matrix/client/v3/sync?since=s1", nil)
		if resp.StatusCode != status || text != want {
			t.Errorf("%d: %s %q", i, resp.Status, text)
		}
	}
	if n := f.counter("vestibule_misrouted_total"); n != 2 {
		t.Errorf("%v counted, want 2", n)
	}
	if _, conns := worker.count(); conns != 1 {
		t.Errorf("%d connections for four requests", conns)
	}
}

// TestReload: a request under way keeps the table it began with; new ones meet
// the new table at once.
func TestReload(t *testing.T) {
	old, now := newBackend(t, "old"), newBackend(t, "now")
	release := make(chan bool)
	old.answers(func(w net.Conn, _ *bufio.Reader, s seen) bool {
		<-release
		return old.sayName(w, nil, s)
	})
	f := newFront(t, oneSite(old, ""))
	c := f.client(f.https, true)
	answered := make(chan string)
	go func() {
		_, text := do(t, c, "GET", "https://matrix.example.com/_matrix/client/v3/sync?timeout=30000", nil)
		answered <- text
	}()
	for {
		if n, _ := old.count(); n == 1 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err := f.proxy.Apply(f.load(oneSite(now, "")), nil); err != nil {
		t.Fatal(err)
	}
	if _, text := do(t, c, "GET", "https://matrix.example.com/_matrix/client/versions", nil); text != "now" {
		t.Errorf("after the reload %q answers", text)
	}
	release <- true
	if text := <-answered; text != "old" {
		t.Errorf("the long poll was answered by %q", text)
	}
}

// TestRefusalHeaders: a route that only answers with a status sets the fields that it
// is configured to; one that refuses somebody does not.
func TestRefusalHeaders(t *testing.T) {
	f := newFront(t, oneSite(newBackend(t, "main"),
		`    routes: [{ name: away, path: /_matrix/client/v3/register, status: 503, response_headers: { Retry-After: "3600" } }]`))
	resp, text := do(t, f.client(f.https, false), "POST", "https://matrix.example.com/_matrix/client/v3/register", nil)
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "3600" {
		t.Errorf("%s %v %s", resp.Status, resp.Header, text)
	}
	f = newFront(t, oneSite(newBackend(t, "main"), `    routes:
      - { name: files, path_prefix: /files, allow: [192.0.2.1], upstreams: ["http://127.0.0.1:9"], response_headers: { Cache-Control: public } }`))
	resp, text = do(t, f.client(f.https, true), "GET", site+"/files/x", nil)
	if resp.StatusCode != 403 || resp.Header.Get("Cache-Control") == "public" {
		t.Errorf("what it answers others with is on its refusal: %s %v %s", resp.Status, resp.Header, text)
	}
}
