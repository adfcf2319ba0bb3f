package proxy

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"math"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// connections are those of clients, of all public entrypoints together. Each takes
// one of the files that the process may open, and a request on it mostly another:
// without a bound, a crowd that does nothing would leave none for upstreams. When
// there is no room for one more, those that have been without a request for
// longest make it, as a client expects of a kept connection anyway; while a request
// is under way on all, there is none.
type connections struct {
	most    func() int // how many there may be
	metrics *Metrics
	log     *slog.Logger
	warned  seldom

	mu   sync.Mutex
	open map[*stallConn]struct{}
}

// makeRoom is the share of all connections, one in so many, that is closed at once
// for one more to come: they are found by looking at all.
const makeRoom = 64

// admit counts a connection until it is closed; false when there may be no more.
func (k *connections) admit(c *stallConn) bool {
	c.of = k
	c.rest()
	most := k.most()
	k.mu.Lock()
	var closing []*stallConn
	if over := len(k.open) - most + 1; over > 0 {
		closing = k.takeOldest(over + len(k.open)/makeRoom)
	}
	admitted := len(k.open) < most
	if admitted {
		k.open[c] = struct{}{}
	}
	k.mu.Unlock()
	k.account(len(closing), admitted, most)
	for _, old := range closing {
		old.Conn.Close()
	}
	return admitted
}

// takeOldest takes out those that have been idle for longest. The caller holds mu.
func (k *connections) takeOldest(n int) []*stallConn {
	type idler struct {
		c     *stallConn
		since int64
	}
	var idle []idler
	for c := range k.open {
		if since := c.idleSince.Load(); since != 0 {
			idle = append(idle, idler{c, since})
		}
	}
	slices.SortFunc(idle, func(a, b idler) int { return int(a.since - b.since) })
	var oldest []*stallConn
	for _, i := range idle {
		if len(oldest) == n {
			break
		}
		if i.c.idleSince.CompareAndSwap(i.since, evicted) {
			delete(k.open, i.c)
			oldest = append(oldest, i.c)
		}
	}
	return oldest
}

// account tells of a connection that was admitted or refused, and of those that
// were closed for it.
func (k *connections) account(closed int, admitted bool, most int) {
	k.metrics.connections.Sub(float64(closed))
	k.metrics.evicted.Add(float64(closed))
	if admitted {
		k.metrics.connections.Inc()
	} else {
		k.metrics.refused.Inc()
	}
	if (closed > 0 || !admitted) && k.warned.now() {
		k.log.Warn("clients hold as many connections as there may be; idle ones are closed, or new ones if none is", "limit", most)
	}
}

// leave is for a connection that is closed.
func (k *connections) leave(c *stallConn) {
	k.mu.Lock()
	_, counted := k.open[c]
	delete(k.open, c)
	k.mu.Unlock()
	if counted {
		k.metrics.connections.Dec()
	}
}

// noteState is told by net/http's server whether a request is under way on a
// connection. It is idle as well until the first has come.
func noteState(nc net.Conn, state http.ConnState) {
	if tc, ok := nc.(*tls.Conn); ok {
		nc = tc.NetConn()
	}
	c, ok := nc.(*stallConn)
	switch {
	case !ok:
	case state == http.StateIdle:
		c.rest()
	case state == http.StateActive, state == http.StateHijacked:
		c.work()
	}
}

// evicted is the idleSince of a connection that is being closed to make room.
const evicted = -1

// work is for a connection with a request under way; false when the connection is
// being closed, so that nobody may carry the request: its answer would be lost.
// net/http's server, which says so when it has begun already, cannot be kept from it.
func (c *stallConn) work() bool {
	since := c.idleSince.Load()
	return since == 0 || since != evicted && c.idleSince.CompareAndSwap(since, 0)
}

// rest is for a connection that has no request under way any more.
func (c *stallConn) rest() { c.idleSince.Store(time.Now().UnixNano()) }

// maxConnections is how many connections there may be to clients, and how many to
// upstreams: half of the files that the process may open each, but for some that
// all else needs, such as the admin entrypoint, lookups and certificates.
func maxConnections() int {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return math.MaxInt32
	}
	files := int(min(limit.Cur, math.MaxInt32))
	return (files - min(files/8, 512)) / 2
}

// clientConnections is how many connections clients may have open now.
func (p *Proxy) clientConnections() int {
	most := maxConnections()
	if st := p.state.Load(); st != nil {
		most = min(most, st.cfg.Limits.Connections)
	}
	return most
}

// errFiles is returned when a connection to an upstream would be one more than the
// files of the process allow. It says nothing about the upstream.
var errFiles = errors.New("as many connections are open as the limit of open files bears")

// outOfFiles says whether the system has no file for a connection.
func outOfFiles(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// busy says whether a connection could not be made because there are so many.
func busy(err error) bool { return errors.Is(err, errMaxConns) || errors.Is(err, errFiles) }

// budget bounds the connections to all upstreams together.
type budget struct {
	most  int64
	spare func() bool // closes one that is idle; false when none is
	open  atomic.Int64
}

// take counts a connection until give; false when there may be no more.
func (b *budget) take() bool {
	for b.open.Add(1) > b.most {
		b.open.Add(-1)
		if !b.spare() {
			return false
		}
	}
	return true
}

func (b *budget) give() { countDown(&b.open, "connections to all upstreams") }

// spareConnection closes an idle connection to some upstream, and says whether
// there was one.
func (p *Proxy) spareConnection() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, u := range p.upstreams {
		if u.closeIdle() {
			return true
		}
	}
	return false
}

// seldom bounds how often something is told.
type seldom struct{ last atomic.Int64 }

// now says whether it may be told, which is once a minute.
func (s *seldom) now() bool {
	last, now := s.last.Load(), time.Now().UnixNano()
	return now-last > int64(time.Minute) && s.last.CompareAndSwap(last, now)
}
