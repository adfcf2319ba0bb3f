package proxy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"vestibule/configs"
	"vestibule/routing"
)

// errLimited is returned by enter when as many requests are under way as may be.
var errLimited = errors.New("as many requests of this endpoint are under way as limits.endpoints allows")

// maxQueue bounds the requests that wait at a turnstile: each keeps a client's
// connection, and no more than this come to their turn within a sensible time.
const maxQueue = 1000

// turnstile lets so many requests of an endpoint pass at once, and has some wait
// for their turn, first come, first served. It outlives the configurations that
// set its bound, so that who passed before a reload still counts after it.
type turnstile struct {
	mu    sync.Mutex
	most  int           // 0 lets everybody pass
	queue time.Duration // how long one waits
	under int           // have passed and are still under way
	turns []chan struct{}
}

// enter waits for a place; leave gives it back.
func (t *turnstile) enter(ctx context.Context) error {
	t.mu.Lock()
	if t.most == 0 || t.under < t.most {
		t.under++
		t.mu.Unlock()
		return nil
	}
	wait := t.queue
	if wait <= 0 || len(t.turns) >= maxQueue {
		t.mu.Unlock()
		return errLimited
	}
	turn := make(chan struct{})
	t.turns = append(t.turns, turn)
	t.mu.Unlock()

	timer := time.NewTimer(wait)
	defer timer.Stop()
	err := errLimited
	select {
	case <-turn:
		return nil
	case <-timer.C:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if !t.giveUp(turn) { // its turn came at the same moment
		if ctx.Err() == nil {
			return nil
		}
		t.leave()
	}
	return err
}

// giveUp leaves the queue; false when the turn has come already.
func (t *turnstile) giveUp(turn chan struct{}) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, other := range t.turns {
		if other == turn {
			t.turns = append(t.turns[:i], t.turns[i+1:]...)
			return true
		}
	}
	return false
}

func (t *turnstile) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.under--; invariants && t.under < 0 {
		violated("requests that passed a turnstile: %d are counted", t.under)
	}
	t.admit()
}

// set changes the bound.
func (t *turnstile) set(l configs.EndpointLimit) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.most, t.queue = l.Concurrent, l.Queue.Std()
	t.admit()
}

// admit lets those pass whose turn has come.
func (t *turnstile) admit() {
	for len(t.turns) > 0 && (t.most == 0 || t.under < t.most) {
		t.under++
		close(t.turns[0])
		t.turns[0] = nil
		t.turns = t.turns[1:]
	}
}

// turnstileID is what a turnstile counts: one endpoint of one site.
type turnstileID struct {
	site     string
	endpoint configs.Class
}

// turnstiles are those of all configurations so far.
type turnstiles struct {
	mu  sync.Mutex
	all map[turnstileID]*turnstile
}

// of returns the turnstiles of a configuration, nil when it bounds nothing. Their
// bounds are set when it is put to use. Hosts that belong to no site are
// counted as one.
func (ts *turnstiles) of(cfg *configs.Config) map[turnstileID]*turnstile {
	if len(cfg.Limits.Endpoints) == 0 {
		return nil
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.all == nil {
		ts.all = map[turnstileID]*turnstile{}
	}
	found := map[turnstileID]*turnstile{}
	for endpoint := range cfg.Limits.Endpoints {
		for _, site := range append([]*configs.Site{{}}, cfg.Sites...) {
			id := turnstileID{site.ServerName, endpoint}
			if ts.all[id] == nil {
				ts.all[id] = &turnstile{}
			}
			found[id] = ts.all[id]
		}
	}
	return found
}

// use sets the bounds of a configuration. Where it has none, who waits may pass.
func (ts *turnstiles) use(cfg *configs.Config) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for id, t := range ts.all {
		t.set(cfg.Limits.Endpoints[id.endpoint])
	}
}

// EndpointLimit is the bound of limits.endpoints that a request meets; false where
// there is none. What a browser asks before a request is no work for anybody.
func EndpointLimit(cfg *configs.Config, method string, d *routing.Decision) (configs.EndpointLimit, bool) {
	l, ok := cfg.Limits.Endpoints[d.Endpoint]
	return l, ok && d.Action == routing.Proxy && method != "OPTIONS"
}

// enter passes the turnstile of the request's endpoint, if there is one, until
// comeHome.
func (x *exchange) enter() error {
	t := x.state.turnstiles[turnstileID{x.decision.Site, x.decision.Endpoint}]
	if t == nil || x.req.Method == "OPTIONS" {
		return nil
	}
	if err := t.enter(x.req.Context); err != nil {
		return err
	}
	x.passed = t
	return nil
}

// limited answers for a request that found no place. Those refused together are
// not told to come back together.
func (x *exchange) limited() Answer {
	const text = "Too many such requests are under way. Try again in a moment."
	x.state.metrics.limited.WithLabelValues(x.decision.Site, string(x.decision.Endpoint)).Inc()
	queue := x.state.cfg.Limits.Endpoints[x.decision.Endpoint].Queue.Std()
	after := time.Second + rand.N(max(queue, 4*time.Second))
	a := x.refusal(429, "M_LIMIT_EXCEEDED", text)
	a.Header = append(a.Header, Field{"Retry-After", strconv.FormatInt(int64((after+time.Second-1)/time.Second), 10)})
	if !matrixPath(x.req.Target) {
		return a
	}
	// retry_after_ms is what clients of before Matrix 1.10 read (client-server API,
	// "Rate limiting").
	a.Body = fmt.Appendf(nil, `{"errcode":"M_LIMIT_EXCEEDED","error":%q,"retry_after_ms":%d}`, text, after.Milliseconds())
	return a
}
