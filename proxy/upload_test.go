package proxy

import (
	"bufio"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestBlockedUpload: a back end that has answered and reads no more does not
// hold up the end of its answer, although the client has sent its whole body.
func TestBlockedUpload(t *testing.T) {
	c, _ := pipeConn(t)
	up := &upload{ctx: t.Context(), c: c, done: make(chan struct{})}
	up.ended.Store(true)
	go func() {
		_, err := up.c.Write([]byte("the end of the body"))
		up.finish(err)
	}()
	settled := make(chan bool)
	go func() { settled <- up.settle(&Request{}, true) }()
	select {
	case reuse := <-settled:
		if reuse {
			t.Error("a connection with half a request on it is used again")
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the exchange waits for ever")
	}
}

// TestBrokenUpload: a body that breaks off ends its request at once, also when
// the back end has already begun to answer and waits for the rest.
func TestBrokenUpload(t *testing.T) {
	main := newBackend(t, "main")
	freed := make(chan bool, 1)
	begin := ""
	main.answers(func(w net.Conn, r *bufio.Reader, _ seen) bool {
		io.WriteString(w, begin)
		io.Copy(io.Discard, r)
		freed <- true
		return false
	})
	f := newFront(t, oneSite(main, ""))
	for _, begin = range []string{"", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"} {
		c := f.rawConn(f.https, "http/1.1")
		io.WriteString(c, "POST /_matrix/media/v3/upload HTTP/1.1\r\nHost: matrix.example.com\r\nExpect-No-Body-Read: 1\r\n"+
			"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
		time.Sleep(50 * time.Millisecond)
		io.WriteString(c, "no chunk\r\n")
		select {
		case <-freed:
		case <-time.After(3 * time.Second):
			t.Fatalf("after %q the back end still waits", begin)
		}
	}
}

// partial is a connection that takes a part of what is written, or nothing, and has an
// answer ready all the same.
type partial struct {
	*net.TCPConn
	answer *strings.Reader
	part   int // one in so many bytes; 0 for none
	writes *atomic.Int32
}

func (p partial) Read(b []byte) (int, error) { return p.answer.Read(b) }

func (p partial) Write(b []byte) (n int, err error) {
	p.writes.Add(1)
	if p.part > 0 {
		n = len(b) / p.part
	}
	return n, os.ErrDeadlineExceeded
}

// TestPartlySent: a back end may answer a request of which it took only a part. It
// is sent nothing more on that connection.
func TestPartlySent(t *testing.T) {
	for name, body := range map[string]io.Reader{"short": strings.NewReader("short"), "in chunks": io.MultiReader(strings.NewReader("long"))} {
		t.Run(name, func(t *testing.T) {
			f := newFront(t, oneSite(newBackend(t, "main"), ""))
			writes := new(atomic.Int32)
			kept, over := f.spoil(func(c *net.TCPConn) net.Conn { return partial{c, strings.NewReader(ok2), 2, writes} })
			if resp, text := do(t, f.client(f.https, false), "PUT", site+"/_matrix/x", body); resp.StatusCode != 200 || text != "ok" {
				t.Errorf("%s %q", resp.Status, text)
			}
			over()
			if !kept.closed {
				t.Error("a connection with half a request on it is used again")
			}
			if n := writes.Load(); n != 1 {
				t.Errorf("written to %d times: a body went on with half a head", n)
			}
		})
	}
}

// TestNothingSent: what a back end says on a kept connection before anything of a
// request reaches it is no answer to that.
func TestNothingSent(t *testing.T) {
	f := newFront(t, oneSite(newBackend(t, "main"), ""))
	late := "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
	_, over := f.spoil(func(c *net.TCPConn) net.Conn { return partial{c, strings.NewReader(late), 0, new(atomic.Int32)} })
	if resp, text := do(t, f.client(f.https, false), "POST", site+"/_matrix/x", strings.NewReader("short")); resp.StatusCode != 200 || text != "main" {
		t.Errorf("%s %q", resp.Status, text)
	}
	over()
}

// spoil puts another connection in the place of the one that is kept to the back end;
// over waits until no exchange is under way.
func (f *front) spoil(with func(*net.TCPConn) net.Conn) (kept *conn, over func()) {
	t := f.t
	do(t.(*testing.T), f.client(f.https, false), "GET", site+"/_matrix/x", nil)
	a := f.proxy.state.Load().pools[0].upstreams[0].found.Load().list[0]
	eventually(t, "the connection is kept", func() bool { return a.unused() == 1 })
	kept = a.idle[0]
	kept.Conn = with(kept.Conn.(*stallConn).Conn.(*net.TCPConn))
	kept.r.plain = false // it is read from Conn, not from the socket
	return kept, func() {
		eventually(t, "the exchange is over", func() bool { return a.inflight.Load() == 0 })
	}
}
