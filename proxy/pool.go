package proxy

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"vestibule/routing"
)

// pool is a routing.Pool with the upstreams that live behind it.
type pool struct {
	*routing.Pool
	upstreams []*Upstream
	weights   []int64
	ranks     *routing.Rendezvous
	turn      atomic.Uint32
	// hold is how long a request waits for a process that refuses connections.
	hold time.Duration
	// synapse is true for the classes of Synapse, which never upgrades a
	// connection.
	synapse bool
}

// pick chooses an upstream: by key, so that every front door chooses the same
// one, else the one with the fewest requests for its weight. Upstreams that
// failed a moment ago or have no connection to spare are passed over while
// there is another.
func (p *pool) pick(key []byte) *Upstream {
	if len(p.upstreams) == 1 {
		return p.upstreams[0]
	}
	now := time.Now()
	if len(key) > 0 {
		i := p.ranks.Rank(key, func(i int) bool { return !p.upstreams[i].ready(now) })
		if i < 0 {
			i = p.ranks.Rank(key, nil)
		}
		return p.upstreams[i]
	}
	return p.leastBusy(now)
}

// leastBusy starts at another upstream each time, so that ties are spread.
func (p *pool) leastBusy(now time.Time) *Upstream {
	n := len(p.upstreams)
	start := int(p.turn.Add(1) % uint32(n))
	best, fallback := -1, start
	for k := range n {
		i := (start + k) % n
		if p.less(i, fallback) {
			fallback = i
		}
		if p.upstreams[i].ready(now) && (best < 0 || p.less(i, best)) {
			best = i
		}
	}
	if best < 0 {
		best = fallback
	}
	return p.upstreams[best]
}

// less says whether upstream i is less busy than j, for its weight.
func (p *pool) less(i, j int) bool {
	return p.upstreams[i].inflight.Load()*p.weights[j] < p.upstreams[j].inflight.Load()*p.weights[i]
}

// connect returns a connection to the upstream that pick chooses. When that
// cannot be had, nothing has been sent yet, so another of the pool is tried at
// once; when none is left, the choice is made again until hold has passed.
func (p *pool) connect(ctx context.Context, key []byte) (*conn, error) {
	var start time.Time // of the wait
	wait := 25 * time.Millisecond
	for tries := 1; ; tries++ {
		c, err := p.pick(key).take(ctx)
		if err == nil || ctx.Err() != nil {
			return c, err
		}
		if tries < len(p.upstreams) && p.standby() {
			continue
		}
		if start.IsZero() {
			start = time.Now()
		}
		left := p.hold - time.Since(start)
		if left <= 0 || !absent(err) && !errors.Is(err, errMaxConns) {
			return nil, err
		}
		if err := sleep(ctx, min(wait, left)); err != nil {
			return nil, err
		}
		wait = min(2*wait, 500*time.Millisecond)
	}
}

// standby says whether an upstream of the pool may take a request now.
func (p *pool) standby() bool {
	now := time.Now()
	for _, u := range p.upstreams {
		if u.ready(now) {
			return true
		}
	}
	return false
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
