package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// idleUpstream is how long an unused connection to an upstream is kept at least;
// twice that at most. It stays below the 60 s after which Twisted closes one
// (twisted.web.http.HTTPChannel.timeOut), so that we rarely write into a
// connection that is being closed.
const idleUpstream = 20 * time.Second

// maxIdle bounds the unused connections kept per address: about as many as a
// burst of requests uses at once, or each burst would dial most of them anew.
const maxIdle = 512

// address is one place where an upstream listens, the connections open to it and
// its health. A name may lead to several, each with a process of its own.
type address struct {
	up      *Upstream
	target  string // what is dialled: "10.0.0.5:8083", or a socket's path
	health  health
	running atomic.Pointer[string] // the release of Synapse, as the process says

	open     atomic.Int64 // connections, used or idle
	inflight atomic.Int64 // requests

	askedRelease atomic.Int64 // when a probe did, Unix nanoseconds

	mu      sync.Mutex
	idle    []*conn // the most recently used last
	reaper  *time.Timer
	retired bool
}

// take returns an idle connection that still looks alive, or dials. The request
// it is for counts as under way from here on; release ends that.
func (a *address) take(ctx context.Context) (*conn, error) {
	a.begin()
	if c := a.reuse(); c != nil {
		return c, nil
	}
	c, err := a.dial(ctx)
	if err != nil {
		a.end()
	}
	return c, err
}

// begin counts a request until end.
func (a *address) begin() {
	a.inflight.Add(1)
	a.up.busy.Add(1)
}

func (a *address) end() {
	countDown(&a.inflight, "requests under way")
	countDown(&a.up.busy, "requests under way at an upstream")
}

// reuse returns an idle connection that still looks alive, or nil.
func (a *address) reuse() *conn {
	for {
		c := a.pop()
		if c == nil {
			return nil
		}
		if c.quiet() {
			c.reused = true
			return c
		}
		c.close()
	}
}

// release ends what take began: the connection is kept when it may carry
// another request, else closed.
func (a *address) release(c *conn, reuse bool) {
	a.end()
	if reuse && !c.closed {
		a.give(c)
	} else {
		c.close()
	}
}

// pop takes the idle connection used last.
func (a *address) pop() *conn {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := len(a.idle)
	if n == 0 {
		return nil
	}
	c := a.idle[n-1]
	a.idle[n-1] = nil
	a.idle = a.idle[:n-1]
	if invariants {
		c.watchTaken()
	}
	return c
}

// dial opens a connection, or says again why the last attempt failed, if that was
// a moment ago: all who wait for a process to come back share the attempts.
func (a *address) dial(ctx context.Context) (*conn, error) {
	if err := a.health.recent(time.Now(), redial); err != nil {
		return nil, err
	}
	if err := a.up.reserve(); err != nil {
		return nil, err
	}
	a.open.Add(1)
	start := time.Now()
	nc, err := a.up.dialer.DialContext(ctx, a.up.network, a.target)
	if err == nil && a.up.stall != nil {
		nc = &stallConn{Conn: nc, stall: a.up.stall}
	}
	if err == nil && a.up.tls != nil {
		nc, err = a.handshake(ctx, nc)
	}
	if err != nil {
		a.closed()
		switch {
		case outOfFiles(err):
			return nil, fmt.Errorf("%w: %w", errFiles, err)
		case ctx.Err() == nil:
			a.refused(err, time.Since(start))
		}
		return nil, err
	}
	a.reached()
	return newConn(a, nc), nil
}

// handshake secures a connection. One that breaks off, as behind a proxy whose own
// process is gone, is one that could not be made.
func (a *address) handshake(ctx context.Context, nc net.Conn) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, a.up.dialer.Timeout)
	defer cancel()
	tc := tls.Client(nc, a.up.tls)
	err := tc.HandshakeContext(ctx)
	if err == nil {
		return tc, nil
	}
	nc.Close()
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || timedOut(err) {
		err = &net.OpError{Op: "dial", Net: a.up.network, Addr: nc.RemoteAddr(), Err: fmt.Errorf("securing the connection: %w", err)}
	}
	return nil, err
}

// refused notes that no connection could be made, and how long it took to find
// that out. A machine that says nothing is gone, and with it the other end of the
// connections that are idle, of which nobody tells: who took one would wait long.
func (a *address) refused(err error, took time.Duration) {
	if timedOut(err) {
		a.forget()
	}
	if a.health.refused(err, took, time.Now()) {
		a.log().Warn("an upstream is down", "error", err.Error())
	}
}

// reached notes that somebody listens.
func (a *address) reached() {
	if a.health.reached(time.Now()) {
		a.log().Info("an upstream is back")
	}
}

// failed notes that an exchange ended without a proper answer.
func (a *address) failed(err error) {
	if a.health.failed(err, time.Now()) {
		a.log().Warn("an upstream takes requests and does not answer them; others are asked for a while", "error", err.Error())
	}
}

// closed is for a connection that has ended, or was not made.
func (a *address) closed() {
	countDown(&a.open, "connections to an address")
	a.up.unreserve()
}

// give puts a connection back that may carry another request.
func (a *address) give(c *conn) {
	c.stale = false
	if invariants {
		c.watchReturned()
	}
	c.r.release()
	if invariants {
		poison(c.text)
	}
	a.mu.Lock()
	if a.retired || len(a.idle) >= maxIdle {
		a.mu.Unlock()
		c.close()
		return
	}
	a.idle = append(a.idle, c)
	if a.reaper == nil {
		a.reaper = time.AfterFunc(idleUpstream, a.reap)
	}
	a.mu.Unlock()
}

// reap closes the connections that were idle already in its last round, and have
// not been used since. As the one used last is taken first, they are in front.
func (a *address) reap() {
	a.mu.Lock()
	n := 0
	for n < len(a.idle) && a.idle[n].stale {
		n++
	}
	for _, c := range a.idle[n:] {
		c.stale = true
	}
	old := append([]*conn(nil), a.idle[:n]...)
	rest := copy(a.idle, a.idle[n:])
	clear(a.idle[rest:])
	a.idle = a.idle[:rest]
	a.reaper = nil
	if rest > 0 {
		a.reaper = time.AfterFunc(idleUpstream, a.reap)
	}
	a.mu.Unlock()
	for _, c := range old {
		c.close()
	}
}

// retire closes what is idle; connections in use are closed when they come
// back. For addresses that are no longer in use.
func (a *address) retire() {
	a.mu.Lock()
	a.retired = true
	a.mu.Unlock()
	a.forget()
}

// forget closes the connections that are idle.
func (a *address) forget() {
	a.mu.Lock()
	idle := a.idle
	a.idle = nil
	if a.reaper != nil {
		a.reaper.Stop()
		a.reaper = nil
	}
	a.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
}
