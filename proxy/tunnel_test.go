package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"testing"
	"time"
)

// newTunnelFront is a front door with an application that upgrades and then
// does as tunnel says.
func newTunnelFront(t *testing.T, tunnel func(w net.Conn, r *bufio.Reader)) *front {
	t.Helper()
	main, ntfy := newBackend(t, "main"), newBackend(t, "ntfy")
	ntfy.answers(func(w net.Conn, r *bufio.Reader, _ seen) bool {
		io.WriteString(w, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
		tunnel(w, r)
		return false
	})
	return newFront(t, oneSite(main, fmt.Sprintf("    ntfy: { upstream: %q }\n", ntfy.url())))
}

// upgraded is a client's end of a tunnel.
func (f *front) upgraded() (net.Conn, *bufio.Reader) {
	f.t.Helper()
	return f.upgradedAt("ntfy.example.com", "/ws")
}

func (f *front) upgradedAt(host, path string) (net.Conn, *bufio.Reader) {
	f.t.Helper()
	c := f.rawConn(f.https, "http/1.1")
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", path, host)
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 101 {
		f.t.Fatal(resp, err)
	}
	return c, r
}

// TestStopEndsTunnels: neither a quiet tunnel nor one whose client has stopped
// reading holds up the end.
func TestStopEndsTunnels(t *testing.T) {
	for name, tunnel := range map[string]func(net.Conn, *bufio.Reader){
		"quiet": func(_ net.Conn, r *bufio.Reader) { r.ReadByte() },
		"clogged": func(w net.Conn, _ *bufio.Reader) {
			for {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		},
		"clogged and over": func(w net.Conn, r *bufio.Reader) {
			w.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
			for {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					r.ReadByte()
					return
				}
			}
		},
	} {
		f := newTunnelFront(t, tunnel)
		for range 3 {
			f.upgraded() // and never read
		}
		time.Sleep(300 * time.Millisecond)
		start := time.Now()
		f.server.Stop(500 * time.Millisecond)
		if d := time.Since(start); d > 1500*time.Millisecond {
			t.Errorf("%s: stopping took %s", name, d)
		}
		eventually(t, "the upstreams are free", func() bool { return f.requests() == 0 })
	}
}

// TestHalfClosedTunnel: when the application has ended its side, a client that
// never ends its own does not keep the tunnel for ever.
func TestHalfClosedTunnel(t *testing.T) {

	before := runtime.NumGoroutine()
	f := newTunnelFront(t, func(w net.Conn, _ *bufio.Reader) { io.WriteString(w, "bye") })
	c, r := f.upgraded()
	if text, err := io.ReadAll(r); string(text) != "bye" || err != nil {
		t.Errorf("%q %v", text, err)
	}
	eventually(t, "the tunnel ends", func() bool { return f.requests() == 0 })
	c.Close()
	f.server.Stop(0)
	eventually(t, "its goroutines end", func() bool { return runtime.NumGoroutine() <= before+2 }) // the two back ends'
}

// requests counts what is under way at all upstreams.
func (f *front) requests() (n int64) {
	for _, p := range f.proxy.Pools() {
		for _, u := range p.Upstreams {
			n += u.Requests
		}
	}
	return n
}
