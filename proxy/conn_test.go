package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// pipeConn is a connection in use, where nothing is written that is not read, and
// its other side.
func pipeConn(t testing.TB) (*conn, net.Conn) {
	t.Helper()
	client, server := net.Pipe()
	client.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { client.Close(); server.Close() })
	a := &address{up: &Upstream{}}
	a.open.Add(1)
	a.up.open.Add(1)
	return newConn(a, client), server
}

// answer feeds raw bytes to a connection and reads a response from it.
func answer(t testing.TB, method, raw string) (response, string, error) {
	t.Helper()
	c, server := pipeConn(t)
	defer c.Conn.Close()
	go func() {
		io.WriteString(server, raw)
		server.Close()
	}()
	var resp response
	if err := c.readResponse(method, &resp); err != nil {
		return resp, "", err
	}
	if resp.bodyless(method) {
		return resp, "", nil
	}
	body := &responseBody{c: c, resp: &resp, left: max(resp.length, 0)}
	text, err := io.ReadAll(body)
	if err == nil && !body.complete {
		err = errors.New("the body is not complete")
	}
	return resp, string(text), err
}

func TestResponses(t *testing.T) {
	good := func(name, method, raw string, status int, body string, reuse bool) {
		t.Helper()
		resp, text, err := answer(t, method, raw)
		if err != nil || resp.status != status || text != body || resp.reuse != reuse {
			t.Errorf("%s: status %d body %q reuse %v error %v; want %d %q %v", name, resp.status, text, resp.reuse, err, status, body, reuse)
		}
	}
	good("counted", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, "hi", true)
	good("empty", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "", true)
	good("no reason", "GET", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, "", true)
	good("chunked", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n", 200, "abc0123456789", true)
	good("until close", "GET", "HTTP/1.1 200 OK\r\n\r\nrest", 200, "rest", false)
	good("close", "GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", 200, "x", false)
	good("HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", 200, "x", false)
	good("HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", 200, "", true)
	good("204 without fields", "GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", true)
	good("304 with a length", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", 304, "", true)
	good("a body that looks like a head", "GET", "HTTP/1.1 200 OK\r\n\r\nA: b\r\n\r\n", 200, "A: b\r\n\r\n", false)
	good("a head over the buffer", "GET", "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 9000)+"\r\nContent-Length: 2\r\n\r\nhi", 200, "hi", true)

	bad := func(name, raw string) {
		t.Helper()
		if resp, text, err := answer(t, "GET", raw); err == nil {
			t.Errorf("%s: accepted as %d %q", name, resp.status, text)
		}
	}
	bad("another protocol", "SSH-2.0-OpenSSH_9\r\n\r\n")
	bad("HTTP/2 preface", "HTTP/2.0 200 OK\r\n\r\n")
	bad("status of four digits", "HTTP/1.1 2000 OK\r\n\r\n")
	bad("status 099", "HTTP/1.1 099 OK\r\n\r\n")
	bad("bare LF after the status line", "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n")
	bad("bare LF in a head", "HTTP/1.1 200 OK\r\nA: b\nContent-Length: 0\r\n\r\n")
	bad("folded field", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n")
	bad("blank before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n")
	bad("NUL in a value", "HTTP/1.1 200 OK\r\nA: b\x00c\r\nContent-Length: 0\r\n\r\n")
	bad("CR in a value", "HTTP/1.1 200 OK\r\nA: b\rc\r\nContent-Length: 0\r\n\r\n")
	bad("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi")
	bad("a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nhi")
	bad("signed length", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi")
	bad("length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	bad("unknown encoding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")
	bad("chunks in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	bad("short body", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi")
	bad("chunks without an end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
	bad("chunk longer than its size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n")
	bad("chunk size with a bare LF", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n")
	bad("chunk size with a sign", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n")
	bad("chunk size too large", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n")
	bad("chunk without a size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n")
	bad("head without an end", "HTTP/1.1 200 OK\r\nA: b\r\n")
	bad("nothing", "")
	bad("endless head", "HTTP/1.1 200 OK\r\n"+strings.Repeat("A: "+strings.Repeat("x", 1000)+"\r\n", 400))
}

// TestFetched: the answer to a question of our own leaves a connection for others
// only when nothing lies behind it.
func TestFetched(t *testing.T) {
	for raw, reuse := range map[string]bool{
		ok2:                                   true,
		okChunks + "\r\n":                     true,
		ok2 + "\r\n":                          false,
		okChunks + "\r\n" + stray:             false,
		"HTTP/1.1 204 No Content\r\n\r\n":     true,
		"HTTP/1.1 204 No Content\r\n\r\nmore": false,
		"HTTP/1.1 200 OK\r\n\r\nok":           false,
		fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", maxFetched+1, strings.Repeat("x", maxFetched+1)): false,
	} {
		c, server := pipeConn(t)
		go func() {
			io.CopyN(io.Discard, server, 1)
			io.WriteString(server, raw)
			server.Close()
		}()
		var resp response
		if _, err := c.fetch([]byte("?"), &resp); err != nil || resp.reuse != reuse {
			t.Errorf("%.80q: reuse %v, error %v", raw, resp.reuse, err)
		}
	}
}

// FuzzResponse: no bytes of a back end may make us panic, or hand on more than
// the framing announced.
func FuzzResponse(f *testing.F) {
	f.Add("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
	f.Add("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n")
	f.Add("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
	f.Fuzz(func(t *testing.T, method, raw string) {
		resp, body, err := answer(t, method, raw)
		if err == nil && resp.length >= 0 && !resp.bodyless(method) && int64(len(body)) != resp.length {
			t.Fatalf("a body of %d bytes where %d were announced", len(body), resp.length)
		}
		for _, field := range resp.header {
			if err == nil && (!isToken(field.Name) || strings.ContainsAny(field.Value, "\r\n\x00")) {
				t.Fatalf("field %q: %q let through", field.Name, field.Value)
			}
		}
	})
}

// TestWaits: what lies on the socket is not waited for, what lies nowhere is.
func TestWaits(t *testing.T) {
	long := strings.Repeat("x", 1<<16)
	chunk := fmt.Sprintf("%x\r\n%s\r\n", len(long), long)
	for _, c := range []struct {
		name, head string
		early      string // of the body, before the first look
		read       int    // bytes of it that are read before
		waits      bool
	}{
		{"counted", "Content-Length: 65536", long, 40000, false},
		{"counted, all read", "Content-Length: 65536", long, len(long), false},
		{"counted, not all there", "Content-Length: 65537", long, len(long), true},
		{"counted, nothing there", "Content-Length: 65537", "", 0, true},
		{"chunked", "Transfer-Encoding: chunked", chunk, 40000, false},
		{"chunked, between chunks", "Transfer-Encoding: chunked", chunk + chunk, len(long), false},
		{"chunked, the last", "Transfer-Encoding: chunked", chunk + "0\r\n\r\n", len(long), false},
		{"chunked, no more there", "Transfer-Encoding: chunked", chunk, len(long), true},
		{"chunked, half a size there", "Transfer-Encoding: chunked", chunk + "10", len(long), true},
		{"chunked, half a trailer there", "Transfer-Encoding: chunked", chunk + "0\r\nX: y\r\n", len(long), true},
		{"to the end", "X: y", long, len(long), true},
	} {
		near, far := tcpPair(t)
		conn := newConn(&address{up: &Upstream{}}, near)
		io.WriteString(far, "HTTP/1.1 200 OK\r\n"+c.head+"\r\n\r\n"+c.early)
		var resp response
		if err := conn.readResponse("GET", &resp); err != nil {
			t.Fatal(err)
		}
		body := &responseBody{c: conn, resp: &resp, left: max(resp.length, 0)}
		if _, err := io.ReadFull(body, make([]byte, c.read)); err != nil {
			t.Fatal(err)
		}
		if c.waits {
			time.Sleep(20 * time.Millisecond) // for what should not come
			if !body.waits() {
				t.Errorf("%s: does not wait", c.name)
			}
			continue
		}
		eventually(t, c.name+": does not wait", func() bool { return !body.waits() })
		if rest, err := io.ReadAll(io.LimitReader(body, 100)); len(rest) == 0 && !errors.Is(err, io.EOF) && err != nil {
			t.Errorf("%s: then %d bytes, %v", c.name, len(rest), err)
		}
	}
}

// TestWaitsAtBreak: a connection that ended is not waited for by the look itself,
// and its end is seen by the next Read.
func TestWaitsAtBreak(t *testing.T) {
	for _, c := range []struct {
		head  string
		reset bool
	}{{"Content-Length: 10", false}, {"Content-Length: 10", true}, {"X: y", true}} {
		near, far := tcpPair(t)
		conn := newConn(&address{up: &Upstream{}}, near)
		io.WriteString(far, "HTTP/1.1 200 OK\r\n"+c.head+"\r\n\r\nhalf")
		var resp response
		if err := conn.readResponse("GET", &resp); err != nil {
			t.Fatal(err)
		}
		body := &responseBody{c: conn, resp: &resp, left: max(resp.length, 0)}
		if _, err := io.ReadFull(body, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		if c.reset {
			far.(*net.TCPConn).SetLinger(0)
		}
		far.Close()
		for range 20 {
			if !body.waits() {
				t.Fatal("there is more than there is")
			}
			time.Sleep(time.Millisecond)
		}
		if n, err := body.Read(make([]byte, 10)); n != 0 || err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s, reset=%v: then %d bytes, %v", c.head, c.reset, n, err)
		}
	}
}

// TestLongReads: what has arrived of a long body is read at once, and not in pieces
// of the buffer, after it was looked for.
func TestLongReads(t *testing.T) {
	long := strings.Repeat("x", 30000)
	for _, text := range []string{"Content-Length: 30000\r\n\r\n" + long, fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(long), long)} {
		near, far := tcpPair(t)
		conn := newConn(&address{up: &Upstream{}}, near)
		io.WriteString(far, "HTTP/1.1 200 OK\r\n"+text)
		var resp response
		if err := conn.readResponse("GET", &resp); err != nil {
			t.Fatal(err)
		}
		body := &responseBody{c: conn, resp: &resp, left: max(resp.length, 0)}
		if _, err := io.ReadFull(body, make([]byte, 4000)); err != nil { // about what the buffer held
			t.Fatal(err)
		}
		if _, err := io.ReadFull(body, make([]byte, conn.r.Buffered())); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the rest has arrived", func() bool { return pending(t, near) >= 20000 })
		if body.waits() {
			t.Error("what is there is waited for")
		}
		if n, err := body.Read(make([]byte, copySize)); n < 20000 || err != nil {
			t.Errorf("%d bytes at once, %v", n, err)
		}
	}
}

// pending is how much can be read from a connection without waiting.
func pending(t *testing.T, c net.Conn) (n int) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		n, _, _ = syscall.Recvfrom(int(fd), make([]byte, copySize), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// tcpPair are the two ends of a connection.
func tcpPair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	near.SetDeadline(time.Now().Add(20 * time.Second))
	return near, far
}
