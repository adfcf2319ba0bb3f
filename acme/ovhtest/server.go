// Package ovhtest is a stand-in for OVHcloud's DNS: the part of its HTTP API
// that manages zones, and the name servers that publish them. Tests and the
// laboratory obtain certificates through it without an account and without the
// Internet.
//
// A Server holds zones twice, as OVHcloud does. Calls to the API change the
// working records; POST …/refresh publishes a copy of them, which name servers
// show after PublishDelay. Several name servers and one resolver answer over
// UDP and TCP, each on a loopback address of its own and all on one port, so
// that a program told that port finds them the usual way: NS, then A.
//
// Everything can be made to misbehave: the clock, credentials, rights, single
// calls (Fault), name servers (SetNameServer), the delegation (SetNS). What a
// program did is told by Calls and Queries.
//
// Messages and error codes are those OVHcloud was seen to answer in public bug
// reports and in its own clients (github.com/ovh/go-ovh, python-ovh). Paths and
// record fields follow https://eu.api.ovh.com/console/. DNSSEC, zone transfers
// and everything about an account but its zones are left out.
package ovhtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Options says how a Server begins. The zero value is a server without zones.
type Options struct {
	// Zones are in the account: the API manages them and the name servers
	// publish them. Lower case, no trailing dot.
	Zones []string
	// ForeignZones are in the DNS but not in the account, such as another
	// customer's. "org" makes that public suffix exist.
	ForeignZones []string
	// Skew is how far the API's clock runs ahead.
	Skew time.Duration
	// PublishDelay is how long a refresh takes to reach the name servers. What
	// they will show is what the zone held when the refresh was asked for.
	PublishDelay time.Duration
	// TokenLifetime is how long a token of the OAuth2 endpoint is good.
	// Defaults to an hour.
	TokenLifetime time.Duration
	// Address is where the API listens. Defaults to 127.0.0.1:0.
	Address string
	// NameServers is how many there are, on 127.0.0.1, 127.0.0.2 and so on, all
	// of which Linux has from the start. Defaults to 2, or to as many as there
	// are NameServerAddresses.
	NameServers int
	// NameServerAddresses are IP addresses to listen on instead, such as
	// "127.0.0.54" and "::1".
	NameServerAddresses []string
	// ResolverAddress is the resolver's IP address. Defaults to the loopback
	// address after the last of the name servers.
	ResolverAddress string
	// DNSPort is the one port of the name servers and the resolver. Defaults to
	// a free one.
	DNSPort int
}

// Server is a running stand-in.
type Server struct {
	// URL is the API's endpoint, such as "http://127.0.0.1:40001/1.0".
	URL string
	// TokenURL is the OAuth2 token endpoint.
	TokenURL string

	handler     http.Handler
	http        *http.Server
	nameServers []*nameServer
	resolver    *nameServer
	served      sync.WaitGroup
	life        context.Context
	end         context.CancelFunc

	mu           sync.Mutex
	skew         time.Duration
	publishDelay time.Duration
	tokenLife    time.Duration
	zones        map[string]*zone
	lastID       int64
	applications map[string]string      // key → secret
	consumers    map[string]*consumer   // by consumer key
	clients      map[string]oauthClient // by client id
	tokens       map[string]token
	faults       []*Fault
	calls        []Call
	queries      []Query
}

// New starts a server. Close it after use.
func New(o Options) (*Server, error) {
	s := &Server{
		skew:         o.Skew,
		publishDelay: o.PublishDelay,
		tokenLife:    o.TokenLifetime,
		zones:        map[string]*zone{},
		lastID:       5_000_000_000, // real ids no longer fit in 32 bits
		applications: map[string]string{},
		consumers:    map[string]*consumer{},
		clients:      map[string]oauthClient{},
		tokens:       map[string]token{},
	}
	if s.tokenLife == 0 {
		s.tokenLife = time.Hour
	}
	s.life, s.end = context.WithCancel(context.Background())
	if err := s.startNameServers(o); err != nil {
		return nil, fmt.Errorf("starting the name servers: %w", err)
	}
	s.addZones(o)
	if err := s.startAPI(o.Address); err != nil {
		s.Close()
		return nil, fmt.Errorf("starting the API: %w", err)
	}
	return s, nil
}

func (s *Server) startAPI(address string) error {
	if address == "" {
		address = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	s.handler = s.routes()
	s.http = &http.Server{Handler: s.handler, ReadHeaderTimeout: 10 * time.Second}
	s.URL = "http://" + listener.Addr().String() + prefix
	s.TokenURL = "http://" + listener.Addr().String() + tokenPath
	s.served.Go(func() { _ = s.http.Serve(listener) })
	return nil
}

// Handler answers as the API does, for callers that bring their own listener,
// TLS or name. Requests are signed with the URL the client used, so Host must
// reach it unchanged.
func (s *Server) Handler() http.Handler { return s.handler }

// Close stops everything at once: calls and queries under way get no answer.
func (s *Server) Close() error {
	s.end()
	var errs []error
	if s.http != nil {
		errs = append(errs, s.http.Close())
	}
	for _, n := range s.everyNameServer() {
		n.close()
	}
	s.served.Wait()
	return errors.Join(errs...)
}

// SetSkew sets how far the API's clock runs ahead of the real one.
func (s *Server) SetSkew(skew time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skew = skew
}

// SetPublishDelay sets how long refreshes asked for from now on take.
func (s *Server) SetPublishDelay(delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publishDelay = delay
}
