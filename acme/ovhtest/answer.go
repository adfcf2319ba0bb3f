package ovhtest

import (
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// maxAliases ends a chain of CNAMEs that goes in circles.
const maxAliases = 8

// answer looks the question up in the zones as they were published at a time,
// and follows aliases from zone to zone.
func (n *nameServer) answer(query *dns.Msg, at time.Time) *dns.Msg {
	question := query.Question[0]
	if question.Qclass != dns.ClassINET || query.Opcode != dns.OpcodeQuery ||
		question.Qtype == dns.TypeAXFR || question.Qtype == dns.TypeIXFR {
		return n.failure(query, dns.RcodeRefused)
	}
	reply := n.begin(query)
	name := question.Name
	for range maxAliases {
		z := n.server.zoneOf(strings.ToLower(name))
		if z == nil {
			return n.outside(query, reply, name)
		}
		alias := n.look(z, at).into(reply, name, question.Qtype)
		if alias == "" {
			return reply
		}
		name = alias
	}
	return n.failure(query, dns.RcodeServerFailure)
}

// outside answers for a name that no zone holds: a resolver knows there is no
// such name, a name server stops at it.
func (n *nameServer) outside(query, reply *dns.Msg, name string) *dns.Msg {
	if n.index != Resolver {
		if len(reply.Answer) == 0 {
			return n.failure(query, dns.RcodeRefused)
		}
		return reply
	}
	if !n.server.above(strings.ToLower(name)) {
		reply.Rcode = dns.RcodeNameError
	}
	reply.Ns = []dns.RR{soa(".", "a.root-servers.net.", firstSerial)}
	return reply
}

// above tells whether a zone lies below the name.
func (s *Server) above(name string) bool {
	for zoneName := range s.zones {
		if dns.IsSubDomain(name, zoneName+".") {
			return true
		}
	}
	return false
}

// content is a zone as one server sees it.
type content struct {
	origin string // absolute
	soa    dns.RR
	rrs    []dns.RR
}

// look is the zone as the server sees it: the resolver goes by the delegation.
func (n *nameServer) look(z *zone, at time.Time) content {
	resolver := n.index == Resolver
	if resolver && !z.moved.IsZero() && z.moved.Before(at) {
		at = z.moved
	}
	p := z.published(at)
	c := content{origin: z.name + ".", soa: soa(z.name+".", nameServerName(0)+".", p.serial), rrs: slices.Clone(p.rrs)}
	if resolver && z.delegation != nil {
		c.delegate(z.delegation)
	}
	c.rrs = append(c.rrs, c.soa)
	return c
}

// delegate replaces the zone's own NS records.
func (c *content) delegate(hosts []string) {
	c.rrs = slices.DeleteFunc(c.rrs, func(rr dns.RR) bool {
		return rr.Header().Rrtype == dns.TypeNS && rr.Header().Name == c.origin
	})
	for _, host := range hosts {
		header := dns.RR_Header{Name: c.origin, Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: defaultTTL}
		c.rrs = append(c.rrs, &dns.NS{Hdr: header, Ns: host})
	}
}

// into adds to a reply what the zone has for a name and type. It returns the
// name to go on with if the name is an alias.
func (c content) into(reply *dns.Msg, name string, qtype uint16) string {
	owner, exists := c.source(strings.ToLower(name))
	if alias := c.alias(owner); alias != nil && qtype != dns.TypeCNAME && qtype != dns.TypeANY {
		reply.Answer = append(reply.Answer, owned(alias, name))
		return alias.Target
	}
	found := false
	for _, rr := range c.rrs {
		if rr.Header().Name == owner && (rr.Header().Rrtype == qtype || qtype == dns.TypeANY) {
			reply.Answer = append(reply.Answer, owned(rr, name))
			found = true
		}
	}
	if !found {
		reply.Ns = []dns.RR{c.soa}
	}
	if !exists {
		reply.Rcode = dns.RcodeNameError
	}
	return ""
}

// source is the name whose records answer for a name: its own, or a wildcard's
// (RFC 4592, 3.3.1). A name without records exists when one below it does.
func (c content) source(name string) (owner string, exists bool) {
	if c.has(name) {
		return name, true
	}
	encloser := name
	for encloser != c.origin {
		off, _ := dns.NextLabel(encloser, 0)
		encloser = encloser[off:]
		if c.has(encloser) {
			break
		}
	}
	wildcard := "*." + encloser
	if c.has(wildcard) {
		return wildcard, true
	}
	return name, false
}

func (c content) has(name string) bool {
	return slices.ContainsFunc(c.rrs, func(rr dns.RR) bool { return dns.IsSubDomain(name, rr.Header().Name) })
}

// alias is the CNAME of a name. It hides whatever stands beside it: RFC 1034,
// 3.6.2, allows nothing there, OVHcloud's API does.
func (c content) alias(name string) *dns.CNAME {
	for _, rr := range c.rrs {
		if cname, ok := rr.(*dns.CNAME); ok && cname.Hdr.Name == name {
			return cname
		}
	}
	return nil
}

// owned is a copy of a record for the name as it was asked for.
func owned(rr dns.RR, name string) dns.RR {
	rr = dns.Copy(rr)
	rr.Header().Name = name
	return rr
}

// The times of a zone's SOA record, in seconds. The last says how long a
// missing name may be remembered.
const (
	soaRefresh = 86400
	soaRetry   = 3600
	soaExpire  = 3600000
	soaMinimum = 60
)

func soa(origin, server string, serial uint32) dns.RR {
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: origin, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: soaMinimum},
		Ns:  server, Mbox: "tech.ovh.net.", Serial: serial,
		Refresh: soaRefresh, Retry: soaRetry, Expire: soaExpire, Minttl: soaMinimum,
	}
}
