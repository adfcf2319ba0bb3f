package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// newCrowdedFront is a front door with room for so many connections of clients, and
// so many to upstreams.
func newCrowdedFront(t *testing.T, main *backend, clients int, upstreams int64) *front {
	t.Helper()
	f := &front{t: t}
	cfg := f.load(oneSite(main, ""))
	cfg.Limits.Connections = clients
	f.open(cfg)
	f.proxy.budget.most = upstreams
	return f
}

// ask sends a request on a connection.
func ask(t *testing.T, c net.Conn, path string) {
	t.Helper()
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: matrix.example.com\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
}

// hear reads an answer.
func hear(t *testing.T, c net.Conn, want string) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || string(text) != want {
		t.Fatalf("%s %q %v", resp.Status, text, err)
	}
}

// parks has the back end keep what asks for a sync until release is closed.
func parks(b *backend, release chan struct{}) (held *atomic.Int64) {
	held = new(atomic.Int64)
	b.answers(func(w net.Conn, r *bufio.Reader, s seen) bool {
		if s.line == "GET /_matrix/client/v3/sync HTTP/1.1" {
			held.Add(1)
			<-release
			held.Add(-1)
		}
		return b.sayName(w, r, s)
	})
	return held
}

// ended says whether the door has ended a connection.
func ended(c net.Conn) bool {
	c.SetReadDeadline(time.Now().Add(60 * time.Second))
	_, err := c.Read(make([]byte, 1))
	return err != nil && !timedOut(err)
}

// TestIdleConnectionsMakeRoom: one connection more than there may be ends that
// which has been without a request for longest, and none that is in use.
func TestIdleConnectionsMakeRoom(t *testing.T) {
	main, release := newBackend(t, "main"), make(chan struct{})
	f := newCrowdedFront(t, main, 4, 100)
	held := parks(main, release)
	busy := f.rawConn(f.https, "http/1.1")
	ask(t, busy, "/_matrix/client/v3/sync")
	eventually(t, "it is parked", func() bool { return held.Load() == 1 })
	h2 := f.client(f.https, true)
	go func() {
		if resp, err := h2.Get("https://matrix.example.com/_matrix/client/v3/sync"); err == nil {
			resp.Body.Close()
		}
	}()
	eventually(t, "it is parked", func() bool { return held.Load() == 2 })
	first, second := f.rawConn(f.https, "http/1.1"), f.rawConn(f.https, "http/1.1")
	ask(t, first, "/_matrix/client/versions") // so that second has been idle for longer
	hear(t, first, "main")
	ask(t, f.rawConn(f.https, "http/1.1"), "/_matrix/client/v3/sync")
	eventually(t, "it is parked", func() bool { return held.Load() == 3 })
	if !ended(second) {
		t.Error("the oldest idle connection was not ended")
	}
	ask(t, first, "/_matrix/client/versions")
	hear(t, first, "main")
	if n := gauge(t, f, "vestibule_connections"); n != 4 {
		t.Errorf("%v connections", n)
	}
	if evicted, refused := f.counter("vestibule_connections_evicted_total"), f.counter("vestibule_connections_refused_total"); evicted != 1 || refused != 0 {
		t.Errorf("%v were ended, %v refused", evicted, refused)
	}
	close(release)
	hear(t, busy, "main")
}

// TestRoomOrRequest: a connection is closed to make room or carries a request, and
// never both.
func TestRoomOrRequest(t *testing.T) {
	k := &connections{most: func() int { return 1 }, metrics: NewMetrics(prometheus.NewRegistry()), log: slog.New(slog.DiscardHandler), open: map[*stallConn]struct{}{}}
	join := func() (*stallConn, bool) {
		client, server := net.Pipe()
		t.Cleanup(func() { client.Close(); server.Close() })
		c := &stallConn{Conn: server, stall: always(0)}
		return c, k.admit(c)
	}
	first, _ := join()
	second, admitted := join()
	if !admitted || first.work() {
		t.Error("a request begins on a connection that is being closed")
	}
	if !second.work() {
		t.Error("no request begins on one that is not")
	}
	if _, admitted := join(); admitted {
		t.Error("a connection with a request was closed")
	}
	if second.rest(); !second.work() {
		t.Error("no second request begins")
	}
}

// TestBusyConnectionsStay: while requests are under way on all connections, no
// further one is let in; then it is.
func TestBusyConnectionsStay(t *testing.T) {
	main, release := newBackend(t, "main"), make(chan struct{})
	f := newCrowdedFront(t, main, 2, 100)
	held := parks(main, release)
	parked := []net.Conn{f.rawConn(f.https, "http/1.1"), f.rawConn(f.https, "http/1.1")}
	for _, c := range parked {
		ask(t, c, "/_matrix/client/v3/sync")
	}
	eventually(t, "both are parked", func() bool { return held.Load() == 2 })
	refused, err := net.Dial("tcp", f.https)
	if err != nil {
		t.Fatal(err)
	}
	defer refused.Close()
	if !ended(refused) {
		t.Error("one more was let in")
	}
	more := f.load(oneSite(main, ""))
	more.Limits.Connections = 3
	if err := f.proxy.Apply(more, nil); err != nil {
		t.Fatal(err)
	}
	third := f.rawConn(f.https, "http/1.1")
	ask(t, third, "/_matrix/client/versions")
	hear(t, third, "main")
	close(release)
	for _, c := range parked {
		hear(t, c, "main")
		c.Close()
	}
	third.Close()
	eventually(t, "all are forgotten", func() bool { return gauge(t, f, "vestibule_connections") == 0 })
	if n := f.counter("vestibule_connections_refused_total"); n != 1 {
		t.Errorf("%v were refused", n)
	}
}

// TestBudget: there are no more connections to upstreams than there may be. One
// that is idle makes room, whosever it is; who gets none waits, and is told to try
// again.
func TestBudget(t *testing.T) {
	main, other, release := newBackend(t, "main"), newBackend(t, "other"), make(chan struct{})
	f := newFront(t, oneSite(main, fmt.Sprintf("    routes: [ { name: other, path_prefix: /other, upstreams: [%q] } ]\n", other.url())))
	f.proxy.budget.most = 2
	held := parks(main, release)
	c := f.client(f.https, true)
	do(t, c, "GET", "https://matrix.example.com/other", nil)
	answers := make(chan string, 2)
	for range 2 {
		go func() {
			_, text := do(t, c, "GET", "https://matrix.example.com/_matrix/client/v3/sync", nil)
			answers <- text
		}()
	}
	eventually(t, "both are parked", func() bool { return held.Load() == 2 })
	if n := f.proxy.Pools()[0].Upstreams[0].Connections + f.proxy.budget.open.Load(); n != 4 {
		t.Errorf("%d connections", n)
	}
	for _, path := range []string{"/other", "/_matrix/client/versions"} {
		if resp, text := do(t, c, "GET", "https://matrix.example.com"+path, nil); resp.StatusCode != 503 || !strings.Contains(text, "busy") {
			t.Errorf("%s: %s %q", path, resp.Status, text)
		}
	}
	close(release)
	for range 2 {
		if text := <-answers; text != "main" {
			t.Error(text)
		}
	}
	if resp, text := do(t, c, "GET", "https://matrix.example.com/other", nil); text != "other" {
		t.Errorf("afterwards: %s %q", resp.Status, text)
	}
	for _, p := range f.proxy.Pools() {
		if u := p.Upstreams[0]; u.Health == "down" {
			t.Errorf("%s is down: %s", p.Name, u.Error)
		}
	}
}

// TestOutOfFiles: that we have no file for a connection is not the upstream's
// fault.
func TestOutOfFiles(t *testing.T) {
	main := newBackend(t, "main")
	f := newCrowdedFront(t, main, 100, 100)
	a := f.proxy.state.Load().pools[0].upstreams[0].found.Load().list[0]
	a.up.dialer.Control = func(string, string, syscall.RawConn) error { return syscall.EMFILE }
	_, err := a.dial(context.Background())
	if !errors.Is(err, errFiles) || !busy(err) {
		t.Errorf("%v", err)
	}
	if word, why := a.health.word(time.Now()); word == "down" {
		t.Errorf("the upstream is down: %s", why)
	}
	if status, _, _ := failure(err); status != 503 {
		t.Errorf("the client gets %d", status)
	}
}

// TestAcceptShortOfMemory: a listener that could not accept one connection accepts the
// next.
func TestAcceptShortOfMemory(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		f := e.front(t, oneSite(newBackend(t, "main"), ""), false)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := l.Addr().String()
		f.server.accept(f.server.routed[0], &shortListener{Listener: l}, nil)
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(3 * time.Second))
		io.WriteString(c, "GET /_matrix/x HTTP/1.1\r\nHost: matrix.example.com\r\n\r\n")
		var b [12]byte
		if _, err := io.ReadFull(c, b[:]); err != nil {
			t.Errorf("%q %v\n%s", b, err, f.messages.String())
		}
	})
}

// shortListener has no memory for the first connection.
type shortListener struct {
	net.Listener
	tried bool
}

func (l *shortListener) Accept() (net.Conn, error) {
	if !l.tried {
		l.tried = true
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: os.NewSyscallError("accept4", syscall.ENOMEM)}
	}
	return l.Listener.Accept()
}
