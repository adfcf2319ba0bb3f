package ovhtest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

// Behaviour is how a name server answers.
type Behaviour int

// The behaviours of SetNameServer and SetResolver.
const (
	Fresh     Behaviour = iota // as the zones are published
	Stale                      // as they were when it was made stale
	Refused                    // REFUSED, as for a zone it does not have
	ServFail                   // SERVFAIL
	NXDomain                   // NXDOMAIN, whatever the name
	BlackHole                  // nothing, over UDP and TCP
	Truncate                   // the TC bit and nothing else over UDP, the answer over TCP
	TCPOnly                    // nothing over UDP, the answer over TCP
	UDPOnly                    // nothing over TCP, the answer over UDP
)

// Resolver is the Server of queries that went to the resolver.
const Resolver = -1

// Query is a question that a name server or the resolver heard.
type Query struct {
	Time    time.Time
	Server  int    // the name server's index, or Resolver
	Network string // "udp" or "tcp"
	Name    string // as asked, with its dot
	Type    string // "TXT"
}

// nameServer listens on one address, over UDP and TCP. Server.mu guards how it
// behaves.
type nameServer struct {
	server  *Server
	index   int // Resolver for the resolver
	address netip.Addr
	udp     *dns.Server
	tcp     *dns.Server

	behaviour Behaviour
	since     time.Time
	delay     time.Duration
}

// startNameServers opens all sockets on one port. A free port for the first
// may be taken on another address, so it tries a few.
func (s *Server) startNameServers(o Options) error {
	addresses, err := dnsAddresses(o)
	if err != nil {
		return err
	}
	const attempts = 20
	for range attempts {
		err = s.listen(addresses, o.DNSPort)
		if err == nil {
			break
		}
		if o.DNSPort != 0 || !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
	}
	if err != nil {
		return err
	}
	for _, n := range s.everyNameServer() {
		s.served.Go(func() { _ = n.udp.ActivateAndServe() })
		s.served.Go(func() { _ = n.tcp.ActivateAndServe() })
	}
	return nil
}

// dnsAddresses are those of the name servers, and last the resolver's.
func dnsAddresses(o Options) ([]netip.Addr, error) {
	texts := slices.Clone(o.NameServerAddresses)
	count := max(o.NameServers, len(texts))
	if count == 0 {
		count = 2
	}
	for i := len(texts); i < count; i++ {
		texts = append(texts, fmt.Sprintf("127.0.0.%d", i+1))
	}
	if o.ResolverAddress == "" {
		o.ResolverAddress = fmt.Sprintf("127.0.0.%d", count+1)
	}
	var addresses []netip.Addr
	for _, text := range append(texts, o.ResolverAddress) {
		address, err := netip.ParseAddr(text)
		if err != nil {
			return nil, err
		}
		addresses = append(addresses, address)
	}
	return addresses, nil
}

// listen opens every address on a port, on the first one's if it is 0.
func (s *Server) listen(addresses []netip.Addr, port int) error {
	s.nameServers, s.resolver = nil, nil
	for i, address := range addresses {
		n := &nameServer{server: s, index: i, address: address}
		if err := n.listen(port); err != nil {
			for _, open := range s.nameServers {
				open.closeSockets()
			}
			return err
		}
		port = int(n.addrPort().Port())
		if i == len(addresses)-1 {
			n.index = Resolver
			s.resolver = n
			return nil
		}
		s.nameServers = append(s.nameServers, n)
	}
	return nil
}

// listen takes TCP first, as a free port is rarer there.
func (n *nameServer) listen(port int) error {
	stream, err := net.Listen("tcp", netip.AddrPortFrom(n.address, uint16(port)).String())
	if err != nil {
		return err
	}
	packets, err := net.ListenPacket("udp", stream.Addr().String())
	if err != nil {
		return errors.Join(err, stream.Close())
	}
	n.tcp = &dns.Server{Listener: stream, Handler: n}
	n.udp = &dns.Server{PacketConn: packets, Handler: n}
	return nil
}

func (n *nameServer) addrPort() netip.AddrPort {
	return n.tcp.Listener.Addr().(*net.TCPAddr).AddrPort()
}

func (n *nameServer) closeSockets() {
	_ = n.tcp.Listener.Close()
	_ = n.udp.PacketConn.Close()
}

// close stops both servers, whether they have begun to serve or not.
func (n *nameServer) close() {
	_ = n.tcp.Shutdown()
	_ = n.udp.Shutdown()
	n.closeSockets()
}

func (s *Server) everyNameServer() []*nameServer {
	if s.resolver == nil {
		return nil
	}
	return append(slices.Clone(s.nameServers), s.resolver)
}

// NameServers are the addresses of the name servers, such as "127.0.0.1:4053".
// They are ns1.ovh.net, ns2.ovh.net and so on, know the zones and refuse to
// speak of others.
func (s *Server) NameServers() []string {
	var addresses []string
	for _, n := range s.nameServers {
		addresses = append(addresses, n.addrPort().String())
	}
	return addresses
}

// Resolver is the address of a resolver for which the zones are the whole
// world. It caches nothing.
func (s *Server) Resolver() string { return s.resolver.addrPort().String() }

// DNSPort is the port of the name servers and of the resolver.
func (s *Server) DNSPort() string { return strconv.Itoa(int(s.resolver.addrPort().Port())) }

// SetNameServer sets how a name server behaves from now on.
func (s *Server) SetNameServer(i int, b Behaviour) { s.nameServers[i].set(b) }

// SetResolver sets how the resolver behaves from now on.
func (s *Server) SetResolver(b Behaviour) { s.resolver.set(b) }

// SetNameServerDelay makes a name server see what is published that much later
// than others do.
func (s *Server) SetNameServerDelay(i int, delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nameServers[i].delay = delay
}

func (n *nameServer) set(b Behaviour) {
	n.server.mu.Lock()
	defer n.server.mu.Unlock()
	n.behaviour, n.since = b, time.Now()
}

// Queries are the questions heard so far.
func (s *Server) Queries() []Query {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.queries)
}

// ServeDNS answers a question.
func (n *nameServer) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	network := w.LocalAddr().Network()
	n.server.mu.Lock()
	n.log(network, query)
	reply := n.reply(network, query)
	n.server.mu.Unlock()
	if reply == nil {
		return
	}
	if network == "udp" {
		reply.Truncate(payload(query))
	}
	_ = w.WriteMsg(reply) // a client that went away no longer needs it
}

func (n *nameServer) log(network string, query *dns.Msg) {
	n.server.queries = append(n.server.queries, Query{
		Time: time.Now(), Server: n.index, Network: network,
		Name: query.Question[0].Name, Type: dns.TypeToString[query.Question[0].Qtype],
	})
}

// reply is nil when there is none.
func (n *nameServer) reply(network string, query *dns.Msg) *dns.Msg {
	at := time.Now().Add(-n.delay)
	switch n.behaviour {
	case BlackHole:
		return nil
	case TCPOnly, UDPOnly:
		if (n.behaviour == TCPOnly) != (network == "tcp") {
			return nil
		}
	case Truncate:
		if network == "udp" {
			reply := n.begin(query)
			reply.Truncated = true
			return reply
		}
	case Stale:
		at = n.since
	case Refused:
		return n.failure(query, dns.RcodeRefused)
	case ServFail:
		return n.failure(query, dns.RcodeServerFailure)
	case NXDomain:
		return n.failure(query, dns.RcodeNameError)
	}
	return n.answer(query, at)
}

// begin is a reply without records. Name servers set the RA bit too, so that a
// client that asks a resolver can be pointed to them.
func (n *nameServer) begin(query *dns.Msg) *dns.Msg {
	reply := new(dns.Msg).SetReply(query)
	reply.Authoritative = n.index != Resolver
	reply.RecursionAvailable = true
	if query.IsEdns0() != nil {
		reply.SetEdns0(1232, false)
	}
	return reply
}

func (n *nameServer) failure(query *dns.Msg, rcode int) *dns.Msg {
	reply := n.begin(query)
	reply.Authoritative = false
	reply.Rcode = rcode
	return reply
}

// payload is how many bytes of UDP the client takes (RFC 6891, 6.2.3).
func payload(query *dns.Msg) int {
	if edns := query.IsEdns0(); edns != nil {
		return max(dns.MinMsgSize, int(edns.UDPSize()))
	}
	return dns.MinMsgSize
}

func addressType(address netip.Addr) string {
	if address.Is4() {
		return "A"
	}
	return "AAAA"
}
