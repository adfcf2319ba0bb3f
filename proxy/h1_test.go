package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// frugal is a back end that answers without allocating.
func frugal(t testing.TB, answer string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				text := []byte(answer)
				for buf := make([]byte, 16<<10); readTo(c, buf, "\r\n\r\n"); {
					if _, err := c.Write(text); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// readTo reads until what was read ends in this way.
func readTo(c net.Conn, buf []byte, end string) bool {
	for n := 0; n < len(buf); {
		m, err := c.Read(buf[n:])
		if n += m; err != nil {
			return false
		}
		if bytes.HasSuffix(buf[:n], []byte(end)) {
			return true
		}
	}
	return false
}

const ordinaryGet = "GET /_matrix/client/v3/rooms/%21a%3Aexample.com/state HTTP/1.1\r\nHost: matrix.example.com\r\n" +
	"Authorization: Bearer syt_YWxpY2U_abcdefghijklmnopqrst_0aBcDe\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"

// kept is a client that sends the same request over and over on one connection,
// without allocating.
func (e engine) kept(t testing.TB, secure bool) (ask func()) {
	back := frugal(t, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\nmain")
	f := e.front(t, fmt.Sprintf("sites: [{ server_name: example.com, synapse: { main: %q } }]\nlogging: { access: false }\n", "http://"+back), secure)
	c, err := net.Dial("tcp", f.https)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if secure {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	}
	buf := make([]byte, 16<<10)
	request := []byte(ordinaryGet)
	return func() {
		if _, err := c.Write(request); err != nil || !readTo(c, buf, "main") {
			t.Fatal("not answered", err)
		}
	}
}

func BenchmarkKept(b *testing.B) {
	for _, e := range engines {
		for _, secure := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/secure=%v", e.name, secure), func(b *testing.B) {
				ask := e.kept(b, secure)
				b.ReportAllocs()
				for b.Loop() {
					ask()
				}
			})
		}
	}
}

// h1Front is a front door of our own engine.
func h1Front(t testing.TB, sites string, secure bool) *front {
	return engine{name: "own", start: startServer}.front(t, sites, secure)
}

// TestH1Refusals: who is refused before there is a request learns why, a web client
// too, even when it goes on sending.
func TestH1Refusals(t *testing.T) {
	f := h1Front(t, oneSite(newBackend(t, "main"), "timeouts: { head: 500ms }\n"), true)
	for request, status := range map[string]int{
		"GET /_matrix/x HTTP/1.1\nHost: a\n\n":                                               400,
		"\x16\x03\x01\x00\x00":                                                               400,
		"GET /_matrix/x HTTP/1.1\r\nHost: matrix.example.com":                                408,
		"PUT /_matrix/x HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n\r\n":                     417,
		"GET /_matrix/x HTTP/1.1\r\nX: " + strings.Repeat("x", 1<<20):                        431,
		"PUT /_matrix/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n":              501,
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":                                                   505,
		"GET /_matrix/x HTTP/1.1\r\n" + strings.Repeat("X: y\r\n", maxFields+1) + "\r\n\r\n": 431,
	} {
		c := f.rawConn(f.https, "http/1.1")
		go io.WriteString(c, request)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Errorf("%.60q: %v", request, err)
			continue
		}
		body, err := io.ReadAll(resp.Body)
		if resp.StatusCode != status || err != nil || !strings.Contains(string(body), `"errcode":"M_`) || !resp.Close ||
			resp.Header.Get("Access-Control-Allow-Origin") != "*" || resp.Header.Get("Date") == "" {
			t.Errorf("%.60q: %s %q %v %v", request, resp.Status, body, resp.Header, err)
		}
		c.Close()
	}
}

// TestPlainOnTLS: a request without TLS where TLS is spoken is told so.
func TestPlainOnTLS(t *testing.T) {
	f := h1Front(t, oneSite(newBackend(t, "main"), ""), true)
	c := f.plainConn(f.https)
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: matrix.example.com\r\n\r\n")
	if text, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(text), "HTTP/1.0 400 ") {
		t.Errorf("%q %v", text, err)
	}
}

// TestEarlyAnswerArrives: the answer to a body that nobody reads arrives although
// the client sends megabytes more before it looks for it.
func TestEarlyAnswerArrives(t *testing.T) {
	f := h1Front(t, oneSite(newBackend(t, "main"), ""), true)
	c := f.rawConn(f.https, "http/1.1")
	io.WriteString(c, "POST /_synapse/admin/v1/x HTTP/1.1\r\nHost: matrix.example.com\r\nContent-Length: 100000000\r\n\r\n")
	for range 8 {
		if _, err := c.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != 403 {
		t.Fatal(resp, err)
	}
}

// waiting is a front door whose back end has not answered a request on c yet, behind
// which came more; what is sent to answer is what it answers, gone says that it was
// left.
func waiting(t *testing.T, secure bool, behind string) (f *front, c net.Conn, answer chan string, gone chan bool) {
	main := newBackend(t, "main")
	answer, gone = make(chan string), make(chan bool, 1)
	main.answers(func(w net.Conn, r *bufio.Reader, s seen) bool {
		if !strings.Contains(s.line, "sync") {
			return main.sayName(w, r, s)
		}
		left := make(chan bool)
		go func() { _, err := r.Peek(1); left <- err == io.EOF }()
		select {
		case text := <-answer:
			fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
			<-left // of the next request, or the end
		case <-left:
			gone <- true
		}
		return false
	})
	f = h1Front(t, oneSite(main, ""), secure)
	if secure {
		c = f.rawConn(f.https, "http/1.1")
	} else {
		var err error
		if c, err = net.Dial("tcp", f.https); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(time.Minute))
	}
	io.WriteString(c, "GET /_matrix/client/v3/sync HTTP/1.1\r\nHost: matrix.example.com\r\n\r\n"+behind)
	eventually(t, "the back end is asked", func() bool { n, _ := main.count(); return n == 1 })
	return f, c, answer, gone
}

// isParked says whether so many clients' leaving is waited for.
func isParked(n int) func() bool {
	return func() bool {
		watch.mu.Lock()
		defer watch.mu.Unlock()
		parked := 0
		for _, w := range watch.parked {
			if w.where == watchedParked && w.armed {
				parked++
			}
		}
		return parked == n
	}
}

// TestParkedClientSends: who sends the next request while the first one waits has
// not left, however long that takes, and whether it will send more or not; it gets
// both answers.
func TestParkedClientSends(t *testing.T) {
	const next = "GET /_matrix/next HTTP/1.1\r\nHost: matrix.example.com\r\n\r\n"
	for _, secure := range []bool{false, true} {
		for _, together := range []bool{false, true} {
			for _, ends := range []bool{false, true} {
				t.Run(fmt.Sprintf("secure=%v together=%v ends=%v", secure, together, ends), func(t *testing.T) {
					behind := ""
					if together {
						behind = next
					}
					_, c, answer, gone := waiting(t, secure, behind)
					eventually(t, "it is parked", isParked(1))
					before := cpuTime(t)
					if !together {
						io.WriteString(c, next)
					}
					if ends {
						c.(interface{ CloseWrite() error }).CloseWrite()
					}
					time.Sleep(500 * time.Millisecond)
					if spent := cpuTime(t) - before; spent > 400*time.Millisecond {
						t.Errorf("waiting took %v of processor time", spent)
					}
					select {
					case <-gone:
						t.Fatal("the back end was left")
					case answer <- "first":
					}
					r := bufio.NewReader(c)
					for _, want := range []string{"first", "main"} {
						resp, err := http.ReadResponse(r, nil)
						if err != nil {
							t.Fatal(err)
						}
						if body, err := io.ReadAll(resp.Body); string(body) != want || err != nil {
							t.Errorf("%q %v, want %s", body, err, want)
						}
					}
				})
			}
		}
	}
}

// TestParkedClientLeaves, in the ways there are.
func TestParkedClientLeaves(t *testing.T) {
	leaving := map[string]func(net.Conn){
		"closed": func(c net.Conn) { c.Close() },
		"reset": func(c net.Conn) {
			if tc, ok := c.(*tls.Conn); ok {
				c = tc.NetConn()
			}
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		},
		"half": func(c net.Conn) { c.(interface{ CloseWrite() error }).CloseWrite() },
		"cut off without alert": func(c net.Conn) {
			if tc, ok := c.(*tls.Conn); ok {
				c = tc.NetConn()
			}
			c.Close()
		},
	}
	for name, leave := range leaving {
		for _, secure := range []bool{false, true} {
			for _, late := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s secure=%v late=%v", name, secure, late), func(t *testing.T) {
					_, c, _, gone := waiting(t, secure, "")
					if late {
						eventually(t, "it is parked", isParked(1))
					}
					leave(c)
					within(t, 60*time.Second, "the back end is free", gone)
				})
			}
		}
	}
}

// TestParkedClientStays although it has sent as many bytes as TLS needs to say that it
// leaves, or although the kernel has more to say of the request before.
func TestParkedClientStays(t *testing.T) {
	for name, disturb := range map[string]func(net.Conn){
		"bytes": func(c net.Conn) { io.WriteString(c, "\r\n") },
		"late news": func(net.Conn) {
			watch.mu.Lock()
			var ids []uint64
			for id := range watch.parked {
				ids = append(ids, id)
			}
			watch.mu.Unlock()
			for _, id := range ids {
				watch.notice(id, false)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, c, answer, gone := waiting(t, true, "")
			eventually(t, "it is parked", isParked(1))
			disturb(c)
			time.Sleep(200 * time.Millisecond)
			if name == "late news" {
				c.Close()
				within(t, 60*time.Second, "the back end is free", gone)
				return
			}
			select {
			case <-gone:
				t.Fatal("the back end was left")
			case answer <- "first":
			}
			if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 200 {
				t.Error(resp, err)
			}
		})
	}
}

// TestVigilIsNotHeldUp: a client that takes nothing of its answer, and then sends a
// record that TLS answers with an alert, holds up nobody but itself.
func TestVigilIsNotHeldUp(t *testing.T) {
	main := newBackend(t, "main")
	main.answers(func(w net.Conn, r *bufio.Reader, s seen) bool {
		if !strings.Contains(s.line, "large") {
			return main.sayName(w, r, s)
		}
		const size = 64 << 20
		fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
		for range size >> 16 {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return false
			}
		}
		return true
	})
	f := h1Front(t, oneSite(main, "timeouts: { stall: 20s }\n"), true)
	raw, err := net.Dial("tcp", f.https)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	raw.(*net.TCPConn).SetReadBuffer(4 << 10)
	slow := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}, ServerName: "matrix.example.com"})
	if _, err := io.WriteString(slow, "GET /_matrix/large HTTP/1.1\r\nHost: matrix.example.com\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is parked", isParked(1))
	time.Sleep(time.Second) // and its answer is stuck
	raw.Write(append([]byte{23, 3, 3, 0, 19}, make([]byte, 19)...))
	time.Sleep(200 * time.Millisecond)

	c := f.rawConn(f.https, "http/1.1")
	c.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(c, "GET /_matrix/x HTTP/1.1\r\nHost: matrix.example.com\r\n\r\n")
	var b [12]byte
	if _, err := io.ReadFull(c, b[:]); err != nil {
		t.Errorf("another client: %q %v", b, err)
		raw.Close() // ends it
	}
}

// TestOwnStops: what is under way is answered, and told that the connection ends;
// what is idle ends at once; who has only just come may still ask.
func TestOwnStops(t *testing.T) {
	f, busy, answer, _ := waiting(t, true, "")
	idle, fresh := f.rawConn(f.https, "http/1.1"), f.rawConn(f.https, "http/1.1")
	idleReader := bufio.NewReader(idle)
	io.WriteString(idle, "GET /_matrix/x HTTP/1.1\r\nHost: matrix.example.com\r\n\r\n")
	if resp, err := http.ReadResponse(idleReader, nil); err != nil || resp.Close {
		t.Fatal(resp, err)
	} else {
		io.Copy(io.Discard, resp.Body)
	}
	eventually(t, "all are known", func() bool {
		o := f.server.routed[0].(*own)
		o.mu.Lock()
		defer o.mu.Unlock()
		n := 0
		for c := range o.conns {
			if h, ok := c.(*h1Conn); ok && h.state.Load() == h1Idle {
				n++
			}
		}
		return len(o.conns) == 3 && n == 1
	})
	stopped := make(chan bool, 1)
	go func() { f.server.Stop(20 * time.Second); stopped <- true }()
	if _, err := idleReader.ReadByte(); err != io.EOF {
		t.Errorf("the idle one: %v", err)
	}
	io.WriteString(fresh, "GET /_matrix/x HTTP/1.1\r\nHost: matrix.example.com\r\n\r\n")
	if resp, err := http.ReadResponse(bufio.NewReader(fresh), nil); err != nil || resp.StatusCode != 200 || !resp.Close {
		t.Errorf("the new one: %v %v", resp, err)
	}
	fresh.Close()
	select {
	case answer <- "late":
	case <-stopped:
		t.Fatal("what was under way was cut")
	}
	if resp, err := http.ReadResponse(bufio.NewReader(busy), nil); err != nil || !resp.Close {
		t.Errorf("the busy one: %v %v", resp, err)
	}
	busy.Close()
	within(t, 60*time.Second, "the server has stopped", stopped)
}

// TestOwnPanic: a mistake of ours ends a connection, and nothing of it stays.
func TestOwnPanic(t *testing.T) {
	var log lockedBuffer
	o := &own{log: slog.New(slog.NewJSONHandler(&log, nil))}
	c := &panicking{}
	o.add(c)
	o.run(c)
	if !c.closed || len(o.conns) != 0 || !strings.Contains(log.String(), `"panic":"oh"`) {
		t.Errorf("closed: %v, %d connections, the log: %s", c.closed, len(o.conns), log.String())
	}
}

// panicking is a connection that serving panics on.
type panicking struct{ closed bool }

func (*panicking) serve()         { panic("oh") }
func (*panicking) drain()         {}
func (c *panicking) Close() error { c.closed = true; return nil }
