package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// door is a front door as a behaviour is tried on it: an engine, a protocol and
// the back end behind.
type door struct {
	*front
	main   *backend
	client *http.Client
	h2     bool
}

const site = "https://matrix.example.com"

// behaviours is what a client may rely on, over HTTP/1.1 and HTTP/2.
var behaviours = []struct {
	name string
	try  func(t *testing.T, d *door)
}{
	{"framing", tryFraming},
	{"request trailer", tryRequestTrailer},
	{"response trailer", tryResponseTrailer},
	{"interim answers", tryInterim},
	{"100-continue", tryContinue},
	{"100-continue that is refused", tryContinueRefused},
	{"bodies that are none", tryBodyless},
	{"client leaves before the head", tryLeaveBeforeHead},
	{"client leaves between interim answers", tryLeaveInterim},
	{"client leaves inside its body", tryLeaveInsideUpload},
	{"client leaves inside the answer", tryLeaveInsideAnswer},
	{"back end leaves before the head", tryBackendBeforeHead},
	{"back end leaves inside the head", tryBackendInsideHead},
	{"back end leaves inside the body", tryBackendInsideBody},
	{"early answer", tryEarlyAnswer},
	{"early end of both", tryEarlyReset},
	{"byte by byte", tryByteByByte},
	{"client that does not read", tryUnreadAnswer},
	{"back end that does not read", tryUnreadUpload},
	{"large both ways", tryLarge},
}

func TestBehaviours(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		for _, protocol := range []string{"h1", "h2"} {
			for _, b := range behaviours {
				t.Run(protocol+" "+b.name, func(t *testing.T) {
					t.Parallel()
					main := newBackend(t, "main")
					d := &door{front: e.front(t, oneSite(main, ""), true), main: main, h2: protocol == "h2"}
					d.client = d.front.client(d.https, d.h2)
					start := time.Now()
					b.try(t, d)
					if took := time.Since(start); took > 60*time.Second {
						t.Errorf("took %v", took)
					}
				})
			}
		}
	})
}

// TestUpgrades: a tunnel carries both directions, each to its own end, and ends
// when one side is gone. HTTP/2 has no such upgrades (RFC 9113, section 8.6).
func TestUpgrades(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		for name, try := range map[string]func(t *testing.T, client net.Conn, fromClient *bufio.Reader, far net.Conn, fromFar *bufio.Reader){
			"bytes that came early": func(t *testing.T, client net.Conn, _ *bufio.Reader, _ net.Conn, fromFar *bufio.Reader) {
				expectBytes(t, "from the client", fromFar, "early")
			},
			"client ends first": func(t *testing.T, client net.Conn, fromClient *bufio.Reader, far net.Conn, fromFar *bufio.Reader) {
				io.WriteString(client, "last")
				client.(interface{ CloseWrite() error }).CloseWrite()
				expectEnd(t, "from the client", fromFar, "earlylast")
				io.WriteString(far, "answer")
				far.Close()
				expectEnd(t, "from the back end", fromClient, "answer")
			},
			"back end ends first": func(t *testing.T, client net.Conn, fromClient *bufio.Reader, far net.Conn, fromFar *bufio.Reader) {
				io.WriteString(far, "last")
				far.(*net.TCPConn).CloseWrite()
				expectEnd(t, "from the back end", fromClient, "last")
				io.WriteString(client, "answer")
				client.Close()
				expectEnd(t, "from the client", fromFar, "earlyanswer")
			},
			"client is gone": func(t *testing.T, client net.Conn, _ *bufio.Reader, far net.Conn, fromFar *bufio.Reader) {
				client.Close()
				far.SetReadDeadline(time.Now().Add(30 * time.Second))
				if _, err := io.Copy(io.Discard, fromFar); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error("the back end does not learn of it")
				}
			},
			"back end is gone": func(t *testing.T, client net.Conn, fromClient *bufio.Reader, far net.Conn, _ *bufio.Reader) {
				far.(*net.TCPConn).SetLinger(0)
				far.Close()
				if _, err := io.Copy(io.Discard, fromClient); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error("the client does not learn of it")
				}
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				main, app := newBackend(t, "main"), newBackend(t, "app")
				type end struct {
					c net.Conn
					r *bufio.Reader
				}
				ends, done := make(chan end), make(chan bool)
				defer close(done)
				app.answers(func(w net.Conn, r *bufio.Reader, _ seen) bool {
					io.WriteString(w, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
					ends <- end{w, r}
					<-done
					return false
				})
				f := e.front(t, oneSite(main, fmt.Sprintf("    ntfy: { upstream: %q }\n", app.url())), true)
				c := f.rawConn(f.https, "http/1.1")
				connection := "Connection: keep-alive, Upgrade\r\n"
				if name == "bytes that came early" { // several lines are one list (RFC 9110, section 5.3)
					connection = "Connection: keep-alive\r\nConnection: Upgrade\r\n"
				}
				io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: ntfy.example.com\r\n"+connection+"Upgrade: websocket\r\n\r\nearly")
				far := <-ends
				r := bufio.NewReader(c)
				if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 101 {
					t.Fatal(resp, err)
				}
				try(t, c, r, far.c, far.r)
			})
		}
	})
}

func expectBytes(t *testing.T, what string, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Errorf("%s: %q %v, want %q", what, got, err, want)
	}
}

func expectEnd(t *testing.T, what string, r io.Reader, want string) {
	t.Helper()
	if got, err := io.ReadAll(r); err != nil || string(got) != want {
		t.Errorf("%s: %q %v, want %q and the end", what, got, err, want)
	}
}

// TestSlowHead: a head that comes byte by byte is waited for no longer than
// timeouts.head, however lively it is, and nobody's back end is bothered.
func TestSlowHead(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		main := newBackend(t, "main")
		f := e.front(t, oneSite(main, "timeouts: { head: 1s }\n"), false)
		c, err := net.Dial("tcp", f.https)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		start := time.Now()
		io.WriteString(c, "GET /_matrix/x HTTP/1.1\r\nHost: matrix.example.com\r\nX: ")
		go func() {
			for time.Since(start) < 20*time.Second {
				if _, err := io.WriteString(c, "x"); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}()
		c.SetReadDeadline(start.Add(18 * time.Second))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) < 900*time.Millisecond {
			t.Errorf("ended after %v: %v", time.Since(start), err)
		}
		if requests, _ := main.count(); requests > 0 {
			t.Error("the back end got half a request")
		}
	})
}

// halfClosed says which front ends answer a client that has ended its sending
// side. net/http takes it for one that left: the end is all that it sees of
// either.
var halfClosed = map[string]bool{"standard": false, "own": false}

// TestHalfClosedClient: whichever it is, the back end is not kept.
func TestHalfClosedClient(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		main := newBackend(t, "main")
		asked, left := make(chan bool, 1), make(chan bool, 1)
		main.answers(func(w net.Conn, r *bufio.Reader, s seen) bool {
			asked <- true
			w.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
			_, err := r.ReadByte()
			left <- errors.Is(err, io.EOF)
			return main.sayName(w, nil, s)
		})
		f := e.front(t, oneSite(main, ""), false)
		c, err := net.Dial("tcp", f.https)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(30 * time.Second))
		io.WriteString(c, "GET /_matrix/x HTTP/1.1\r\nHost: matrix.example.com\r\n\r\n")
		within(t, 3*time.Second, "the back end is asked", asked)
		c.(*net.TCPConn).CloseWrite()
		text, err := io.ReadAll(c)
		if errors.Is(err, os.ErrDeadlineExceeded) || strings.Contains(string(text), "main") != halfClosed[e.name] {
			t.Errorf("answered %q %v", text, err)
		}
		select {
		case gone := <-left:
			if gone == halfClosed[e.name] {
				t.Errorf("the back end was left: %v", gone)
			}
		case <-time.After(3 * time.Second):
			t.Error("the back end is kept")
		}
	})
}

// answersWith makes the back end answer with these bytes; it keeps the connection
// unless they end with it.
func (d *door) answersWith(text string, keep bool) {
	d.main.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
		_, err := io.WriteString(w, text)
		return keep && err == nil
	})
}

// pipe is a body without a declared length.
type pipe struct{ io.Reader }

func tryFraming(t *testing.T, d *door) {
	long := strings.Repeat("0123456789abcdef", 5000)
	requests := map[string]io.Reader{"": nil, "short": strings.NewReader("short"), "chunks": pipe{strings.NewReader("chunks")},
		"long": strings.NewReader(long), "long chunks": pipe{strings.NewReader(long)}, "no chunks": pipe{strings.NewReader("")}}
	for name, text := range map[string]string{
		"a length":  fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(long), long),
		"no length": "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"chunks":    fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n%x;x=y\r\n%s\r\n0\r\n\r\n", len(long), long),
		"no chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"the end":   "HTTP/1.1 200 OK\r\n\r\n" + long,
		"HTTP/1.0":  "HTTP/1.0 200 OK\r\n\r\n" + long,
	} {
		d.answersWith(text, name != "the end" && name != "HTTP/1.0")
		want := map[string]string{"a length": long, "chunks": "hello" + long, "the end": long, "HTTP/1.0": long}[name]
		resp, body := do(t, d.client, "GET", site+"/_matrix/x", nil)
		if body != want || resp.ProtoMajor == 2 != d.h2 {
			t.Errorf("%s: %s, %d bytes", name, resp.Proto, len(body))
		}
		if declared := name == "a length" || name == "no length"; declared != (resp.ContentLength == int64(len(want))) && want != "" {
			t.Errorf("%s: length %d", name, resp.ContentLength)
		}
	}
	d.main.answers(nil)
	for name, body := range requests {
		do(t, d.client, "PUT", site+"/_matrix/x", body)
		want := map[string]string{"short": "short", "chunks": "chunks", "long": long, "long chunks": long}[name]
		if s := d.main.last(t); s.body != want {
			t.Errorf("%s arrived as %d bytes", name, len(s.body))
		}
	}
}

func tryRequestTrailer(t *testing.T, d *door) {
	req, _ := http.NewRequest("PUT", site+"/_matrix/x", pipe{strings.NewReader("body")})
	req.Trailer = http.Header{"X-Checksum": {"abc"}, "X-Forwarded-For": {"6.6.6.6"}}
	resp, err := d.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := d.main.last(t).body; got != "body[X-Checksum: abc]" {
		t.Errorf("arrived as %q", got)
	}
}

func tryResponseTrailer(t *testing.T, d *door) {
	d.answersWith("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a=b\r\nContent-Length: 4\r\n\r\n", true)
	resp, body := do(t, d.client, "GET", site+"/_matrix/x", nil, "TE", "trailers")
	if body != "body" || resp.Trailer.Get("X-Sum") != "1" || len(resp.Trailer) != 1 {
		t.Errorf("%q, %v", body, resp.Trailer)
	}
}

func tryInterim(t *testing.T, d *door) {
	d.answersWith("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nX-Once: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true)
	var got []string
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		got = append(got, fmt.Sprint(code, h.Get("Link")))
		return nil
	}}
	req, _ := http.NewRequestWithContext(httptrace.WithClientTrace(context.Background(), trace), "GET", site+"/_matrix/x", nil)
	resp, err := d.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 200 || string(body) != "ok" || resp.Header.Get("X-Once") != "" || !slices.Equal(got, []string{"102", "103</a>"}) {
		t.Errorf("%v, then %s %q %v", got, resp.Status, body, resp.Header)
	}
}

// tryLeaveInterim: an interim answer may still be on its way when the stream is
// reset, and what it says must not change then. Only -race sees it, and not always.
func tryLeaveInterim(t *testing.T, d *door) {
	const hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\r\n"
	d.answersWith(strings.Repeat(hint, 50)+"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 25 {
				ctx, leave := context.WithCancel(t.Context())
				left := rand.IntN(50) // interim answers before it leaves
				trace := &httptrace.ClientTrace{Got1xxResponse: func(int, textproto.MIMEHeader) error {
					if left--; left < 0 {
						leave()
					}
					return nil
				}}
				req, _ := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), "GET", site+"/_matrix/x", nil)
				if resp, err := d.client.Do(req); err == nil {
					resp.Body.Close()
				}
				leave()
			}
		})
	}
	wg.Wait()
	if resp, body := do(t, d.client, "GET", site+"/_matrix/x", nil); resp.StatusCode != 200 || body != "ok" {
		t.Errorf("then %s %q", resp.Status, body)
	}
}

// tryContinue: who waits for 100 before its body gets it, from us.
func tryContinue(t *testing.T, d *door) {
	resp, got := d.expect(t, "/_matrix/x", strings.NewReader("the body"))
	if resp.StatusCode != 200 || !got {
		t.Errorf("100 came: %v, then %s", got, resp.Status)
	}
	if s := d.main.last(t); s.body != "the body" || s.field.Get("Expect") != "" {
		t.Errorf("arrived as %q\n%s", s.body, s.head)
	}
}

// tryContinueRefused: who is refused is not asked for its body.
func tryContinueRefused(t *testing.T, d *door) {
	body := &counting{Reader: strings.NewReader(strings.Repeat("x", 1<<20))}
	resp, got := d.expect(t, "/_synapse/admin/v1/users", body)
	if resp.StatusCode != 403 || got || body.n.Load() != 0 {
		t.Errorf("100 came: %v, then %s, %d bytes were sent", got, resp.Status, body.n.Load())
	}
}

type counting struct {
	io.Reader
	n atomic.Int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// expect sends a request that waits for 100, as curl does, and says whether it came.
func (d *door) expect(t *testing.T, path string, body io.Reader) (*http.Response, bool) {
	t.Helper()
	d.client.Transport.(*http.Transport).ExpectContinueTimeout = 5 * time.Second
	var got atomic.Bool
	trace := &httptrace.ClientTrace{Got100Continue: func() { got.Store(true) }}
	req, _ := http.NewRequestWithContext(httptrace.WithClientTrace(context.Background(), trace), "PUT", site+path, pipe{body})
	req.Header.Set("Expect", "100-continue")
	start := time.Now()
	resp, err := d.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if time.Since(start) > 4*time.Second {
		t.Errorf("neither 100 nor an answer came")
	}
	return resp, got.Load()
}

func tryBodyless(t *testing.T, d *door) {
	for _, c := range []struct {
		method, answer string
		status         int
		length         string
	}{
		{"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", 200, "5000"},
		{"HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, ""},
		{"HEAD", "HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\n", 404, "7"},
		{"GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, ""},
		{"GET", "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n", 304, ""},
		{"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, ""},
	} {
		d.answersWith(c.answer, true)
		for range 2 { // the second over what the first has left
			resp, body := do(t, d.client, c.method, site+"/_matrix/x", nil)
			length := resp.Header.Get("Content-Length")
			if resp.StatusCode != c.status || body != "" || length != c.length {
				t.Errorf("%s %q: %s, length %q, body %q", c.method, c.answer, resp.Status, length, body)
			}
		}
	}
	if _, conns := d.main.count(); conns != 1 {
		t.Errorf("%d connections to the back end", conns)
	}
}

// gone makes the back end say, through a channel, that its connection has ended.
func (d *door) gone(begin string) chan bool {
	ended := make(chan bool, 1)
	d.main.answers(func(w net.Conn, r *bufio.Reader, _ seen) bool {
		io.WriteString(w, begin)
		io.Copy(io.Discard, r)
		ended <- true
		return false
	})
	return ended
}

func within(t *testing.T, limit time.Duration, what string, c chan bool) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(limit):
		t.Errorf("not within %v: %s", limit, what)
	}
}

func tryLeaveBeforeHead(t *testing.T, d *door) {
	ended := d.gone("")
	ctx, leave := context.WithCancel(context.Background())
	req, _ := http.NewRequestWithContext(ctx, "GET", site+"/_matrix/client/v3/sync", nil)
	go func() {
		for n := 0; n == 0; n, _ = d.main.count() {
			time.Sleep(time.Millisecond)
		}
		leave()
	}()
	if _, err := d.client.Do(req); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	within(t, 3*time.Second, "the back end is free", ended)
	d.stillWorks(t)
}

func tryLeaveInsideUpload(t *testing.T, d *door) {
	ended := d.gone("")
	r, w := io.Pipe()
	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	req, _ := http.NewRequestWithContext(ctx, "PUT", site+"/_matrix/x", r)
	req.Header.Set("Expect-No-Body-Read", "1")
	go func() {
		w.Write(make([]byte, 100000))
		for n := 0; n == 0; n, _ = d.main.count() {
			time.Sleep(time.Millisecond)
		}
		leave()
		w.CloseWithError(context.Canceled) // or the client may wait for more itself
	}()
	if _, err := d.client.Do(req); err == nil {
		t.Fatal("half a request was answered")
	}
	within(t, 3*time.Second, "the back end is free", ended)
	d.stillWorks(t)
}

func tryLeaveInsideAnswer(t *testing.T, d *door) {
	ended := d.gone("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	req, _ := http.NewRequestWithContext(ctx, "GET", site+"/_matrix/x", nil)
	resp, err := d.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	half := make([]byte, 4)
	if _, err := io.ReadFull(resp.Body, half); err != nil {
		t.Fatalf("what the back end has sent waits for more: %v", err)
	}
	leave()
	resp.Body.Close()
	within(t, 3*time.Second, "the back end is free", ended)
	d.stillWorks(t)
}

// stillWorks asks for something ordinary.
func (d *door) stillWorks(t *testing.T) {
	t.Helper()
	d.main.answers(nil)
	if resp, body := do(t, d.client, "GET", site+"/_matrix/x", nil); resp.StatusCode != 200 || body != "main" {
		t.Errorf("then %s %q", resp.Status, body)
	}
}

func tryBackendBeforeHead(t *testing.T, d *door) {
	d.answersWith("", false)
	if resp, body := do(t, d.client, "POST", site+"/_matrix/x", strings.NewReader("{}")); resp.StatusCode != 502 || !strings.Contains(body, "errcode") {
		t.Errorf("%s %q", resp.Status, body)
	}
	d.stillWorks(t)
}

func tryBackendInsideHead(t *testing.T, d *door) {
	d.answersWith("HTTP/1.1 200 OK\r\nContent-Len", false)
	if resp, body := do(t, d.client, "GET", site+"/_matrix/x", nil); resp.StatusCode != 502 || !strings.Contains(body, "errcode") {
		t.Errorf("%s %q", resp.Status, body)
	}
	d.stillWorks(t)
}

func tryBackendInsideBody(t *testing.T, d *door) {
	for _, begin := range []string{"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\nX-Sum: 1\r\n"} {
		d.answersWith(begin, false)
		resp, err := d.client.Get(site + "/_matrix/x")
		if err != nil {
			continue // the head was not sent on alone
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil {
			t.Errorf("%q looks whole: %q", begin, body)
		}
		d.stillWorks(t)
	}
}

// tryEarlyAnswer: the answer comes while the client still sends.
func tryEarlyAnswer(t *testing.T, d *door) {
	d.main.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
		io.WriteString(w, "HTTP/1.1 413 Too Large\r\nContent-Length: 8\r\n\r\ntoo long")
		return false
	})
	r, w := io.Pipe()
	defer w.Close()
	go func() {
		for {
			if _, err := w.Write(make([]byte, 1000)); err != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	resp, body := do(t, d.client, "PUT", site+"/_matrix/x", r, "Expect-No-Body-Read", "1")
	if resp.StatusCode != 413 || body != "too long" {
		t.Errorf("%s %q", resp.Status, body)
	}
	d.stillWorks(t)
}

// TestEarlyAnswerThenMore: a client that goes on sending after an early answer is not
// reset at once, or some systems would take the answer from it again (RFC 9112,
// section 9.6).
func TestEarlyAnswerThenMore(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		main := newBackend(t, "main")
		main.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
			time.Sleep(20 * time.Millisecond) // until the rest of the body is waited for
			io.WriteString(w, "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 8\r\n\r\ntoo long")
			return false
		})
		f := e.front(t, oneSite(main, ""), true)
		var err error
		for range 20 { // as a busy machine may be slower than half a second
			c := f.rawConn(f.https, "http/1.1")
			io.WriteString(c, "POST /_matrix/x HTTP/1.1\r\nHost: matrix.example.com\r\nExpect-No-Body-Read: 1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
			if text, err := io.ReadAll(c); err != nil || !strings.HasSuffix(string(text), "too long") {
				t.Fatalf("%q %v", text, err)
			}
			for range 3 {
				time.Sleep(20 * time.Millisecond)
				_, err = io.WriteString(c, "3\r\nabc\r\n")
			}
			if err == nil {
				return
			}
		}
		t.Error(err)
	})
}

// tryEarlyReset: a back end that answers early and slams the door, with what it
// has not read, makes a reset; the answer is there all the same. net/http reads
// away no more than 256 KiB of a body before it closes.
func tryEarlyReset(t *testing.T, d *door) {
	d.main.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
		time.Sleep(50 * time.Millisecond) // much of the body is here, unread
		io.WriteString(w, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
		time.Sleep(50 * time.Millisecond)
		return false
	})
	resp, body := do(t, d.client, "PUT", site+"/_matrix/x", strings.NewReader(strings.Repeat("x", 200000)), "Expect-No-Body-Read", "1")
	if resp.StatusCode != 401 || body != "no" {
		t.Errorf("%s %q", resp.Status, body)
	}
	d.stillWorks(t)
}

// tryByteByByte: what one side sends arrives before it sends more, both ways at
// the same time.
func tryByteByByte(t *testing.T, d *door) {
	d.main.answers(func(w net.Conn, r *bufio.Reader, _ seen) bool {
		io.WriteString(w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for { // an echo, chunk by chunk
			size, err := r.ReadString('\n')
			if err != nil || strings.HasPrefix(size, "0") {
				io.WriteString(w, "0\r\n\r\n")
				return false
			}
			line, _ := r.ReadString('\n')
			io.WriteString(w, size+line)
		}
	})
	r, w := io.Pipe()
	req, _ := http.NewRequest("POST", site+"/_matrix/x", r)
	req.Header.Set("Expect-No-Body-Read", "1")
	go w.Write([]byte("0"))
	resp, err := d.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for i := range 50 {
		var b [1]byte
		if _, err := io.ReadFull(resp.Body, b[:]); err != nil || b[0] != byte('0'+i%10) {
			t.Fatalf("byte %d: %q %v", i, b, err)
		}
		w.Write([]byte{byte('0' + (i+1)%10)})
	}
	w.Close()
	if rest, err := io.ReadAll(resp.Body); string(rest) != "0" || err != nil {
		t.Errorf("at the end %q %v", rest, err)
	}
}

// tryUnreadAnswer: who does not read holds up its back end, not our memory, and
// nobody else, not even on the same connection.
func tryUnreadAnswer(t *testing.T, d *door) {
	var written atomic.Int64
	ended := make(chan bool, 1)
	d.main.answers(func(w net.Conn, _ *bufio.Reader, s seen) bool {
		if !strings.Contains(s.line, "endless") {
			return d.main.sayName(w, nil, s)
		}
		io.WriteString(w, "HTTP/1.1 200 OK\r\n\r\n")
		for {
			n, err := w.Write(make([]byte, 64<<10))
			if written.Add(int64(n)); err != nil {
				ended <- true
				return false
			}
		}
	})
	resp, err := d.client.Get(site + "/_matrix/endless")
	if err != nil {
		t.Fatal(err)
	}
	stuck(t, &written)
	if resp, body := do(t, d.client, "GET", site+"/_matrix/other", nil); body != "main" {
		t.Errorf("meanwhile %s %q", resp.Status, body)
	}
	resp.Body.Close()
	within(t, 3*time.Second, "the back end is free", ended)
}

// stuck waits until what was begun goes no further, and checks that little is on
// its way.
func stuck(t *testing.T, sent *atomic.Int64) {
	t.Helper()
	before := int64(-1)
	for now := sent.Load(); now != before || now == 0; now = sent.Load() {
		before = now
		time.Sleep(200 * time.Millisecond)
	}
	if before > 32<<20 {
		t.Errorf("%d bytes are on their way to nobody", before)
	}
}

// tryUnreadUpload: a back end that does not read holds up its client, not our
// memory, and nobody else.
func tryUnreadUpload(t *testing.T, d *door) {
	release := make(chan bool)
	d.main.answers(func(w net.Conn, _ *bufio.Reader, s seen) bool {
		if strings.Contains(s.line, "stuck") {
			<-release
			return false
		}
		return d.main.sayName(w, nil, s)
	})
	const uploads = 3
	failed := make(chan bool, uploads)
	for range uploads {
		body := &counting{Reader: zeros{}}
		req, _ := http.NewRequest("PUT", site+"/_matrix/stuck", body)
		req.Header.Set("Expect-No-Body-Read", "1")
		go func() {
			resp, err := d.client.Do(req)
			if err == nil {
				resp.Body.Close()
			}
			failed <- true
		}()
		stuck(t, &body.n)
	}
	for _, method := range []string{"GET", "PUT"} { // PUT waits for room in the connection's window
		start := time.Now()
		resp, text := do(t, d.client, method, site+"/_matrix/other", strings.NewReader("body"))
		if took := time.Since(start); text != "main" || took > 5*time.Second {
			t.Errorf("meanwhile %s of %s after %v: %s", resp.Status, method, took, text)
		}
	}
	close(release)
	for range uploads {
		within(t, 30*time.Second, "the client is told", failed)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func tryLarge(t *testing.T, d *door) {
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<19) // 8 MiB
	d.main.answers(func(w net.Conn, _ *bufio.Reader, s seen) bool {
		_, err := fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(s.body), s.body)
		return err == nil
	})
	for _, body := range []io.Reader{bytes.NewReader(large), pipe{bytes.NewReader(large)}} {
		if _, got := do(t, d.client, "PUT", site+"/_matrix/x", body); got != string(large) {
			t.Errorf("%d bytes came back", len(got))
		}
	}
}
