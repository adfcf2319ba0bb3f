package ovhtest_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"vestibule/acme/ovhtest"
)

// world is a server with every kind of name in it.
func world(t *testing.T) *ovhtest.Server {
	t.Helper()
	s := start(t, ovhtest.Options{
		Zones:        []string{"example.org", "matrix.example.org"},
		ForeignZones: []string{"org", "example.com"},
	})
	s.SetA("example.org", "192.0.2.1", "2001:db8::1")
	s.SetA("www.example.org", "192.0.2.2")
	s.SetA("a.b.c.example.org", "192.0.2.3")
	s.SetA("*.wild.example.org", "192.0.2.4")
	s.SetA("known.wild.example.org", "192.0.2.5")
	s.SetCNAME("*.alias.example.org", "www.example.org")
	s.SetA("matrix.example.org", "192.0.2.6")
	s.SetCNAME("_acme-challenge.example.org", "x.example.com")
	s.AddRecord("x.example.com", "TXT", "value")
	s.SetCNAME("away.example.org", "www.example.net")
	s.SetCNAME("lost.example.org", "missing.example.com")
	s.SetCNAME("ring.example.org", "ring2.example.org")
	s.SetCNAME("ring2.example.org", "ring.example.org")
	s.SetCAA("example.org", `0 issue "letsencrypt.org"`, `0 iodef "mailto:a@example.org"`)
	s.AddRecord("_matrix-fed._tcp.example.org", "SRV", "10 0 8448 matrix.example.org")
	return s
}

// show is a reply in a line: its code, AA if it has it, answers, and authority
// after a bar.
func show(m *dns.Msg) string {
	parts := []string{dns.RcodeToString[m.Rcode]}
	if m.Authoritative {
		parts = append(parts, "AA")
	}
	section := func(rrs []dns.RR) {
		var lines []string
		for _, rr := range rrs {
			value := strings.TrimPrefix(rr.String(), rr.Header().String())
			if soa, ok := rr.(*dns.SOA); ok {
				value = soa.Ns
			}
			lines = append(lines, rr.Header().Name+" "+dns.TypeToString[rr.Header().Rrtype]+" "+value)
		}
		slices.Sort(lines)
		parts = append(parts, lines...)
	}
	section(m.Answer)
	if len(m.Ns) > 0 {
		parts = append(parts, "|")
		section(m.Ns)
	}
	return strings.Join(parts, " ")
}

func TestAnswers(t *testing.T) {
	s := world(t)
	at := func(server, name string, qtype uint16, want string) {
		t.Helper()
		for _, network := range []string{"udp", "tcp"} {
			reply := ask(t, network, server, name, qtype)
			if got := show(reply); got != want {
				t.Errorf("%s %s over %s\ngot  %s\nwant %s", name, dns.TypeToString[qtype], network, got, want)
			}
			if !reply.RecursionAvailable {
				t.Errorf("%s %s: no RA", name, dns.TypeToString[qtype])
			}
		}
	}
	authority := func(name string, qtype uint16, want string) {
		t.Helper()
		for _, server := range s.NameServers() {
			at(server, name, qtype, want)
		}
	}
	resolver := func(name string, qtype uint16, want string) { t.Helper(); at(s.Resolver(), name, qtype, want) }

	// Own records, and the letters as they were asked for.
	authority("example.org.", dns.TypeA, "NOERROR AA example.org. A 192.0.2.1")
	authority("eXample.ORG.", dns.TypeAAAA, "NOERROR AA eXample.ORG. AAAA 2001:db8::1")
	authority("example.org.", dns.TypeCAA, `NOERROR AA example.org. CAA 0 iodef "mailto:a@example.org" example.org. CAA 0 issue "letsencrypt.org"`)
	authority("_matrix-fed._tcp.example.org.", dns.TypeSRV, "NOERROR AA _matrix-fed._tcp.example.org. SRV 10 0 8448 matrix.example.org.")
	resolver("www.example.org.", dns.TypeA, "NOERROR www.example.org. A 192.0.2.2")

	// Where zones begin.
	authority("example.org.", dns.TypeSOA, "NOERROR AA example.org. SOA ns1.ovh.net.")
	authority("example.org.", dns.TypeNS, "NOERROR AA example.org. NS ns1.ovh.net. example.org. NS ns2.ovh.net.")
	authority("www.example.org.", dns.TypeSOA, "NOERROR AA | example.org. SOA ns1.ovh.net.")
	authority("no.example.org.", dns.TypeSOA, "NXDOMAIN AA | example.org. SOA ns1.ovh.net.")
	authority("matrix.example.org.", dns.TypeSOA, "NOERROR AA matrix.example.org. SOA ns1.ovh.net.")
	authority("a.matrix.example.org.", dns.TypeTXT, "NXDOMAIN AA | matrix.example.org. SOA ns1.ovh.net.")
	authority("ns2.ovh.net.", dns.TypeA, "NOERROR AA ns2.ovh.net. A 127.0.0.2")

	// No such name, no such type, and names that exist only above others.
	authority("no.example.org.", dns.TypeA, "NXDOMAIN AA | example.org. SOA ns1.ovh.net.")
	authority("www.example.org.", dns.TypeTXT, "NOERROR AA | example.org. SOA ns1.ovh.net.")
	authority("c.example.org.", dns.TypeA, "NOERROR AA | example.org. SOA ns1.ovh.net.")
	authority("b.c.example.org.", dns.TypeA, "NOERROR AA | example.org. SOA ns1.ovh.net.")
	authority("z.c.example.org.", dns.TypeA, "NXDOMAIN AA | example.org. SOA ns1.ovh.net.")
	authority("_tcp.example.org.", dns.TypeSRV, "NOERROR AA | example.org. SOA ns1.ovh.net.")

	// Wildcards.
	authority("any.wild.example.org.", dns.TypeA, "NOERROR AA any.wild.example.org. A 192.0.2.4")
	authority("a.b.wild.example.org.", dns.TypeA, "NOERROR AA a.b.wild.example.org. A 192.0.2.4")
	authority("any.wild.example.org.", dns.TypeTXT, "NOERROR AA | example.org. SOA ns1.ovh.net.")
	authority("known.wild.example.org.", dns.TypeA, "NOERROR AA known.wild.example.org. A 192.0.2.5")
	authority("a.known.wild.example.org.", dns.TypeA, "NXDOMAIN AA | example.org. SOA ns1.ovh.net.")
	authority("any.alias.example.org.", dns.TypeA, "NOERROR AA any.alias.example.org. CNAME www.example.org. www.example.org. A 192.0.2.2")

	// Aliases.
	authority("_acme-challenge.example.org.", dns.TypeCNAME, "NOERROR AA _acme-challenge.example.org. CNAME x.example.com.")
	authority("_acme-challenge.example.org.", dns.TypeTXT, `NOERROR AA _acme-challenge.example.org. CNAME x.example.com. x.example.com. TXT "value"`)
	resolver("_acme-challenge.example.org.", dns.TypeTXT, `NOERROR _acme-challenge.example.org. CNAME x.example.com. x.example.com. TXT "value"`)
	authority("_acme-challenge.example.org.", dns.TypeA, "NOERROR AA _acme-challenge.example.org. CNAME x.example.com. | example.com. SOA ns1.ovh.net.")
	resolver("lost.example.org.", dns.TypeA, "NXDOMAIN lost.example.org. CNAME missing.example.com. | example.com. SOA ns1.ovh.net.")
	authority("away.example.org.", dns.TypeA, "NOERROR AA away.example.org. CNAME www.example.net.")
	resolver("away.example.org.", dns.TypeA, "NXDOMAIN away.example.org. CNAME www.example.net. | . SOA a.root-servers.net.")
	resolver("ring.example.org.", dns.TypeA, "SERVFAIL")

	// The rest of the world: a public suffix, and what there is not.
	resolver("org.", dns.TypeSOA, "NOERROR org. SOA ns1.ovh.net.")
	resolver("other.org.", dns.TypeSOA, "NXDOMAIN | org. SOA ns1.ovh.net.")
	resolver("com.", dns.TypeSOA, "NOERROR | . SOA a.root-servers.net.")
	resolver("example.net.", dns.TypeSOA, "NXDOMAIN | . SOA a.root-servers.net.")
	resolver(".", dns.TypeNS, "NOERROR | . SOA a.root-servers.net.")
	authority("example.net.", dns.TypeSOA, "REFUSED")
	authority("example.org.", dns.TypeAXFR, "REFUSED")
}

// The account takes a TXT beside a CNAME, and nobody sees it.
func TestTextBesideAlias(t *testing.T) {
	s := world(t)
	c := callerOf(s)
	c.record(t, "example.org", "TXT", "_acme-challenge", "hidden")
	c.refresh(t, "example.org")
	if got := texts(t, s.NameServers()[0], "_acme-challenge.example.org."); !slices.Equal(got, []string{"value"}) {
		t.Errorf("got %q", got)
	}
	s.SetCNAME("_acme-challenge.example.org", "")
	if got := texts(t, s.NameServers()[0], "_acme-challenge.example.org."); !slices.Equal(got, []string{"hidden"}) {
		t.Errorf("got %q", got)
	}
}

// Names in targets made through the API are relative without a dot.
func TestRelativeTarget(t *testing.T) {
	s := start(t, ovhtest.Options{})
	c := callerOf(s)
	c.record(t, "example.org", "CNAME", "relative", "www.example.com")
	c.record(t, "example.org", "CNAME", "full", "www.example.com.")
	c.refresh(t, "example.org")
	for name, want := range map[string]string{"relative": "www.example.com.example.org.", "full": "www.example.com."} {
		got := ask(t, "udp", s.Resolver(), name+".example.org.", dns.TypeCNAME).Answer[0].(*dns.CNAME).Target
		if got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

func TestSetReplaces(t *testing.T) {
	s := start(t, ovhtest.Options{})
	s.SetA("a.example.org", "192.0.2.1", "2001:db8::1")
	s.SetA("a.example.org", "192.0.2.2")
	s.SetCAA("a.example.org", `0 issue ";"`)
	s.SetCAA("a.example.org")
	var got []string
	for _, r := range s.Published("example.org")[2:] {
		got = append(got, r.FieldType+" "+r.Target)
	}
	if !slices.Equal(got, []string{"A 192.0.2.2"}) {
		t.Errorf("got %q", got)
	}
	for name, change := range map[string]func(){
		"no zone":    func() { s.SetA("a.example.net", "192.0.2.1") },
		"bad value":  func() { s.SetA("a.example.org", "example.net") },
		"not a zone": func() { s.SetNS("a.example.org", "ns1.ovh.net") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			change()
		}()
	}
}

// exchange returns the answer in a word: its code, "TC", its number of TXT, or
// "silence".
func exchange(t *testing.T, network, server, name string) string {
	t.Helper()
	client := dns.Client{Net: network, Timeout: 150 * time.Millisecond}
	reply, _, err := client.Exchange(new(dns.Msg).SetQuestion(name, dns.TypeTXT), server)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "silence"
	case err != nil:
		return err.Error()
	case reply.Truncated:
		return "TC"
	case reply.Rcode != dns.RcodeSuccess:
		return dns.RcodeToString[reply.Rcode]
	default:
		return fmt.Sprint(len(reply.Answer))
	}
}

func TestBehaviours(t *testing.T) {
	s := start(t, ovhtest.Options{NameServers: 3})
	const name = "a.example.org."
	s.AddRecord(name, "TXT", "one")
	try := func(b ovhtest.Behaviour, udp, tcp string) {
		t.Helper()
		s.SetNameServer(1, b)
		s.AddRecord(name, "TXT", "more")
		for network, want := range map[string]string{"udp": udp, "tcp": tcp} {
			if got := exchange(t, network, s.NameServers()[1], name); got != want {
				t.Errorf("%d over %s: got %s, want %s", b, network, got, want)
			}
		}
		fresh := fmt.Sprint(len(s.Published("example.org")) - 3)
		for _, other := range []string{s.NameServers()[0], s.NameServers()[2], s.Resolver()} {
			if got := exchange(t, "udp", other, name); got != fresh {
				t.Errorf("%d: the others got %s, want %s", b, got, fresh)
			}
		}
	}
	try(ovhtest.Stale, "1", "1")
	try(ovhtest.Fresh, "3", "3")
	try(ovhtest.Stale, "3", "3")
	try(ovhtest.Refused, "REFUSED", "REFUSED")
	try(ovhtest.ServFail, "SERVFAIL", "SERVFAIL")
	try(ovhtest.NXDomain, "NXDOMAIN", "NXDOMAIN")
	try(ovhtest.BlackHole, "silence", "silence")
	try(ovhtest.Truncate, "TC", "9")
	try(ovhtest.TCPOnly, "silence", "10")
	try(ovhtest.UDPOnly, "11", "silence")

	s.SetResolver(ovhtest.BlackHole)
	if got := exchange(t, "udp", s.Resolver(), name); got != "silence" {
		t.Errorf("the resolver: %s", got)
	}
}

// A name server may take longer than the others.
func TestNameServerDelay(t *testing.T) {
	s := start(t, ovhtest.Options{})
	s.SetNameServerDelay(1, time.Hour)
	s.AddRecord("a.example.org", "TXT", "value")
	if got := texts(t, s.NameServers()[0], "a.example.org."); !slices.Equal(got, []string{"value"}) {
		t.Errorf("the first: %q", got)
	}
	if got := texts(t, s.NameServers()[1], "a.example.org."); got != nil {
		t.Errorf("the second: %q", got)
	}
	s.SetNameServerDelay(1, 0)
	if got := texts(t, s.NameServers()[1], "a.example.org."); !slices.Equal(got, []string{"value"}) {
		t.Errorf("the second without delay: %q", got)
	}
}

// A zone delegated elsewhere is no longer what the account says it is.
func TestDelegation(t *testing.T) {
	s := start(t, ovhtest.Options{ForeignZones: []string{"elsewhere.example"}})
	c := callerOf(s)
	s.SetA("ns.elsewhere.example", "127.0.0.99")
	publish := func(text string) {
		t.Helper()
		c.record(t, "example.org", "TXT", "a", text)
		c.refresh(t, "example.org")
	}
	see := func(hosts string, want ...string) {
		t.Helper()
		if got := show(ask(t, "udp", s.Resolver(), "example.org.", dns.TypeNS)); got != "NOERROR "+hosts {
			t.Errorf("got %s, want %s", got, hosts)
		}
		if got := texts(t, s.Resolver(), "a.example.org."); !slices.Equal(got, want) {
			t.Errorf("the resolver sees %q, want %q", got, want)
		}
	}
	const ours = "example.org. NS ns1.ovh.net. example.org. NS ns2.ovh.net."
	publish("one")
	see(ours, "one")
	s.SetNS("example.org", "ns.elsewhere.example")
	publish("two")
	see("example.org. NS ns.elsewhere.example.", "one")
	if got := show(ask(t, "udp", s.NameServers()[0], "example.org.", dns.TypeNS)); got != "NOERROR AA "+ours {
		t.Errorf("our name server: %s", got)
	}
	if got := texts(t, s.NameServers()[0], "a.example.org."); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("our name server: %q", got)
	}
	s.SetNS("example.org", "ns.elsewhere.example", "NS2.ovh.net")
	see("example.org. NS ns.elsewhere.example. example.org. NS ns2.ovh.net.", "one", "two")
	s.SetNS("example.org")
	see(ours, "one", "two")
}

// More than fits goes over TCP, unless the client has room for it.
func TestTruncation(t *testing.T) {
	s := start(t, ovhtest.Options{})
	for i := range 8 {
		s.AddRecord("a.example.org", "TXT", strings.Repeat("x", 90)+fmt.Sprint(i))
	}
	query := new(dns.Msg).SetQuestion("a.example.org.", dns.TypeTXT)
	count := func(network string, udpSize uint16) string {
		t.Helper()
		q := query.Copy()
		if udpSize > 0 {
			q.SetEdns0(udpSize, false)
		}
		client := dns.Client{Net: network, Timeout: 5 * time.Second, UDPSize: 4096}
		reply, _, err := client.Exchange(q, s.NameServers()[0])
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(len(reply.Answer) == 8, " ", reply.Truncated, " ", reply.IsEdns0() != nil)
	}
	for _, c := range []struct {
		network string
		size    uint16
		want    string
	}{
		{"udp", 0, "false true false"},
		{"udp", 512, "false true true"},
		{"udp", 1232, "true false true"},
		{"tcp", 0, "true false false"},
	} {
		if got := count(c.network, c.size); got != c.want {
			t.Errorf("%s with %d bytes: got %s, want %s", c.network, c.size, got, c.want)
		}
	}
}

func TestQueries(t *testing.T) {
	s := start(t, ovhtest.Options{})
	ask(t, "udp", s.NameServers()[1], "a.example.org.", dns.TypeTXT)
	ask(t, "tcp", s.Resolver(), "Example.org.", dns.TypeCAA)
	got := s.Queries()
	for i := range got {
		got[i].Time = time.Time{}
	}
	want := []ovhtest.Query{
		{Server: 1, Network: "udp", Name: "a.example.org.", Type: "TXT"},
		{Server: ovhtest.Resolver, Network: "tcp", Name: "Example.org.", Type: "CAA"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v", got)
	}
}

// A program that is told the port finds the name servers by their names.
func TestOnePort(t *testing.T) {
	s := start(t, ovhtest.Options{NameServers: 3})
	var found []string
	for _, rr := range ask(t, "udp", s.Resolver(), "example.org.", dns.TypeNS).Answer {
		host := rr.(*dns.NS).Ns
		address := ask(t, "udp", s.Resolver(), host, dns.TypeA).Answer[0].(*dns.A).A.String()
		found = append(found, net.JoinHostPort(address, s.DNSPort()))
	}
	if !slices.Equal(found, s.NameServers()) {
		t.Errorf("found %q, want %q", found, s.NameServers())
	}
}
