package proxy

import (
	"fmt"
	"sync"
	"time"
)

// ledger remembers the upstreams that there were, and their addresses, for what is
// counted of each has to come back to nothing.
type ledger struct {
	mu        sync.Mutex
	upstreams map[*Upstream]time.Time // when they were last seen in use
	addresses map[*address]time.Time
}

// remembered is how long an upstream is remembered that is no longer in use and of
// which nothing is counted: longer than any request lasts.
const remembered = 3 * time.Minute

func newLedger() *ledger {
	return &ledger{upstreams: map[*Upstream]time.Time{}, addresses: map[*address]time.Time{}}
}

// note remembers what is in use.
func (l *ledger) note(p *Proxy) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for _, u := range p.upstreams {
		l.upstreams[u] = now
		if set := u.found.Load(); set != nil {
			for _, a := range set.list {
				l.addresses[a] = now
			}
		}
	}
	for u, seen := range l.upstreams {
		if now.Sub(seen) > remembered && countsOf(u) == "" {
			delete(l.upstreams, u)
		}
	}
	for a, seen := range l.addresses {
		if now.Sub(seen) > remembered && a.counts() == "" {
			delete(l.addresses, a)
		}
	}
}

// counts are what is still counted.
func (l *ledger) counts() (text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for u := range l.upstreams {
		text += countsOf(u)
	}
	for a := range l.addresses {
		text += a.counts()
	}
	return text
}

func countsOf(u *Upstream) string {
	open, standIns := u.open.Load(), u.standIns.Load()
	if open == 0 && standIns == 0 {
		return ""
	}
	return fmt.Sprintf("%s: %d connections, stands in for %d requests\n", u.Name, open, standIns)
}

func (a *address) counts() string {
	open, inflight := a.open.Load(), a.inflight.Load()
	if open == 0 && inflight == 0 {
		return ""
	}
	return fmt.Sprintf("%s: %d connections, %d requests\n", a.target, open, inflight)
}
