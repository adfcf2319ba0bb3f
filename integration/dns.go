//go:build integration

package integration

import (
	"fmt"
	"net"
	"strings"

	"github.com/miekg/dns"
)

const (
	nameServerAddress = "127.0.0.53"
	frontDoorAddress  = "127.1.0.1"
	synapseAddress    = "127.2.0.1"
	peerAddress       = "127.1.0.2"
)

// nameServer answers for the whole world of the laboratory. hs1.test and every
// name below it is the front door, hs2.test another homeserver; names that begin with "matrix-synapse" are
// MDAD's containers. Nothing has an AAAA, SRV or other record, and that is said
// at once: Twisted waits a minute for a name server that is silent about SRV,
// and takes SERVFAIL for an unreachable destination.
type nameServer struct {
	server *dns.Server
}

func startNameServer() (*nameServer, error) {
	address := net.JoinHostPort(nameServerAddress, "53")
	socket, err := net.ListenPacket("udp", address)
	if err != nil {
		return nil, fmt.Errorf("starting the name server: %w", err)
	}
	n := &nameServer{server: &dns.Server{PacketConn: socket, Handler: dns.HandlerFunc(answerName)}}
	go n.server.ActivateAndServe()
	return n, nil
}

func (n *nameServer) stop() error { return n.server.Shutdown() }

func answerName(w dns.ResponseWriter, query *dns.Msg) {
	answer := new(dns.Msg).SetReply(query)
	answer.Authoritative = true
	question := query.Question[0]
	address := addressOf(question.Name)
	switch {
	case address == "":
		answer.Rcode = dns.RcodeNameError
	case question.Qtype == dns.TypeA:
		header := dns.RR_Header{Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}
		answer.Answer = []dns.RR{&dns.A{Hdr: header, A: net.ParseIP(address)}}
	}
	w.WriteMsg(answer)
}

// addressOf is the address of a name, "" when there is no such name.
func addressOf(name string) string {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	switch {
	case strings.HasPrefix(name, "_"):
		return ""
	case name == serverName, strings.HasSuffix(name, "."+serverName):
		return frontDoorAddress
	case name == peerName:
		return peerAddress
	case strings.HasPrefix(name, "matrix-synapse"):
		return synapseAddress
	default:
		return ""
	}
}
