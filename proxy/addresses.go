package proxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"vestibule/routing"
)

// addresses is where an upstream's name leads, each with a process of its own.
type addresses struct {
	list  []*address
	ranks *routing.Rendezvous
}

// lookup finds the addresses of a name, as net.Resolver.LookupNetIP does.
type lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

// question is a lookup under way, for all who wait for it.
type question struct {
	done chan struct{} // closed when the rest may be read
	set  *addresses
	err  error
}

// maxAddresses bounds how many addresses of a name are used.
const maxAddresses = 64

// fresh is how old the addresses of a name may be for a new connection. A
// container that comes back under another address is to be found at once.
const fresh = time.Second

// lookAgain is how soon a name is looked up again that leads nowhere, as while a
// container restarts. It is no shorter, for the question may travel far.
const lookAgain = 250 * time.Millisecond

// patience is how long a new connection waits for a name server when it is known
// where the name led before.
const patience = 500 * time.Millisecond

// choose returns the address for a request among those of one upstream.
func (s *addresses) choose(c *choosing) *address {
	if len(s.list) == 1 {
		return s.list[0]
	}
	skip := func(i int) bool { return !c.suits(&s.list[i].health) }
	if len(c.key) > 0 {
		i := s.ranks.Rank(c.key, skip)
		if i < 0 {
			i = s.ranks.Rank(c.key, nil)
		}
		return s.list[i]
	}
	best, start := -1, int(c.part%uint32(len(s.list))) // another each time, for ties
	for k := range s.list {
		i := (start + k) % len(s.list)
		if !skip(i) && (best < 0 || s.list[i].inflight.Load() < s.list[best].inflight.Load()) {
			best = i
		}
	}
	if best < 0 {
		best = start
	}
	return s.list[best]
}

// keep makes targets the addresses in use. Those that were among them before
// keep their connections and what is known of them. The caller holds mu, or has
// the upstream for itself.
func (u *Upstream) keep(targets []string) *addresses {
	var old []*address
	if before := u.found.Load(); before != nil {
		old = before.list
	}
	set := &addresses{ranks: routing.NewRendezvous(targets, nil)}
	for _, target := range targets {
		i := slices.IndexFunc(old, func(a *address) bool { return a.target == target })
		if i >= 0 {
			set.list = append(set.list, old[i])
			continue
		}
		set.list = append(set.list, &address{up: u, target: target, retired: u.retired})
	}
	u.found.Store(set)
	for _, a := range old {
		if !slices.Contains(set.list, a) {
			a.retire()
		}
	}
	return set
}

// resolve returns the addresses, looked up anew unless that was done a moment
// ago. Who asks meanwhile waits for the same answer.
func (u *Upstream) resolve(ctx context.Context) (*addresses, error) {
	if u.host == "" {
		return u.found.Load(), nil
	}
	set, q, err := u.ask()
	if q == nil {
		return set, err
	}
	var enough <-chan time.Time
	if set != nil {
		enough = time.After(patience)
	}
	select {
	case <-q.done:
		return q.set, q.err
	case <-enough:
		return set, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ask returns the addresses that are known, and the question where the name leads
// now, unless it need not be asked yet. Of a name that leads nowhere it returns
// no addresses.
func (u *Upstream) ask() (*addresses, *question, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now, set := time.Now(), u.found.Load()
	if _, _, gone := u.named.away(); gone {
		set = nil
	}
	if u.asking != nil {
		return set, u.asking, nil
	}
	if err := u.named.recent(now, lookAgain); err != nil {
		return nil, nil, err
	}
	if set != nil && now.Before(u.askAgain) {
		return set, nil, nil
	}
	u.asking = &question{done: make(chan struct{})}
	go u.look(u.asking, now) // not on behalf of one request, which may be given up
	return set, u.asking, nil
}

// look answers a question.
func (u *Upstream) look(q *question, start time.Time) {
	targets, err := u.targets()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.asking = nil
	q.set, q.err = u.learn(targets, err, start)
	close(q.done)
}

// learn takes in what a lookup found. That the name server does not answer says
// nothing of the processes; that it knows no such name does.
func (u *Upstream) learn(targets []string, err error, start time.Time) (*addresses, error) {
	now := time.Now()
	took := now.Sub(start)
	since, _, gone := u.named.away()
	if err == nil {
		u.askAgain = now.Add(fresh)
		if u.named.reached(now) || u.unsure {
			u.log.Info("the name of an upstream leads somewhere now", "upstream", u.Name)
		}
		u.unsure = false
		return u.keepReturned(targets, gone && now.Sub(since) > briefAbsence, now), nil
	}
	set := u.found.Load()
	var dns *net.DNSError
	if set != nil && !gone && !(errors.As(err, &dns) && dns.IsNotFound) {
		u.askAgain = now.Add(max(fresh, 2*took))
		if !u.unsure {
			u.log.Warn("the name of an upstream cannot be looked up; it is asked where it was", "upstream", u.Name, "error", err.Error())
		}
		u.unsure = true
		return set, nil
	}
	if u.named.refused(err, took, now) {
		u.log.Warn("the name of an upstream leads nowhere", "upstream", u.Name, "error", err.Error())
	}
	return nil, err
}

// keepReturned is keep for processes that have been away, all of them or the one
// at some address: under a new address it is as new to its work as under the old.
func (u *Upstream) keepReturned(targets []string, all bool, now time.Time) *addresses {
	before := u.found.Load()
	set := u.keep(targets)
	if before == nil {
		return set
	}
	some := slices.ContainsFunc(before.list, wasAway)
	for _, a := range set.list {
		if all || some && !slices.Contains(before.list, a) {
			a.health.returned.Store(moment(now))
		}
	}
	return set
}

func wasAway(a *address) bool {
	_, _, away := a.health.away()
	return away
}

// targets asks the system where the name leads. Its errors are those of a dial,
// for nothing can have been sent.
func (u *Upstream) targets() ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), u.dialer.Timeout)
	defer cancel()
	found, err := u.lookup(ctx, "ip", u.host)
	if err == nil && len(found) == 0 {
		err = &net.DNSError{Err: "no such host", Name: u.host, IsNotFound: true}
	}
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: u.network, Err: err}
	}
	var targets []string
	for _, ip := range found {
		targets = append(targets, net.JoinHostPort(ip.Unmap().String(), u.port))
	}
	slices.Sort(targets)
	targets = slices.Compact(targets)
	return targets[:min(len(targets), maxAddresses)], nil
}
