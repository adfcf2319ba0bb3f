package acme

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// propagation waits until the whole world sees a record. An authority may ask any
// of a zone's name servers, from several places at once, so every address of every
// server is asked directly, over UDP and TCP: one look at one server, or at a
// resolver, proves nothing.
type propagation struct {
	resolver *resolver
	zone     string
	name     string // of the record
	value    string
	first    time.Duration // between two looks; grows to max
	max      time.Duration
	timeout  time.Duration
	log      *slog.Logger
	say      func(string)
}

// agreements is how often in a row all servers must show the record: behind one
// address there may be several machines.
const agreements = 2

// server is an address of a name server.
type server struct{ host, address string }

func (s server) String() string { return s.host + " (" + s.address + ")" }

// view is what a look at all servers gave.
type view struct {
	showing, lacking, silent []server
}

func (v view) complete() bool { return len(v.lacking) == 0 && len(v.showing) > 0 }

func (v view) String() string {
	text := fmt.Sprintf("%d of %d name servers show the record", len(v.showing), len(v.showing)+len(v.lacking))
	if len(v.lacking) > 0 {
		text += "; not yet " + join(v.lacking)
	}
	if len(v.silent) > 0 {
		text += "; no answer from " + join(v.silent)
	}
	return text
}

func join(servers []server) string {
	texts := make([]string, len(servers))
	for i, s := range servers {
		texts[i] = s.String()
	}
	return strings.Join(texts, ", ")
}

// wait returns once every server that answers shows the record, twice in a row.
// Servers that do not answer are told of and do not count.
func (p *propagation) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	began := time.Now()
	servers, err := p.servers(ctx)
	for err != nil { // they were found just before the order, so it will pass
		select {
		case <-ctx.Done():
			return err
		case <-time.After(p.max):
			servers, err = p.servers(ctx)
		}
	}
	var last view
	agreed, said := 0, ""
	for pause := p.first; ; pause = min(pause*3/2, p.max) {
		last = p.look(ctx, servers)
		if ctx.Err() == nil && last.String() != said {
			said = last.String()
			p.say("waiting for DNS: " + said)
		}
		if agreed++; !last.complete() {
			agreed = 0
		}
		if agreed == agreements {
			p.log.InfoContext(ctx, "DNS record is seen everywhere", "zone", p.zone, "after", time.Since(began).Round(time.Millisecond).String(), "silent", join(last.silent))
			return nil
		}
		select {
		case <-ctx.Done():
			return p.late(ctx, last)
		case <-time.After(pause):
		}
	}
}

// late is the error of a wait that ended without success.
func (p *propagation) late(ctx context.Context, last view) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ctx.Err()
	}
	if len(last.showing)+len(last.lacking) == 0 {
		return newFault("let this machine reach port 53 of any address, over UDP and TCP; or set `resolvers` to what it can reach",
			"none of the name servers of %s answers: %s", p.zone, join(last.silent))
	}
	return newFault("raise propagation_timeout if the zone is merely slow; else ask OVH why its servers differ",
		"the DNS record was not seen everywhere within %s: %s", p.timeout, last)
}

// servers are all addresses of all name servers of the zone.
func (p *propagation) servers(ctx context.Context) ([]server, error) {
	hosts, err := p.resolver.nameServers(ctx, p.zone)
	if err != nil {
		return nil, err
	}
	var servers []server
	var problems []error
	for _, host := range hosts {
		addresses, err := p.resolver.addresses(ctx, host)
		if err != nil {
			problems = append(problems, err)
		}
		for _, address := range addresses {
			servers = append(servers, server{host, net.JoinHostPort(address, p.resolver.port)})
		}
	}
	if len(servers) == 0 {
		return nil, newFault("set the name servers of the zone at the registrar", "the name servers of %s have no address", p.zone).because(errors.Join(problems...))
	}
	return servers, nil
}

// look asks all servers at once. Where none can be reached because port 53 is closed
// to the outside, the resolvers that the operator names are believed instead; those
// of the system would hide a name server that lags behind.
func (p *propagation) look(ctx context.Context, servers []server) view {
	v := p.lookAt(ctx, servers, p.see)
	if len(v.showing)+len(v.lacking) > 0 || len(p.resolver.servers) == 0 {
		return v
	}
	var resolvers []server
	for _, address := range p.resolver.servers {
		resolvers = append(resolvers, server{"resolver", address})
	}
	instead := p.lookAt(ctx, resolvers, p.seeThrough)
	instead.silent = append(instead.silent, v.silent...)
	return instead
}

func (p *propagation) lookAt(ctx context.Context, servers []server, see func(context.Context, server) sight) view {
	results := make([]sight, len(servers))
	var tasks sync.WaitGroup
	for i, s := range servers {
		tasks.Go(func() { results[i] = see(ctx, s) })
	}
	tasks.Wait()
	var v view
	for i, s := range servers {
		switch results[i] {
		case shows:
			v.showing = append(v.showing, s)
		case lacks:
			v.lacking = append(v.lacking, s)
		default:
			v.silent = append(v.silent, s)
		}
	}
	return v
}

// sight is what a server said of the record.
type sight int

const (
	silent sight = iota // no answer, or none that counts
	lacks
	shows
)

// see asks one server over UDP and TCP. One that says different things does not
// show the record yet; one that answers over one of them only is as good as it.
func (p *propagation) see(ctx context.Context, s server) sight {
	var seen [2]sight
	var tasks sync.WaitGroup
	for i, network := range []string{"udp", "tcp"} {
		tasks.Go(func() { seen[i] = p.ask(ctx, network, s) })
	}
	tasks.Wait()
	if slices.Contains(seen[:], lacks) {
		return lacks
	}
	return max(seen[0], seen[1])
}

// ask asks one server once. Whoever is no authority for the zone does not count:
// a server the zone was taken from, or a resolver that stands in the way of all
// traffic to port 53.
func (p *propagation) ask(ctx context.Context, network string, s server) sight {
	reply, err := p.resolver.exchange(ctx, network, s.address, p.name, dns.TypeTXT, false)
	switch {
	case err != nil, reply.Truncated, !reply.Authoritative:
		return silent
	case reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError:
		return silent
	}
	return p.judge(reply)
}

// seeThrough asks a resolver.
func (p *propagation) seeThrough(ctx context.Context, s server) sight {
	reply, err := p.resolver.ask(ctx, s.address, p.name, dns.TypeTXT)
	if err != nil {
		return silent
	}
	return p.judge(reply)
}

func (p *propagation) judge(reply *dns.Msg) sight {
	for _, txt := range records[*dns.TXT](reply) {
		if strings.Join(txt.Txt, "") == p.value {
			return shows
		}
	}
	return lacks
}
