package proxy

import (
	"bufio"
	"io"
	"net"
	"testing"
	"time"
)

// TestBlockedUpload: a back end that has answered and reads no more does not
// hold up the end of its answer, although the client has sent its whole body.
func TestBlockedUpload(t *testing.T) {
	client, server := net.Pipe() // where nothing is written that is not read
	defer server.Close()
	up := &upload{ctx: t.Context(), c: newConn(&address{up: &Upstream{}}, client), done: make(chan struct{})}
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
	case <-time.After(5 * time.Second):
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
