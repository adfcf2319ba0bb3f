package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vestibule/configs"
)

// stallFor is timeouts.stall in these tests.
const stallFor = 400 * time.Millisecond

// newStallFront is a front door that does not wait long for the rest of a body.
func newStallFront(t *testing.T, main *backend) *front {
	t.Helper()
	f := &front{t: t}
	cfg := f.load(oneSite(main, ""))
	cfg.Timeouts.Stall = configs.Duration(stallFor)
	f.open(cfg)
	return f
}

// drip gives a byte at a time, after a pause each; then, if it is to stall,
// nothing until the test ends.
type drip struct {
	left   int
	pause  time.Duration
	stalls chan struct{}
	once   sync.Once
}

// Close ends the stall.
func (d *drip) Close() error {
	if d.stalls != nil {
		d.once.Do(func() { close(d.stalls) })
	}
	return nil
}

func (d *drip) Read(p []byte) (int, error) {
	if d.left == 0 && d.stalls != nil {
		<-d.stalls
	}
	if d.left == 0 {
		return 0, io.EOF
	}
	time.Sleep(d.pause)
	d.left--
	p[0] = 'x'
	return 1, nil
}

// took checks that something was cut when it had stalled, not sooner nor much
// later.
func took(t *testing.T, what string, start time.Time) {
	t.Helper()
	if d := time.Since(start); d < stallFor*9/10 || d > 20*stallFor {
		t.Errorf("%s: took %v", what, d)
	}
}

// TestStalledUpload: a client that stops sending gets a 408, whether its body is
// short or streamed, and nothing more of it is asked of the back end.
func TestStalledUpload(t *testing.T) {
	const url = "https://matrix.example.com/_matrix/media/v3/upload"
	for _, h2 := range []bool{false, true} {
		for _, length := range []int64{100, 1 << 20, -1} {
			main := newBackend(t, "main")
			f := newStallFront(t, main)
			name := fmt.Sprintf("h2=%v length=%d", h2, length)
			body := &drip{left: 3, stalls: make(chan struct{})}
			req, _ := http.NewRequest("POST", url, body)
			req.ContentLength = length
			start := time.Now()
			resp, err := f.client(f.https, h2).Do(req)
			if err != nil {
				t.Fatalf("%s: %v after %v %s", name, err, time.Since(start), f.log)
			}
			took(t, name, start)
			text, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			body.Close()
			if resp.StatusCode != 408 || !strings.Contains(string(text), `"errcode"`) || resp.Header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("%s: %s %q", name, resp.Status, text)
			}
			eventually(t, "the back end is free", func() bool { return f.proxy.Pools()[0].Upstreams[0].Connections == 0 })
			if n, _ := main.count(); n != 0 {
				t.Errorf("%s: the back end got a whole request", name)
			}
		}
	}
}

// TestSlowUpload: however long a body takes, it passes as long as it comes; and a
// deadline that was set for it ends nothing that comes later.
func TestSlowUpload(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		for _, counted := range []bool{false, true} {
			main := newBackend(t, "main")
			f := newStallFront(t, main)
			main.answers(func(w net.Conn, r *bufio.Reader, s seen) bool {
				time.Sleep(2 * stallFor) // as a long poll does
				return main.sayName(w, r, s)
			})
			c := f.client(f.https, h2)
			for range 2 {
				req, _ := http.NewRequest("POST", "https://matrix.example.com/_matrix/client/v3/search", &drip{left: 24, pause: stallFor / 8})
				if counted {
					req.ContentLength = 24
				}
				resp, err := c.Do(req)
				if err != nil {
					t.Fatalf("h2=%v counted=%v: %v", h2, counted, err)
				}
				resp.Body.Close()
				if resp.StatusCode != 200 {
					t.Errorf("h2=%v counted=%v: %s", h2, counted, resp.Status)
				}
			}
			if n, conns := main.count(); n != 2 || conns != 1 {
				t.Errorf("h2=%v counted=%v: %d requests on %d connections", h2, counted, n, conns)
			}
		}
	}
}

// TestUnreadUpload: a back end that does not read what is sent to it gives no
// proper answer.
func TestUnreadUpload(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		main := newBackend(t, "main")
		f := newStallFront(t, main)
		over := make(chan struct{})
		main.answers(func(net.Conn, *bufio.Reader, seen) bool { <-over; return false })
		resp, _ := do(t, f.client(f.https, h2), "POST", "https://matrix.example.com/_matrix/media/v3/upload",
			bytes.NewReader(make([]byte, 64<<20)), "Expect-No-Body-Read", "1")
		close(over)
		if resp.StatusCode != 504 {
			t.Errorf("h2=%v: %s", h2, resp.Status)
		}
	}
}

// TestBrokenUpstreamDuringUpload: it is the back end's fault when it goes away,
// although the client has not sent all of its body.
func TestBrokenUpstreamDuringUpload(t *testing.T) {
	main := newBackend(t, "main")
	f := newStallFront(t, main)
	main.answers(func(_ net.Conn, r *bufio.Reader, _ seen) bool { r.ReadByte(); return false })
	c := f.rawConn(f.https, "http/1.1")
	fmt.Fprint(c, "POST /_matrix/media/v3/upload HTTP/1.1\r\nHost: matrix.example.com\r\nExpect-No-Body-Read: 1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != 502 {
		t.Fatal(resp, err)
	}
}

// TestStalledResponse: an answer that stops coming is cut, and looks cut; one that
// drips, and events however rare, are not.
func TestStalledResponse(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		for _, is := range []struct {
			kind  string
			pause time.Duration
			whole bool
		}{{"text/plain", 30 * stallFor, false}, {"text/plain", stallFor / 2, true}, {"Text/Event-Stream; charset=utf-8", 3 * stallFor, true}} {
			main := newBackend(t, "main")
			f := newStallFront(t, main)
			left := make(chan time.Duration, 1)
			main.answers(func(w net.Conn, r *bufio.Reader, _ seen) bool {
				start := time.Now()
				fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: 5\r\n\r\n", is.kind)
				for range 5 {
					io.WriteString(w, "x")
					w.SetReadDeadline(time.Now().Add(is.pause))
					if _, err := r.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
						left <- time.Since(start)
						return false
					}
				}
				w.SetReadDeadline(time.Time{})
				return true
			})
			c := f.client(f.https, h2)
			start := time.Now()
			resp, err := c.Get("https://matrix.example.com/_matrix/client/v3/events")
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if is.whole {
				if err != nil || string(text) != "xxxxx" {
					t.Errorf("h2=%v %v: %q %v", h2, is, text, err)
				}
				continue
			}
			took(t, is.kind, start)
			if err == nil || string(text) != "x" {
				t.Errorf("h2=%v %v: %q %v", h2, is, text, err)
			}
			select {
			case <-left:
			case <-time.After(30 * time.Second):
				t.Errorf("h2=%v: the back end is still asked", h2)
			}
			eventually(t, "the log says so", func() bool { return strings.Contains(f.log.String(), "broke off") })
		}
	}
}

// TestKeptAfterBody: a connection to a back end is as good as new after a body that
// had to be waited for.
func TestKeptAfterBody(t *testing.T) {
	main := newBackend(t, "main")
	f := newStallFront(t, main)
	main.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
		io.WriteString(w, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
		time.Sleep(stallFor / 4)
		io.WriteString(w, "b")
		return true
	})
	c := f.client(f.https, false)
	for range 2 {
		if _, text := do(t, c, "GET", "https://matrix.example.com/_matrix/client/versions", nil); text != "ab" {
			t.Error(text)
		}
		time.Sleep(2 * stallFor)
	}
	if _, conns := main.count(); conns != 1 {
		t.Errorf("%d connections", conns)
	}
}

// TestSlowReader: a client that does not read its answer is cut off, and frees the
// back end; one that reads slowly gets all of it.
func TestSlowReader(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		main := newBackend(t, "main")
		f := newStallFront(t, main)
		const size = 64 << 20
		freed := make(chan bool, 8)
		main.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
			fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
			_, err := w.Write(make([]byte, size))
			freed <- err != nil
			return err == nil
		})
		c := f.client(f.https, h2)
		resp, err := c.Get("https://matrix.example.com/_matrix/media/v3/download/a/b")
		if err != nil {
			t.Fatal(err)
		}
		select {
		case cut := <-freed:
			if !cut {
				t.Errorf("h2=%v: everything fitted on the way", h2)
			}
		case <-time.After(60 * time.Second):
			t.Errorf("h2=%v: the back end is held up", h2)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err == nil {
			t.Errorf("h2=%v: the answer looks whole", h2)
		}
		resp.Body.Close()
		eventually(t, "nothing is under way", func() bool { return gauge(t, f, "vestibule_requests_in_flight") == 0 })

		if resp, err = c.Get("https://matrix.example.com/_matrix/media/v3/download/a/b"); err != nil {
			t.Fatal(err)
		}
		var n int64
		for range 5 {
			m, err := io.CopyN(io.Discard, resp.Body, 8<<20)
			if n += m; err != nil {
				t.Fatalf("h2=%v: after %d bytes: %v", h2, n, err)
			}
			time.Sleep(stallFor / 2)
		}
		m, err := io.Copy(io.Discard, resp.Body)
		if n += m; n != size || err != nil {
			t.Errorf("h2=%v: %d bytes, %v", h2, n, err)
		}
		resp.Body.Close()
	}
}

// TestDeafClient: who sends requests and reads nothing is cut off as well, although
// no answer is large.
func TestDeafClient(t *testing.T) {
	main := newBackend(t, "main")
	main.forgetful = true
	main.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
		_, err := io.WriteString(w, "HTTP/1.1 200 OK\r\nContent-Length: 16384\r\n\r\n"+strings.Repeat("x", 16384))
		return err == nil
	})
	f := newStallFront(t, main)
	c := f.rawConn(f.https, "http/1.1")
	c.SetDeadline(time.Now().Add(time.Minute)) // the system takes megabytes before it takes no more
	request := []byte(strings.Repeat("GET /_matrix/client/versions HTTP/1.1\r\nHost: matrix.example.com\r\nX: "+strings.Repeat("x", 100)+"\r\n\r\n", 64))
	for {
		if _, err := c.Write(request); err != nil {
			if timedOut(err) {
				t.Fatal("the connection stays open")
			}
			return
		}
	}
}

// TestStallConn: a write goes on while a byte is taken now and then, and ends when
// none is.
func TestStallConn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		c := &stallConn{Conn: a, stall: func() time.Duration { return time.Minute }}
		go func() {
			for range 20 {
				time.Sleep(50 * time.Second)
				b.Read(make([]byte, 1))
			}
		}()
		start := time.Now()
		n, err := c.Write(make([]byte, 30))
		last := start.Add(20 * 50 * time.Second)
		if d := time.Since(last); n != 20 || !timedOut(err) || d < time.Minute || d > 90*time.Second {
			t.Errorf("%d bytes, %v, %v after the last", n, err, d)
		}
		if c.SetDeadline(start); c.other != true {
			t.Error("somebody else's deadline is not noted")
		}
		if _, err := c.Write([]byte("x")); !timedOut(err) {
			t.Errorf("written after somebody else's deadline: %v", err)
		}
		c.SetWriteDeadline(time.Time{})
		go b.Read(make([]byte, 1))
		if _, err := c.Write([]byte("x")); err != nil {
			t.Errorf("when there is no deadline any more: %v", err)
		}
		a.Close()
		b.Close()
	})
}
