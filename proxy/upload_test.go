package proxy

import (
	"bufio"
	"io"
	"net"
	"os"
	"strings"
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

// partial is a connection that takes only a part of what is written, and has an
// answer ready all the same.
type partial struct {
	*net.TCPConn
	answer *strings.Reader
}

func (p partial) Read(b []byte) (int, error)  { return p.answer.Read(b) }
func (p partial) Write(b []byte) (int, error) { return len(b) / 2, os.ErrDeadlineExceeded }

// TestPartlySent: a back end may answer a request of which it took only a part. It
// is sent nothing more on that connection.
func TestPartlySent(t *testing.T) {
	main := newBackend(t, "main")
	f := newFront(t, oneSite(main, ""))
	c := f.client(f.https, false)
	do(t, c, "GET", site+"/_matrix/x", nil)
	a := f.proxy.state.Load().pools[0].upstreams[0].found.Load().list[0]
	eventually(t, "the connection is kept", func() bool { return a.unused() == 1 })
	kept := a.idle[0]
	kept.Conn = partial{kept.Conn.(*stallConn).Conn.(*net.TCPConn), strings.NewReader(ok2)}
	kept.r.plain = false // it is read from Conn, not from the socket
	if resp, text := do(t, c, "PUT", site+"/_matrix/x", strings.NewReader("short")); resp.StatusCode != 200 || text != "ok" {
		t.Errorf("%s %q", resp.Status, text)
	}
	eventually(t, "the exchange is over", func() bool { return a.inflight.Load() == 0 })
	if !kept.closed {
		t.Error("a connection with half a request on it is used again")
	}
}
