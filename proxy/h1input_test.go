package proxy

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestPipelinedInOneRecord: a request that TLS has decrypted is served although the
// system has nothing more to read. The first fills the buffer that it is read into, and
// the second the one after.
func TestPipelinedInOneRecord(t *testing.T) {
	f := h1Front(t, oneSite(newBackend(t, "main"), ""), true)
	c, err := tls.Dial("tcp", f.https, &tls.Config{InsecureSkipVerify: true, DynamicRecordSizingDisabled: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	var all strings.Builder
	for _, size := range []int{maxForeseen, inputs[0].size, 100} {
		head := "GET /_matrix/x HTTP/1.1\r\nHost: matrix.example.com\r\nX-A: "
		all.WriteString(head + strings.Repeat("x", size-len(head)-4) + "\r\n\r\n")
	}
	time.Sleep(100 * time.Millisecond) // it waits, so that it takes no more than that at once
	io.WriteString(c, all.String())
	r := bufio.NewReader(c)
	for i := range 3 {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("answer %d: %v", i+1, err)
		}
		io.Copy(io.Discard, resp.Body)
	}
}

// TestLargeHead is read in time that grows as it does.
func TestLargeHead(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	const size = 300 << 10
	go io.WriteString(client, "GET / HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("x", size)+"\r\n\r\n")
	s := newSocket(server, func() time.Duration { return 0 }, false)
	in := h1Input{nc: s, socket: s}
	var h h1Head
	h.begin()
	for moved := 0; ; {
		done, err := h.read(in.peek())
		if err != nil {
			t.Fatal(err)
		}
		if done {
			break
		}
		was := in.buf
		if err := in.more(); err != nil {
			t.Fatal(err)
		}
		if was != nil && in.buf != was {
			h.begin()
			if moved += len(in.peek()); moved > 3*size {
				t.Fatalf("%d bytes were moved for the first %d", moved, len(in.peek()))
			}
		}
	}
}

// TestUploaderLeaves: a client that leaves while its upload waits for the answer is
// noticed, whether or not the body came together with the head.
func TestUploaderLeaves(t *testing.T) {
	for _, request := range [][]string{
		{"Content-Length: 5\r\n\r\nhello"},
		{"Content-Length: 5\r\n\r\n", "hello"},
		{"Content-Length: 20000\r\n\r\n", strings.Repeat("x", 20000)},
		{"Transfer-Encoding: chunked\r\n\r\n", "5\r\nhello\r\n", "0\r\n\r\n"},
	} {
		t.Run(fmt.Sprintf("%.40q in %d", request[0], len(request)), func(t *testing.T) {
			main := newBackend(t, "main")
			gone := make(chan bool, 1)
			main.answers(func(_ net.Conn, r *bufio.Reader, _ seen) bool {
				_, err := r.Peek(1)
				gone <- err == io.EOF
				return false
			})
			f := h1Front(t, oneSite(main, ""), true)
			c := f.rawConn(f.https, "http/1.1")
			for i, part := range request {
				if i == 0 {
					part = "PUT /_matrix/client/v3/x HTTP/1.1\r\nHost: matrix.example.com\r\n" + part
				}
				io.WriteString(c, part)
				time.Sleep(50 * time.Millisecond)
			}
			eventually(t, "the back end is asked", func() bool { n, _ := main.count(); return n == 1 })
			eventually(t, "it is parked", isParked(1))
			c.Close()
			within(t, 20*time.Second, "the back end is free", gone)
		})
	}
}

// TestEmptyLineBehind: an empty line behind a request is no request, and nobody waits
// for the answer to one.
func TestEmptyLineBehind(t *testing.T) {
	f := h1Front(t, oneSite(newBackend(t, "main"), "timeouts: { head: 300ms }\n"), true)
	c := f.rawConn(f.https, "http/1.1")
	io.WriteString(c, "PUT /_matrix/x HTTP/1.1\r\nHost: matrix.example.com\r\nContent-Length: 1\r\n\r\nx\r\n")
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil {
		t.Errorf("%q %v", rest, err)
	}
}

// TestCutHead: the answer to a HEAD that does not come whole has no body, also where
// what came has filled a buffer and was moved to a larger one.
func TestCutHead(t *testing.T) {
	f := h1Front(t, oneSite(newBackend(t, "main"), "timeouts: { head: 300ms }\n"), false)
	c := f.plainConn(f.https)
	head := "HEAD /_matrix/x HTTP/1.1\r\nX: "
	io.WriteString(c, head+strings.Repeat("x", 300-len(head)))
	time.Sleep(50 * time.Millisecond)
	io.WriteString(c, strings.Repeat("x", inputs[0].size-300))
	answer, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 408 ") || !strings.HasSuffix(string(answer), "\r\n\r\n") {
		t.Errorf("%q %v", answer, err)
	}
}

// TestEndBehindRequest: a client that ends its side of TLS together with a request gets
// the answer and then the end, though it keeps the connection open.
func TestEndBehindRequest(t *testing.T) {
	f := h1Front(t, oneSite(newBackend(t, "main"), ""), true)
	raw := f.plainConn(f.https)
	held := &holding{Conn: raw}
	c := tls.Client(held, &tls.Config{InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	held.back = true
	io.WriteString(c, "GET /.well-known/nothing HTTP/1.1\r\nHost: matrix.example.com\r\n\r\n")
	c.CloseWrite()
	held.send()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	if !ended(raw) {
		t.Error("the connection stays")
	}
}

// holding is a connection that holds back what is written, to send it at once.
type holding struct {
	net.Conn
	back bool
	held []byte
}

func (h *holding) Write(b []byte) (int, error) {
	if h.back {
		h.held = append(h.held, b...)
		return len(b), nil
	}
	return h.Conn.Write(b)
}

func (h *holding) send() {
	h.Conn.SetDeadline(time.Now().Add(time.Minute)) // CloseWrite has set one that is over
	h.Conn.Write(h.held)
}

// TestLastChunk: what begins with zeros need not be the last one.
func TestLastChunk(t *testing.T) {
	for ahead, want := range map[string]bool{"": false, "0": true, "000": true, "0\r\n": true, "00;x": true, "01\r\n": false, "00a": false, "10\r\n": false} {
		if beginsLastChunk([]byte(ahead)) != want {
			t.Errorf("%q: not %v", ahead, want)
		}
	}
}
