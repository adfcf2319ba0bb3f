package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"vestibule/configs"
)

// idleUpstream is how long an unused connection to an upstream is kept at least;
// twice that at most. It stays below the 60 s after which Twisted closes one
// (twisted.web.http.HTTPChannel.timeOut), so that we rarely write into a
// connection that is being closed.
const idleUpstream = 20 * time.Second

// maxIdle bounds the unused connections kept per upstream: about as many as a
// burst of requests uses at once, or each burst would dial most of them anew.
const maxIdle = 512

// cooldown is how long an upstream to which no connection could be made is
// passed over while its pool has another: at least this, and twice as long as
// finding it out took, since a machine that is gone costs each try a timeout.
const cooldown = time.Second

// errMaxConns is returned by Upstream.take when max_conns are open.
var errMaxConns = errors.New("all connections that max_conns allows are in use")

// Upstream is one process that answers, and the connections open to it.
type Upstream struct {
	// Name is its URL, as in the configuration; a metric label.
	Name    string
	network string
	address string
	tls     *tls.Config
	max     int64
	dialer  net.Dialer

	open     atomic.Int64 // connections, used or idle
	inflight atomic.Int64 // requests
	cooling  atomic.Int64 // after a failed dial, until when, Unix nanoseconds; 0 since one succeeded
	failure  atomic.Pointer[string]
	answered atomic.Bool // a dial has succeeded before

	mu      sync.Mutex
	idle    []*conn // the most recently used last
	reaper  *time.Timer
	retired bool
}

// newUpstream prepares an upstream; it does not dial.
func newUpstream(u configs.Upstream, id upstreamID) (*Upstream, error) {
	up := &Upstream{Name: u.URL, network: u.Network(), address: u.Address(), max: int64(u.MaxConns),
		dialer: net.Dialer{Timeout: id.connect, KeepAlive: 30 * time.Second}}
	if !u.TLS() {
		return up, nil
	}
	up.tls = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.TLSName(), NextProtos: []string{"http/1.1"}}
	if u.CAFile != "" {
		up.tls.RootCAs = x509.NewCertPool()
		if !up.tls.RootCAs.AppendCertsFromPEM([]byte(id.roots)) {
			return nil, fmt.Errorf("reading ca_file of upstream %s: %s holds no PEM certificate", u.URL, u.CAFile)
		}
	}
	return up, nil
}

// take returns an idle connection that still looks alive, or dials. The request
// it is for counts as under way from here on; release ends that.
func (u *Upstream) take(ctx context.Context) (*conn, error) {
	u.inflight.Add(1)
	for {
		c := u.pop()
		if c == nil {
			c, err := u.dial(ctx)
			if err != nil {
				u.inflight.Add(-1)
			}
			return c, err
		}
		if c.quiet() {
			c.reused = true
			return c, nil
		}
		c.close()
	}
}

// release ends what take began: the connection is kept when it may carry
// another request, else closed.
func (u *Upstream) release(c *conn, reuse bool) {
	u.inflight.Add(-1)
	if reuse && !c.closed {
		u.give(c)
	} else {
		c.close()
	}
}

// pop takes the idle connection used last.
func (u *Upstream) pop() *conn {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := len(u.idle)
	if n == 0 {
		return nil
	}
	c := u.idle[n-1]
	u.idle[n-1] = nil
	u.idle = u.idle[:n-1]
	return c
}

// dial opens a connection. The name is resolved anew each time and both
// address families are tried (RFC 8305), so that a container that came back
// under another address is found at once.
func (u *Upstream) dial(ctx context.Context) (*conn, error) {
	if n := u.open.Add(1); u.max > 0 && n > u.max {
		u.open.Add(-1)
		return nil, errMaxConns
	}
	start := time.Now()
	nc, err := u.dialer.DialContext(ctx, u.network, u.address)
	if err == nil && u.tls != nil {
		nc, err = u.handshake(ctx, nc)
	}
	if err != nil {
		u.open.Add(-1)
		if ctx.Err() == nil {
			u.fail(err, time.Since(start))
		}
		return nil, err
	}
	u.cooling.Store(0)
	u.answered.Store(true)
	return newConn(u, nc), nil
}

func (u *Upstream) handshake(ctx context.Context, nc net.Conn) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, u.dialer.Timeout)
	defer cancel()
	tc := tls.Client(nc, u.tls)
	if err := tc.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, err
	}
	return tc, nil
}

// fail remembers that a dial failed, for pools and the status page, and how
// long it took.
func (u *Upstream) fail(err error, took time.Duration) {
	text := err.Error()
	u.failure.Store(&text)
	u.cooling.Store(time.Now().Add(max(cooldown, 2*took)).UnixNano())
}

// ready says whether the upstream may take another request: no dial failed a
// moment ago, and max_conns leaves room.
func (u *Upstream) ready(now time.Time) bool {
	if u.max > 0 && u.inflight.Load() >= u.max {
		return false
	}
	until := u.cooling.Load()
	return until == 0 || now.UnixNano() >= until
}

// health is "up", "down" or, before the first dial, "unknown".
func (u *Upstream) health() string {
	switch {
	case u.cooling.Load() != 0:
		return "down"
	case u.open.Load() > 0 || u.failure.Load() != nil:
		return "up"
	}
	return "unknown"
}

// give puts a connection back that may carry another request. That it can is a
// sign of life, whatever became of a dial meanwhile.
func (u *Upstream) give(c *conn) {
	if u.cooling.Load() != 0 {
		u.cooling.Store(0)
	}
	c.stale = false
	u.mu.Lock()
	if u.retired || len(u.idle) >= maxIdle {
		u.mu.Unlock()
		c.close()
		return
	}
	u.idle = append(u.idle, c)
	if u.reaper == nil {
		u.reaper = time.AfterFunc(idleUpstream, u.reap)
	}
	u.mu.Unlock()
}

// reap closes the connections that were idle already in its last round, and have
// not been used since. As the one used last is taken first, they are in front.
func (u *Upstream) reap() {
	u.mu.Lock()
	n := 0
	for n < len(u.idle) && u.idle[n].stale {
		n++
	}
	for _, c := range u.idle[n:] {
		c.stale = true
	}
	old := append([]*conn(nil), u.idle[:n]...)
	rest := copy(u.idle, u.idle[n:])
	clear(u.idle[rest:])
	u.idle = u.idle[:rest]
	u.reaper = nil
	if rest > 0 {
		u.reaper = time.AfterFunc(idleUpstream, u.reap)
	}
	u.mu.Unlock()
	for _, c := range old {
		c.close()
	}
}

// retire closes what is idle; connections in use are closed when they come
// back. For upstreams a new configuration no longer names.
func (u *Upstream) retire() {
	u.mu.Lock()
	u.retired = true
	u.mu.Unlock()
	u.forget()
}

// forget closes the connections that are idle.
func (u *Upstream) forget() {
	u.mu.Lock()
	idle := u.idle
	u.idle = nil
	if u.reaper != nil {
		u.reaper.Stop()
		u.reaper = nil
	}
	u.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
}

// absent says whether a dial failed, so that the request cannot have reached
// anybody. It is what happens while a process or its container restarts: nobody
// listens, or the name is gone for the moment, or its address leads nowhere.
func absent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}
