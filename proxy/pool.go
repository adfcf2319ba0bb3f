package proxy

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"vestibule/configs"
	"vestibule/routing"
)

// errUnwell is returned by connect when all processes of a pool accept requests,
// do not answer them, and somebody can stand in.
var errUnwell = errors.New("no process of this class answers")

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
	// maxUpload bounds uploads; 0 does not.
	maxUpload configs.Size
	// standIns counts the requests for which it stands in for another class.
	standIns *atomic.Int64
}

// demand is what a choice asks of a process.
type demand uint8

const (
	demandShare demand = iota // that the key is in its share, while it returns slowly
	demandReady               // that nothing speaks against it
	demandNone
)

// choosing is the choice of a process for one request.
type choosing struct {
	key    []byte // empty for a choice by load
	part   uint32 // the key's place among all keys, for shares
	now    time.Time
	demand demand
}

// choose begins a choice. What sticks to nobody has a place by chance.
func choose(key []byte) choosing {
	c := choosing{key: key, now: time.Now()}
	if len(key) == 0 {
		c.part = rand.Uint32()
		return c
	}
	c.part = 2166136261 // FNV-1a: on every host the same keys return first
	for _, b := range key {
		c.part = (c.part ^ uint32(b)) * 16777619
	}
	return c
}

func (c *choosing) suits(h *health) bool {
	switch c.demand {
	case demandShare:
		return h.takes(c.now, c.part)
	case demandReady:
		return h.ready(c.now)
	}
	return true
}

// pick chooses an upstream: by key, so that every front door chooses the same
// one, else the one with the fewest requests for its weight. It asks less of them
// while none fulfils what is asked.
func (p *pool) pick(c *choosing) *Upstream {
	for c.demand = demandShare; c.demand < demandNone; c.demand++ {
		if u := p.among(c); u != nil {
			return u
		}
	}
	if len(c.key) > 0 {
		return p.upstreams[p.ranks.Rank(c.key, nil)]
	}
	return p.upstreams[p.leastBusy(nil)]
}

// among chooses one of the upstreams that suit, nil when none does.
func (p *pool) among(c *choosing) *Upstream {
	if len(p.upstreams) == 1 {
		if p.upstreams[0].suits(c) {
			return p.upstreams[0]
		}
		return nil
	}
	skip := func(i int) bool { return !p.upstreams[i].suits(c) }
	i := -1
	if len(c.key) > 0 {
		i = p.ranks.Rank(c.key, skip)
	} else {
		i = p.leastBusy(skip)
	}
	if i < 0 {
		return nil
	}
	return p.upstreams[i]
}

// leastBusy starts at another upstream each time, so that ties are spread. It is
// -1 when all are skipped; a nil skip skips none.
func (p *pool) leastBusy(skip func(i int) bool) int {
	n := len(p.upstreams)
	start := int(p.turn.Add(1) % uint32(n))
	best := -1
	for k := range n {
		i := (start + k) % n
		if (skip == nil || !skip(i)) && (best < 0 || p.less(i, best)) {
			best = i
		}
	}
	return best
}

// less says whether upstream i is less busy than j, for its weight.
func (p *pool) less(i, j int) bool {
	return p.upstreams[i].inflight()*p.weights[j] < p.upstreams[j].inflight()*p.weights[i]
}

// several says whether there is a choice at all.
func (p *pool) several() bool { return p.processes() > 1 }

// processes is how many addresses there are, as far as is known.
func (p *pool) processes() int {
	n := 0
	for _, u := range p.upstreams {
		if set := u.found.Load(); set != nil {
			n += len(set.list)
		} else {
			n++
		}
	}
	return n
}

// connect returns a connection to the process that the key chooses. When that
// cannot be had, nothing has been sent yet, so another of the pool is tried at
// once; when none is left, the choice is made again until hold has passed since
// from. Where somebody can stand in (spared), hold counts from when
// the last process went away: nobody waits for one that has been away for longer.
func (p *pool) connect(ctx context.Context, key []byte, from time.Time, spared bool) (*conn, error) {
	wait := redial
	for tries := 1; ; tries++ {
		c := choose(key)
		u := p.pick(&c)
		if spared && c.demand == demandNone {
			if err := p.hopeless(c.now); err != nil {
				return nil, err
			}
		}
		got, err := u.take(ctx, &c)
		if err == nil || ctx.Err() != nil {
			return got, err
		}
		if tries < p.processes() && p.standby() {
			continue
		}
		left := time.Until(p.holdUntil(from, spared))
		if left <= 0 || !absent(err) && !busy(err) {
			return nil, err
		}
		if err := sleep(ctx, min(wait, left)); err != nil {
			return nil, err
		}
		wait = min(2*wait, 250*time.Millisecond)
	}
}

// hopeless is why nobody needs to try: all processes have been away for as long
// as requests are held, or some accept them and do not answer.
func (p *pool) hopeless(now time.Time) error {
	if p.crowded() {
		return nil
	}
	since, err, away := p.away()
	switch {
	case !away:
		return errUnwell
	case now.Sub(since) >= p.hold:
		return err
	}
	return nil
}

// crowded says whether a process is passed over for its max_conns alone.
func (p *pool) crowded() bool {
	for _, u := range p.upstreams {
		if u.full() {
			return true
		}
	}
	return false
}

// away is since when no process has listened, and why the last one does not.
func (p *pool) away() (since time.Time, err error, away bool) {
	for _, u := range p.upstreams {
		at, why, gone := u.away()
		if !gone {
			return time.Time{}, nil, false
		}
		if at.After(since) || err == nil {
			since, err = at, why
		}
	}
	return since, err, true
}

// holdUntil is when a request stops waiting that began to at some time.
func (p *pool) holdUntil(from time.Time, spared bool) time.Time {
	if since, _, away := p.away(); spared && away {
		return since.Add(p.hold)
	}
	return from.Add(p.hold)
}

// standby says whether an upstream of the pool may take a request now.
func (p *pool) standby() bool {
	c := choosing{now: time.Now(), demand: demandReady}
	for _, u := range p.upstreams {
		if u.suits(&c) {
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
