package acme

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// resolver asks DNS servers. It keeps nothing: an answer, and an error above all,
// is only good for the question.
type resolver struct {
	// servers are recursive, "address:port"; empty for the system's.
	servers []string
	timeout time.Duration // of one exchange
	port    string        // of authoritative servers
}

// aliasMax bounds how many CNAMEs are followed.
const aliasMax = 8

// resolvConf is where the system names its DNS servers.
const resolvConf = "/etc/resolv.conf"

func (r *resolver) recursive() ([]string, error) {
	if len(r.servers) > 0 {
		return r.servers, nil
	}
	config, err := dns.ClientConfigFromFile(resolvConf)
	if err != nil || len(config.Servers) == 0 {
		return nil, newFault("set `resolvers` of the challenge, such as [\"192.0.2.53:53\"]", "this system names no DNS server in %s", resolvConf)
	}
	servers := make([]string, len(config.Servers))
	for i, server := range config.Servers {
		servers[i] = net.JoinHostPort(server, config.Port)
	}
	return servers, nil
}

// lookup asks the recursive servers one after the other until one has an answer,
// be it that there is no such name.
func (r *resolver) lookup(ctx context.Context, name string, kind uint16) (*dns.Msg, error) {
	servers, err := r.recursive()
	if err != nil {
		return nil, err
	}
	var last error
	for _, server := range servers {
		reply, err := r.ask(ctx, server, name, kind)
		if err == nil {
			return reply, nil
		}
		last = err
		if ctx.Err() != nil {
			break
		}
	}
	hint := "check `resolvers` of the challenge, or /etc/resolv.conf"
	return nil, newFault(hint, "no DNS server knows whether %s has %s records (asked %s)", name, dns.TypeToString[kind], strings.Join(servers, ", ")).because(last)
}

// ask asks one recursive server over UDP and, when that brings nothing or too
// much, over TCP.
func (r *resolver) ask(ctx context.Context, server, name string, kind uint16) (*dns.Msg, error) {
	reply, err := r.exchange(ctx, "udp", server, name, kind, true)
	if err != nil || reply.Truncated {
		reply, err = r.exchange(ctx, "tcp", server, name, kind, true)
	}
	if err == nil && reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError {
		err = fmt.Errorf("%s answers %s", server, dns.RcodeToString[reply.Rcode])
	}
	return reply, err
}

// exchange asks one question, 1232 bytes being what UDP carries everywhere (DNS
// flag day 2020).
func (r *resolver) exchange(ctx context.Context, network, server, name string, kind uint16, recurse bool) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	question := new(dns.Msg).SetQuestion(dns.Fqdn(name), kind)
	question.RecursionDesired = recurse
	question.SetEdns0(1232, false)
	client := dns.Client{Net: network, Timeout: r.timeout}
	reply, _, err := client.ExchangeContext(ctx, question, server)
	if isTimeout(err) || errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("%s does not answer", server)
	}
	return reply, err
}

// records are the answers of a type, wherever aliases led.
func records[T dns.RR](reply *dns.Msg) []T {
	var found []T
	for _, rr := range reply.Answer {
		if wanted, ok := rr.(T); ok {
			found = append(found, wanted)
		}
	}
	return found
}

// alias is where a CNAME at a name leads in the end, "" if there is none. The
// alias of a wildcard does not count: it gives way to a record of the name.
func (r *resolver) alias(ctx context.Context, name string) (string, error) {
	target, err := r.cname(ctx, name)
	if target == "" || err != nil {
		return "", err
	}
	_, parent, _ := strings.Cut(name, ".")
	if beside, err := r.cname(ctx, "vestibule-"+strings.ToLower(rand.Text()[:8])+"."+parent); err != nil || beside == target {
		return "", err
	}
	for range aliasMax {
		next, err := r.cname(ctx, target)
		if err != nil {
			return "", err
		}
		if next == "" {
			return target, nil
		}
		target = next
	}
	return "", newFault("remove the CNAME at "+name, "the CNAMEs that begin at %s lead nowhere", name)
}

func (r *resolver) cname(ctx context.Context, name string) (string, error) {
	reply, err := r.lookup(ctx, name, dns.TypeCNAME)
	if err != nil {
		return "", err
	}
	for _, cname := range records[*dns.CNAME](reply) {
		if strings.EqualFold(cname.Hdr.Name, dns.Fqdn(name)) {
			return canonical(cname.Target), nil
		}
	}
	return "", nil
}

// isZone tells whether a zone begins at the name: only there is a SOA record
// (RFC 1034, section 4.2.1).
func (r *resolver) isZone(ctx context.Context, name string) (bool, error) {
	reply, err := r.lookup(ctx, name, dns.TypeSOA)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(records[*dns.SOA](reply), func(soa *dns.SOA) bool {
		return strings.EqualFold(soa.Hdr.Name, dns.Fqdn(name))
	}), nil
}

// nameServers are the hosts a zone is delegated to, as the Internet sees it.
func (r *resolver) nameServers(ctx context.Context, zone string) ([]string, error) {
	reply, err := r.lookup(ctx, zone, dns.TypeNS)
	if err != nil {
		return nil, err
	}
	var hosts []string
	for _, ns := range records[*dns.NS](reply) {
		hosts = append(hosts, canonical(ns.Ns))
	}
	slices.Sort(hosts)
	return slices.Compact(hosts), nil
}

// addresses are those of a host, of both families.
func (r *resolver) addresses(ctx context.Context, host string) ([]string, error) {
	var addresses []string
	var problems []error
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		reply, err := r.lookup(ctx, host, kind)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		for _, a := range records[*dns.A](reply) {
			addresses = append(addresses, a.A.String())
		}
		for _, aaaa := range records[*dns.AAAA](reply) {
			addresses = append(addresses, aaaa.AAAA.String())
		}
	}
	if len(addresses) > 0 {
		return addresses, nil
	}
	return nil, errors.Join(problems...)
}
