package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"vestibule/configs"
)

// own is our own HTTP server in front of an entrypoint: HTTP/1.1 in h1.go, HTTP/2
// in h2.go. It does what net/http's does for standard, with less work for each
// request and less memory for each that waits (docs/decisions/0009-own-engine.md).
type own struct {
	proxy      *Proxy
	entrypoint *Entrypoint
	tls        *tls.Config   // nil for an entrypoint without TLS
	head       time.Duration // timeouts.head: for a handshake, and for a head once it has begun
	idle       time.Duration // timeouts.idle: between requests
	maxHead    int           // limits.head, in bytes
	log        *slog.Logger
	intake     intake

	mu    sync.Mutex
	conns map[ownConn]struct{}
	empty chan struct{} // closed when there are no connections any more, while it stops
}

// ownProtocols are what it speaks over TLS.
var ownProtocols = []string{"h2", "http/1.1"}

// newOwn prepares to serve an entrypoint; secure is nil for one without TLS.
func newOwn(p *Proxy, cfg *configs.Config, e *Entrypoint, secure *tls.Config, log *slog.Logger) *own {
	if secure != nil {
		secure.NextProtos = ownProtocols
	}
	return &own{proxy: p, entrypoint: e, tls: secure, head: cfg.Timeouts.Head.Std(), idle: cfg.Timeouts.Idle.Std(),
		maxHead: int(cfg.Limits.Head), log: log}
}

// ownConn is a client's connection.
type ownConn interface {
	// serve carries requests until the connection ends.
	serve()
	// drain has the connection end once nothing is under way on it; it does not wait.
	drain()
	// Close ends the connection at once, and with it what is under way.
	Close() error
}

// Serve accepts connections until Shutdown or Close; it returns
// http.ErrServerClosed then.
func (o *own) Serve(l net.Listener) error {
	if !o.intake.begin(l) {
		return http.ErrServerClosed
	}
	defer o.intake.end()
	for wait := 5 * time.Millisecond; ; {
		nc, err := l.Accept()
		var ne net.Error
		switch {
		case err == nil:
			wait = 5 * time.Millisecond
			o.accept(newSocket(nc, o.proxy.stall, o.tls != nil))
		case o.intake.refused():
			return http.ErrServerClosed
		case errors.As(err, &ne) && ne.Temporary(): //nolint:staticcheck // ECONNABORTED, EMFILE: others may yet be accepted
			o.log.Error("a connection could not be accepted", "error", err.Error())
			time.Sleep(wait)
			wait = min(2*wait, time.Second)
		default:
			return err
		}
	}
}

func (o *own) accept(s *socket) {
	var c ownConn = &greeting{own: o, socket: s}
	if o.tls == nil {
		c = newH1(o, s, s)
	}
	o.add(c)
	go o.run(c)
}

func (o *own) run(c ownConn) {
	defer o.end(c)
	c.serve()
}

// end is deferred by who serves a connection. A mistake of ours ends that, and not
// the process.
func (o *own) end(c ownConn) {
	defer o.remove(c)
	if v := recover(); v != nil {
		o.log.Error("a connection ended in a panic (hint: this is a mistake in vestibule; please report it)",
			"panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	}
	c.Close()
}

// greeting is a connection whose TLS handshake is under way.
type greeting struct {
	own *own
	*socket
	over atomic.Bool // the socket is somebody else's to close
}

// serve implements ownConn: it does the handshake and has the rest served by
// another goroutine, for the stack of this one has grown.
func (g *greeting) serve() {
	o := g.own
	tc := tls.Server(g.socket, o.tls)
	err := g.SetDeadline(after(o.head))
	if err == nil {
		err = tc.Handshake()
	}
	if err == nil {
		err = g.SetDeadline(time.Time{})
	}
	if err != nil {
		g.fail(err)
		return
	}
	var c ownConn
	if tc.ConnectionState().NegotiatedProtocol == "h2" {
		c = newH2(o, tc)
	} else {
		c = newH1(o, tc, g.socket)
	}
	o.add(c)
	g.over.Store(true)
	go o.run(c)
}

// after is the deadline of a wait; none for one without end.
func after(wait time.Duration) time.Time {
	if wait <= 0 {
		return time.Time{}
	}
	return time.Now().Add(wait)
}

// fail notes that the handshake did not succeed, and tells whom it may help.
func (g *greeting) fail(err error) {
	g.own.log.Debug("connection", "detail", "TLS handshake error from "+g.own.proxy.shown(peerOf(g.RemoteAddr()))+": "+clientError(err))
	var re tls.RecordHeaderError
	if errors.As(err, &re) && re.Conn != nil && looksLikeHTTP(re.RecordHeader) {
		_, _ = g.Write([]byte("HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"))
		g.linger(lingerBody)
	}
}

// looksLikeHTTP says whether what came instead of a TLS record is a request.
func looksLikeHTTP(header [recordHeader]byte) bool {
	switch string(header[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET", "PATCH":
		return true
	}
	return false
}

// drain implements ownConn: whoever is just coming in may still ask for something.
func (g *greeting) drain() {}

// Close implements ownConn.
func (g *greeting) Close() error {
	if g.over.Load() {
		return nil
	}
	return g.socket.Close()
}

// add counts a connection until remove.
func (o *own) add(c ownConn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.conns == nil {
		o.conns = map[ownConn]struct{}{}
	}
	o.conns[c] = struct{}{}
	if o.intake.refused() {
		c.drain()
	}
}

func (o *own) remove(c ownConn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.conns, c)
	if o.empty != nil && len(o.conns) == 0 {
		close(o.empty)
		o.empty = nil
	}
}

// Shutdown accepts no more connections, lets requests under way end and waits for
// that until ctx ends.
func (o *own) Shutdown(ctx context.Context) error {
	o.intake.refuse()
	o.intake.wait()
	empty := o.stop(ownConn.drain)
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stop does something to the connections that there are. What it returns is closed
// when they have ended.
func (o *own) stop(do func(ownConn)) <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	for c := range o.conns {
		do(c)
	}
	if len(o.conns) > 0 && o.empty != nil {
		return o.empty
	}
	empty := make(chan struct{})
	if len(o.conns) == 0 {
		close(empty)
	} else {
		o.empty = empty
	}
	return empty
}

// Close ends everything at once.
func (o *own) Close() error {
	o.intake.refuse()
	o.intake.wait()
	o.stop(func(c ownConn) { _ = c.Close() })
	return nil
}
