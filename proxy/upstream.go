package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"vestibule/configs"
)

// errMaxConns is returned by take when max_conns are open.
var errMaxConns = errors.New("all connections that max_conns allows are in use")

// Upstream is a URL of the configuration and the addresses its host leads to.
type Upstream struct {
	// Name is the URL; a metric label.
	Name    string
	network string
	host    string // to look up; "" when the address is known
	port    string
	tls     *tls.Config
	max     int64
	dialer  net.Dialer
	lookup  lookup
	log     *slog.Logger
	stall   func() time.Duration // how long it may read nothing; nil for ever
	budget  *budget              // of all upstreams; nil for none
	synapse atomic.Bool          // a process of Synapse, which answers /health
	main    atomic.Bool          // the main process, whose release counts
	stop    context.CancelFunc   // ends the probes

	open     atomic.Int64 // connections, used or idle
	busy     atomic.Int64 // requests, at addresses of before as well
	standIns atomic.Int64 // requests for which its pool stands in for another class
	named    health       // whether the name leads anywhere
	found    atomic.Pointer[addresses]

	mu       sync.Mutex
	asking   *question // where the name leads, while that is looked up
	askAgain time.Time // not before then, when addresses are known
	unsure   bool      // the name server did not answer, so that they are those it gave before
	retired  bool
}

// newUpstream prepares an upstream; it does not dial.
func newUpstream(u configs.Upstream, id upstreamID, find lookup, log *slog.Logger) (*Upstream, error) {
	up := &Upstream{Name: u.URL, network: u.Network(), max: int64(u.MaxConns), lookup: find, log: log, stop: func() {},
		dialer: net.Dialer{Timeout: id.connect, KeepAlive: 30 * time.Second}}
	if err := up.locate(u.Address()); err != nil {
		return nil, err
	}
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

// locate keeps an address that needs no looking up, or the name that does.
func (u *Upstream) locate(target string) error {
	if u.network == "unix" {
		u.keep([]string{target})
		return nil
	}
	host, port, err := net.SplitHostPort(target)
	if err != nil {
		return fmt.Errorf("reading the address of upstream %s: %w", u.Name, err)
	}
	if host == "" {
		return fmt.Errorf("reading the address of upstream %q: it names no host", u.Name)
	}
	if _, err := netip.ParseAddr(host); err == nil {
		u.keep([]string{target})
		return nil
	}
	u.host, u.port = host, port
	return nil
}

// take returns a connection to the address that c chooses.
func (u *Upstream) take(ctx context.Context, c *choosing) (*conn, error) {
	if set := u.found.Load(); set != nil {
		a := set.choose(c)
		a.begin()
		if got := a.reuse(); got != nil {
			return got, nil
		}
		a.end()
	}
	set, err := u.resolve(ctx)
	if err != nil {
		return nil, err
	}
	return set.choose(c).take(ctx)
}

// openToUpstream is what is counted here.
const openToUpstream = "connections to an upstream"

// reserve counts a connection to be opened, unless there may be no more. An idle
// one to another address makes room: it keeps nobody waiting.
func (u *Upstream) reserve() error {
	for n := u.open.Add(1); u.max > 0 && n > u.max; n = u.open.Add(1) {
		countDown(&u.open, openToUpstream)
		if !u.closeIdle() {
			return errMaxConns
		}
	}
	if u.budget != nil && !u.budget.take() {
		countDown(&u.open, openToUpstream)
		return errFiles
	}
	return nil
}

// closeIdle closes one connection that is idle, and says whether there was one.
func (u *Upstream) closeIdle() bool {
	set := u.found.Load()
	if set == nil {
		return false
	}
	for _, a := range set.list {
		if c := a.pop(); c != nil {
			c.close()
			return true
		}
	}
	return false
}

func (u *Upstream) unreserve() {
	countDown(&u.open, openToUpstream)
	if u.budget != nil {
		u.budget.give()
	}
}

// full says whether all the connections that max_conns allows are in use.
func (u *Upstream) full() bool { return u.max > 0 && u.busy.Load() >= u.max }

// inflight is how many requests are under way.
func (u *Upstream) inflight() (n int64) {
	set := u.found.Load()
	if set == nil {
		return 0
	}
	for _, a := range set.list {
		n += a.inflight.Load()
	}
	return n
}

// suits says whether one of the addresses suits, if all are known.
func (u *Upstream) suits(c *choosing) bool {
	if u.full() || !u.named.ready(c.now) {
		return false
	}
	set := u.found.Load()
	if set == nil {
		return true
	}
	for _, a := range set.list {
		if c.suits(&a.health) {
			return true
		}
	}
	return false
}

// away is since when nobody has listened, and why; false when somebody does or
// nothing is known.
func (u *Upstream) away() (since time.Time, err error, away bool) {
	set := u.found.Load()
	if since, err, away = u.named.away(); away || set == nil {
		return since, err, away
	}
	since, err = time.Time{}, nil // for those of the name are over
	for _, a := range set.list {
		at, why, gone := a.health.away()
		if !gone {
			return time.Time{}, nil, false
		}
		if at.After(since) {
			since, err = at, why
		}
	}
	return since, err, true
}

// health is "up", "down" or, before anything was seen, "unknown", and why it is
// down.
func (u *Upstream) health(now time.Time) (word, why string) {
	if word, why = u.named.word(now); word == "down" {
		return word, why
	}
	set := u.found.Load()
	if set == nil {
		return "unknown", ""
	}
	word = "unknown"
	for _, a := range set.list {
		switch w, reason := a.health.word(now); {
		case w == "up":
			return "up", ""
		case w == "down":
			word, why = w, reason
		}
	}
	return word, why
}

// status describes the upstream as it is now.
func (u *Upstream) status(now time.Time) UpstreamStatus {
	s := UpstreamStatus{URL: u.Name, Requests: u.inflight(), Connections: u.open.Load()}
	s.Health, s.Error = u.health(now)
	set := u.found.Load()
	if set == nil || len(set.list) == 1 {
		return s
	}
	for _, a := range set.list {
		word, why := a.health.word(now)
		s.Addresses = append(s.Addresses, AddressStatus{a.target, word, why})
	}
	return s
}

// retire ends the probes and closes what is idle; connections in use are closed
// when they come back. For upstreams a new configuration no longer names.
func (u *Upstream) retire() {
	u.stop()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.retired = true
	if set := u.found.Load(); set != nil {
		for _, a := range set.list {
			a.retire()
		}
	}
}

// log is for news of the address.
func (a *address) log() *slog.Logger {
	if a.up.host == "" {
		return a.up.log.With("upstream", a.up.Name)
	}
	return a.up.log.With("upstream", a.up.Name, "address", a.target)
}

// absent says whether a dial failed, so that the request cannot have reached
// anybody. It is what happens while a process or its container restarts: nobody
// listens, or the name is gone for the moment, or its address leads nowhere.
func absent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}
