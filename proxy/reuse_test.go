package proxy

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestRestartedBackend: when a process goes away with many idle connections, a
// request that meets one of them is not tried on the next stale one.
func TestRestartedBackend(t *testing.T) {
	main := newBackend(t, "main")
	var waiting sync.WaitGroup
	waiting.Add(4)
	main.answers(func(w net.Conn, _ *bufio.Reader, s seen) bool {
		waiting.Done()
		waiting.Wait() // so that there are four connections
		return main.sayName(w, nil, s)
	})
	f := newFront(t, oneSite(main, ""))
	c := f.client(f.https, true)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { do(t, c, "GET", "https://matrix.example.com/_matrix/client/versions", nil) })
	}
	wg.Wait()
	main.answers(func(w net.Conn, _ *bufio.Reader, s seen) bool {
		if _, conns := main.count(); conns == 4 {
			return false // an old connection, which ends under the request
		}
		return main.sayName(w, nil, s)
	})
	if resp, text := do(t, c, "GET", "https://matrix.example.com/_matrix/client/versions", nil); text != "main" {
		t.Errorf("%s %q", resp.Status, text)
	}
}

// exchangeEnd is how an exchange ends between the front door and a back end.
type exchangeEnd struct {
	name    string
	method  string // GET unless it says something else
	body    string // of the request; over inlineBody it is streamed
	answer  string // what the back end writes at once
	ends    bool   // and ends its side
	late    string // what it writes when the client has had its answer
	lateEnd bool   // and ends its side then
	want    string // status and body as the client gets them; "broken" when it sees no whole answer
}

const (
	ok2      = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	okChunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"
	stray    = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
)

var longBody = strings.Repeat("x", 3*inlineBody)

// ordinary are ends after which the connection carries the next exchange.
var ordinary = []exchangeEnd{
	{name: "counted", answer: ok2, want: "200 ok"},
	{name: "empty", answer: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", want: "200 "},
	{name: "chunked", answer: okChunks + "\r\n", want: "200 ok"},
	{name: "chunked with a trailer", answer: okChunks + "X-Sum: 1\r\n\r\n", want: "200 ok"},
	{name: "after interim ones", answer: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok2, want: "200 ok"},
	{name: "HEAD", method: "HEAD", answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", want: "200 "},
	{name: "HEAD in chunks", method: "HEAD", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", want: "200 "},
	{name: "204", answer: "HTTP/1.1 204 No Content\r\n\r\n", want: "204 "},
	{name: "304 with the length of what it leaves out", answer: "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", want: "304 "},
	{name: "short upload", method: "PUT", body: "short", answer: ok2, want: "200 ok"},
	{name: "streamed upload", method: "PUT", body: longBody, answer: ok2, want: "200 ok"},
}

// odd are ends after which it never does, however well the answer itself went.
var odd = []exchangeEnd{
	{name: "another answer behind", answer: ok2 + stray, want: "200 ok"},
	{name: "another answer behind chunks", answer: okChunks + "\r\n" + stray, want: "200 ok"},
	{name: "another answer, late", answer: ok2, late: stray, want: "200 ok"},
	{name: "length shorter than the body", answer: ok2 + "ay", want: "200 ok"},
	{name: "rest of the body, late", answer: ok2, late: "ay", want: "200 ok"},
	{name: "empty line behind", answer: ok2 + "\r\n", want: "200 ok"},
	{name: "empty line, late", answer: ok2, late: "\r\n", want: "200 ok"},
	{name: "LF behind", answer: ok2 + "\n", want: "200 ok"},
	{name: "interim answer behind", answer: ok2 + "HTTP/1.1 103 Early Hints\r\n\r\n", want: "200 ok"},
	{name: "interim answer, late", answer: ok2, late: "HTTP/1.1 100 Continue\r\n\r\n", want: "200 ok"},
	{name: "half-closed, late", answer: ok2, lateEnd: true, want: "200 ok"},
	{name: "HEAD with a body", method: "HEAD", answer: ok2, want: "200 "},
	{name: "HEAD with chunks", method: "HEAD", answer: okChunks + "\r\n", want: "200 "},
	{name: "HEAD with a body, late", method: "HEAD", answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", late: "ok", want: "200 "},
	{name: "204 with a body", answer: "HTTP/1.1 204 No Content\r\n\r\nok", want: "204 "},
	{name: "204 with a length", answer: "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n", want: "204 "},
	{name: "204 in chunks", answer: "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", want: "204 "},
	{name: "304 with a body", answer: "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nok", want: "304 "},
	{name: "304 with chunks", answer: "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", want: "304 "},
	{name: "garbage behind the last chunk", answer: okChunks + "garbage\r\n\r\n", want: "broken"},
	{name: "garbage behind the chunks", answer: okChunks + "\r\ngarbage", want: "200 ok"},
	{name: "chunk longer than its size", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nok\r\n0\r\n\r\n", want: "broken"},
	{name: "length longer than the body", answer: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", ends: true, want: "broken"},
	{name: "chunks without an end", answer: okChunks, ends: true, want: "broken"},
	{name: "until its end", answer: "HTTP/1.1 200 OK\r\n\r\nok", ends: true, want: "200 ok"},
	{name: "last of the connection", answer: "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", want: "200 ok"},
	{name: "HTTP/1.0", answer: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", want: "200 ok"},
	{name: "no answer", answer: "garbage\r\n\r\n", want: "502 {"},
	{name: "101 that nobody asked for", answer: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", want: "502 {"},
	{name: "short upload, another answer behind", method: "POST", body: "short", answer: ok2 + stray, want: "200 ok"},
	{name: "streamed upload, another answer behind", method: "POST", body: longBody, answer: ok2 + stray, want: "200 ok"},
	{name: "streamed upload that is not read", method: "POST", body: endlessly, answer: ok2, want: "200 ok"},
}

// endlessly stands for a body whose end the client never sends.
const endlessly = "endlessly"

// TestEndings: a connection is used again when both sides of its exchange ended as
// they said they would, and only then.
func TestEndings(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		for _, e := range ordinary {
			t.Run(fmt.Sprintf("h2=%v ordinary: %s", h2, e.name), func(t *testing.T) { e.try(t, h2, 1) })
		}
		for _, e := range odd {
			t.Run(fmt.Sprintf("h2=%v odd: %s", h2, e.name), func(t *testing.T) { e.try(t, h2, 2) })
		}
	}
}

// try has one exchange end so and another follow, and counts the connections.
func (e *exchangeEnd) try(t *testing.T, h2 bool, want int) {
	t.Parallel()
	main, answered := newBackend(t, "main"), make(chan bool)
	main.answers(func(w net.Conn, _ *bufio.Reader, s seen) bool {
		if strings.Contains(s.line, "next") {
			return main.sayName(w, nil, s)
		}
		io.WriteString(w, e.answer)
		if e.ends {
			w.(*net.TCPConn).CloseWrite()
		}
		<-answered
		io.WriteString(w, e.late)
		if e.lateEnd {
			w.(*net.TCPConn).CloseWrite()
		}
		return true
	})
	f := newFront(t, oneSite(main, ""))
	c := f.client(f.https, h2)
	got := e.ask(t, c)
	if !strings.HasPrefix(got, e.want) || e.want[0] < '4' && got != e.want {
		t.Errorf("the client got %q, want %q", got, e.want)
	}
	a := f.proxy.state.Load().pools[0].upstreams[0].found.Load().list[0]
	eventually(t, "the exchange is over", func() bool { return a.inflight.Load() == 0 && a.open.Load() == int64(a.unused()) })
	close(answered)
	if e.late != "" || e.lateEnd {
		eventually(t, "what is late is here", func() bool { return !a.idle[0].quiet() })
	}
	if resp, text := do(t, c, "GET", site+"/_matrix/next", nil); resp.StatusCode != 200 || text != "main" {
		t.Errorf("the next one got %s %q", resp.Status, text)
	}
	if _, conns := main.count(); conns != want {
		t.Errorf("two exchanges took %d connections", conns)
	}
}

// unused counts the idle connections.
func (a *address) unused() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.idle)
}

// ask returns the status and the body of the answer, or "broken".
func (e *exchangeEnd) ask(t *testing.T, c *http.Client) string {
	var body io.Reader
	var fields http.Header
	switch e.body {
	case "":
	case endlessly:
		r, w := io.Pipe()
		go w.Write([]byte("the beginning"))
		t.Cleanup(func() { w.Close() })
		body, fields = r, http.Header{"Expect-No-Body-Read": {"1"}}
	default:
		body = strings.NewReader(e.body)
	}
	req, err := http.NewRequest(cmp.Or(e.method, "GET"), site+"/_matrix/x", body)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, fields)
	resp, err := c.Do(req)
	if err != nil {
		return "broken"
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return "broken"
	}
	return fmt.Sprint(resp.StatusCode, " ", string(text))
}

// TestExtraBytes: what a back end sends beyond its answer reaches nobody, over
// TLS too, where it may lie decrypted in the connection.
func TestExtraBytes(t *testing.T) {
	for _, secure := range []bool{false, true} {
		main := newBackend(t, "main")
		var site string
		if secure {
			authority := newAuthority(t)
			main = serveBackend(t, "main", authority.listen(t, "localhost"))
			site = fmt.Sprintf("sites:\n  - server_name: example.com\n    synapse: { main: { url: %q, ca_file: %q, server_name: localhost } }\n",
				strings.Replace(main.url(), "http:", "https:", 1), authority.file)
		} else {
			site = oneSite(main, "")
		}
		body := strings.Repeat("b", 9000)
		main.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
			fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(body))
			time.Sleep(20 * time.Millisecond)
			io.WriteString(w, body+"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
			return true
		})
		f := newFront(t, site)
		for range 3 {
			if resp, text := do(t, f.client(f.https, false), "GET", "https://matrix.example.com/_matrix/client/versions", nil); text != body {
				t.Errorf("secure=%v: %s %.20q of %d bytes", secure, resp.Status, text, len(text))
			}
		}
	}
}

// TestUnsentEnd: a back end that answers before it has the end of the body, which
// never comes since the client's trailer is none, is sent nothing more on that
// connection.
func TestUnsentEnd(t *testing.T) {
	main := newBackend(t, "main")
	main.answers(func(w net.Conn, r *bufio.Reader, s seen) bool {
		if s.field.Get("Expect-No-Body-Read") != "" {
			r.Discard(len("3\r\nabc\r\n"))
		}
		return main.sayName(w, nil, s)
	})
	f := newFront(t, oneSite(main, ""))
	for conns := range 5 {
		c := f.rawConn(f.https, "http/1.1")
		io.WriteString(c, "POST /_matrix/x HTTP/1.1\r\nHost: matrix.example.com\r\nExpect-No-Body-Read: 1\r\n"+
			"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-A : b\r\n\r\n")
		io.Copy(io.Discard, c)
		eventually(t, "the exchange is over", func() bool { return f.requests() == 0 })
		do(t, f.client(f.https, false), "GET", site+"/_matrix/next", nil)
		if _, n := main.count(); n < conns+2 {
			t.Errorf("%d connections for %d bodies without an end", n, conns+1)
		}
	}
}
