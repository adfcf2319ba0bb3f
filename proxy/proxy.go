package proxy

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"vestibule/configs"
	"vestibule/routing"
)

// Proxy answers requests with the table it was last given. It is safe for use
// by many goroutines; the zero Proxy is not valid, use New.
type Proxy struct {
	state     atomic.Pointer[state]
	metrics   *Metrics
	log       *slog.Logger
	accessLog *accessLog
	streams   *streams
	whoami    *whoami
	lookup    lookup
	caps      turnstiles
	budget    budget // of connections to upstreams
	unprobed  bool   // upstreams are not probed, in tests

	compressors compressors

	mu        sync.Mutex
	upstreams map[upstreamID]*Upstream
	releases  map[string]routing.Release // that sites run, as far as is known; never changed, only replaced
	closed    bool
}

// state is everything a request needs that a configuration decides. It is
// never changed, only replaced.
type state struct {
	cfg        *configs.Config
	table      *routing.Table
	pools      []*pool
	locals     map[string]Local           // by server_name
	turnstiles map[turnstileID]*turnstile // nil when nothing is bounded
	// releases of Synapse that the table was made for, by server_name.
	releases map[string]routing.Release
	// authorities are what the files held that ca_file names, by path.
	authorities map[string]string
	metrics     *Metrics
	access      bool
	// trusted are the addresses whose forwarding headers are believed, and
	// defaults the hosts meant by clients that name none, by role.
	trusted  [3][]netip.Prefix
	defaults [3]string
}

// upstreamID is what makes two upstreams of two configurations the same one,
// whose connections live on.
type upstreamID struct {
	url, serverName string
	roots           string // what ca_file holds, PEM; "" for the system's
	maxConns        int
	connect         time.Duration
}

// identifyUpstream reads ca_file once for each state, so that a new authority is
// not overlooked because its file has the old name.
func (st *state) identifyUpstream(u configs.Upstream) (upstreamID, error) {
	id := upstreamID{url: u.URL, serverName: u.ServerName, maxConns: u.MaxConns, connect: st.cfg.Timeouts.Connect.Std()}
	if u.CAFile == "" {
		return id, nil
	}
	if roots, ok := st.authorities[u.CAFile]; ok {
		id.roots = roots
		return id, nil
	}
	roots, err := os.ReadFile(u.CAFile)
	if err != nil {
		return id, fmt.Errorf("reading ca_file of upstream %s: %w", u.URL, err)
	}
	id.roots = string(roots)
	st.authorities[u.CAFile] = id.roots
	return id, nil
}

// New returns a Proxy that has nothing to serve yet: call Apply first. To requests
// a line of JSON is written for each request that has ended; several may come in one
// Write, and never a part of one. All else goes to log.
func New(metrics *Metrics, log *slog.Logger, requests io.Writer) *Proxy {
	p := &Proxy{metrics: metrics, log: log, accessLog: newAccessLog(requests), whoami: newWhoami(metrics), streams: newStreams(),
		lookup: net.DefaultResolver.LookupNetIP, upstreams: map[upstreamID]*Upstream{}, releases: map[string]routing.Release{}}
	p.budget.most, p.budget.spare = int64(maxConnections()), p.spareConnection
	return p
}

// Apply makes a configuration the one that new requests are served by. locals
// answers for the documents of each site. On an error nothing has changed.
func (p *Proxy) Apply(cfg *configs.Config, locals map[string]Local) error {
	swap, err := p.Prepare(cfg, locals)
	if err != nil {
		return err
	}
	swap()
	return nil
}

// Prepare does everything of Apply that can fail; swap does the rest. Nobody
// else may prepare in between.
func (p *Proxy) Prepare(cfg *configs.Config, locals map[string]Local) (swap func(), err error) {
	p.mu.Lock()
	releases, had := p.releases, p.upstreams
	p.mu.Unlock()
	st := &state{cfg: cfg, locals: locals, releases: releases, authorities: map[string]string{}}
	used, err := p.build(st, had)
	if err != nil {
		return nil, err
	}
	return func() { p.swap(st, used) }, nil
}

// build completes a state from its configuration, with those of the upstreams it
// had that it names as well, and returns all that it uses.
func (p *Proxy) build(st *state, had map[upstreamID]*Upstream) (used map[upstreamID]*Upstream, err error) {
	if st.table, err = routing.NewFor(st.cfg, st.releases); err != nil {
		return nil, err
	}
	st.metrics, st.access = p.metrics, st.cfg.Logging.Access
	st.readEntrypoints()
	st.turnstiles = p.caps.of(st.cfg)
	used = map[upstreamID]*Upstream{}
	for _, rp := range st.table.Pools {
		pl, err := p.buildPool(st, rp, used, had)
		if err != nil {
			return nil, fmt.Errorf("building pool %s: %w", rp.Name, err)
		}
		st.pools = append(st.pools, pl)
	}
	return used, nil
}

func (p *Proxy) swap(st *state, used map[upstreamID]*Upstream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, u := range p.upstreams {
		if used[id] == nil {
			u.retire()
		}
	}
	for id, u := range used {
		if p.upstreams[id] == nil && !p.unprobed && !p.closed {
			p.watch(u)
		}
	}
	p.upstreams = used
	p.use(st)
	p.follow()
	p.drainAfter(st.cfg.Timeouts.Grace.Std())
}

// use serves new requests by a state.
func (p *Proxy) use(st *state) {
	p.caps.use(st.cfg)
	p.state.Store(st)
	p.metrics.up.pools.Store(&st.pools)
}

// watch begins to probe an upstream.
func (p *Proxy) watch(u *Upstream) {
	ctx, cancel := context.WithCancel(context.Background())
	u.stop = cancel
	go u.watch(ctx, p.noticed)
}

// readEntrypoints notes whom to believe, and which host is meant by who names none.
func (st *state) readEntrypoints() {
	e := &st.cfg.Entrypoints
	for role, entrypoint := range map[routing.Entrypoint]*configs.Entrypoint{
		routing.HTTPS: &e.HTTPS, routing.Federation: &e.Federation, routing.Internal: {},
	} {
		st.trusted[role] = trustedProxies(st.cfg, role)
		st.defaults[role] = defaultHost(st.cfg, role, entrypoint)
	}
}

// defaultHost is the host whose certificate a client is shown that names none.
// A server that followed SRV records wants the one for the server name.
func defaultHost(cfg *configs.Config, role routing.Entrypoint, e *configs.Entrypoint) string {
	site := cfg.Site(e.DefaultSite)
	if site == nil && len(cfg.Sites) > 0 {
		site = cfg.Sites[0]
	}
	switch {
	case site == nil:
		return ""
	case role == routing.Federation && site.Federation.Delegation == "srv":
		return site.ServerName
	}
	return site.Host
}

func (p *Proxy) buildPool(st *state, rp *routing.Pool, used, had map[upstreamID]*Upstream) (*pool, error) {
	pl := &pool{Pool: rp, synapse: IsSynapse(rp.Class), hold: Hold(st.cfg, rp)}
	if site := st.cfg.Site(rp.Site); site != nil && pl.synapse {
		pl.maxUpload = site.Synapse.MaxUpload
	}
	var urls []string
	var weights []int
	for _, u := range rp.Upstreams {
		id, err := st.identifyUpstream(u)
		if err != nil {
			return nil, err
		}
		if used[id] == nil {
			used[id] = had[id]
		}
		if used[id] == nil {
			if used[id], err = newUpstream(u, id, p.lookup, p.log); err != nil {
				return nil, err
			}
			used[id].stall, used[id].budget = p.stall, &p.budget
		}
		if rp.Class == configs.ClassMain {
			used[id].main.Store(true)
		}
		if pl.synapse {
			used[id].synapse.Store(true)
		}
		weight := max(u.Weight, 1)
		pl.upstreams = append(pl.upstreams, used[id])
		pl.weights = append(pl.weights, int64(weight))
		urls, weights = append(urls, u.URL), append(weights, weight)
	}
	pl.ranks = routing.NewRendezvous(urls, weights)
	pl.standIns = &pl.upstreams[0].standIns
	return pl, nil
}

// Table is the table in use, for explain.
func (p *Proxy) Table() *routing.Table { return p.state.Load().table }

// Config is the configuration in use.
func (p *Proxy) Config() *configs.Config { return p.state.Load().cfg }

// PoolStatus is a pool as the status page shows it.
type PoolStatus struct {
	Name      string           `json:"name"`
	Site      string           `json:"site"`
	Class     string           `json:"class"`
	Upstreams []UpstreamStatus `json:"upstreams"`
}

// UpstreamStatus is what is known of an upstream from probes and connections.
type UpstreamStatus struct {
	URL         string `json:"url"`
	Health      string `json:"health"` // up, down or, before the first probe, unknown
	Error       string `json:"error,omitempty"`
	Requests    int64  `json:"requests"`    // under way
	Connections int64  `json:"connections"` // open, used or idle
	// Addresses are those a name leads to, when they are several.
	Addresses []AddressStatus `json:"addresses,omitempty"`
}

// AddressStatus is what is known of one address of an upstream.
type AddressStatus struct {
	Address string `json:"address"`
	Health  string `json:"health"`
	Error   string `json:"error,omitempty"`
}

// Pools describes the pools in use.
func (p *Proxy) Pools() []PoolStatus {
	var out []PoolStatus
	for _, pl := range p.state.Load().pools {
		s := PoolStatus{Name: pl.Name, Site: pl.Site, Class: string(pl.Class)}
		for _, u := range pl.upstreams {
			s.Upstreams = append(s.Upstreams, u.status(time.Now()))
		}
		out = append(out, s)
	}
	return out
}

// finish waits until no request is under way, but no longer than until.
func (p *Proxy) finish(until time.Time) {
	for p.metrics.inflight.Load() > 0 && time.Now().Before(until) {
		time.Sleep(5 * time.Millisecond)
	}
}

// Close closes the idle connections to upstreams and cuts what has no end of its
// own.
func (p *Proxy) Close() {
	p.streams.close()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, u := range p.upstreams {
		u.retire()
	}
}
