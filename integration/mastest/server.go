package mastest

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxBody bounds what is read of any body.
const maxBody = 64 << 10

// Options say where the server is and whom it serves.
type Options struct {
	Address        string        // to listen on, host:port
	Prefix         string        // of all paths, such as "/auth"; "" for none
	Public         string        // the URL by which browsers reach it, prefix included
	ServerName     string        // of the homeserver
	Homeserver     string        // the URL of Synapse's main process
	Secret         string        // shared with Synapse
	CompatLifetime time.Duration // of access tokens that come with a refresh token; 5m unless set, as MAS's
}

// Server is a running stand-in.
type Server struct {
	options    Options
	homeserver *homeserver
	server     *http.Server

	mu       sync.Mutex
	accounts map[string]*account // by localpart
	sessions []*session
	tokens   map[string]*token
	logins   map[string]*login // by id; single sign-on under way
	seen     []Seen
}

// Seen is a request that came, whoever sent it.
type Seen struct {
	Method string
	Target string // as it came
	Header http.Header
	Status int // of the answer
}

// New starts a server.
func New(o Options) (*Server, error) {
	listener, err := net.Listen("tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("starting the stand-in for MAS: %w", err)
	}
	// Synapse is on loopback, whatever proxy the environment names.
	s := newServer(o, &http.Transport{MaxIdleConnsPerHost: 8})
	s.server = &http.Server{Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second}
	go s.server.Serve(listener)
	return s, nil
}

// newServer is a server that does not listen.
func newServer(o Options, toSynapse http.RoundTripper) *Server {
	if o.CompatLifetime == 0 {
		o.CompatLifetime = 5 * time.Minute
	}
	o.Public = strings.TrimRight(o.Public, "/")
	return &Server{
		options:    o,
		homeserver: &homeserver{base: o.Homeserver, secret: o.Secret, client: &http.Client{Transport: toSynapse, Timeout: 30 * time.Second}},
		accounts:   map[string]*account{}, tokens: map[string]*token{}, logins: map[string]*login{},
	}
}

// Close stops the server.
func (s *Server) Close() error { return s.server.Close() }

// Seen returns the requests that were answered so far.
func (s *Server) Seen() []Seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// Introspections is how often Synapse has asked whose a token is.
func (s *Server) Introspections() int {
	n := 0
	for _, request := range s.Seen() {
		if request.Target == s.options.Prefix+introspectionPath && request.Method == http.MethodPost {
			n++
		}
	}
	return n
}

// handler remembers every request, under the prefix or not. Below it are the
// routes of MAS (crates/router/src/endpoints.rs); a version is any one segment.
func (s *Server) handler() http.Handler {
	const client = "/_matrix/client/{version}/"
	routes := http.NewServeMux()
	api := func(path string, methods map[string]http.HandlerFunc) {
		routes.Handle(s.options.Prefix+path, open(byMethod(methods)))
	}
	api("/.well-known/openid-configuration", map[string]http.HandlerFunc{"GET": s.discovery})
	api(introspectionPath, map[string]http.HandlerFunc{"POST": s.introspect})
	api(client+"login", map[string]http.HandlerFunc{"GET": s.flows, "POST": s.login})
	api(client+"refresh", map[string]http.HandlerFunc{"POST": s.refresh})
	api(client+"logout", map[string]http.HandlerFunc{"POST": s.logout})
	api(client+"logout/all", map[string]http.HandlerFunc{"POST": s.logoutAll})

	page := func(path string, methods map[string]http.HandlerFunc) {
		routes.Handle(s.options.Prefix+path, byMethod(methods))
	}
	page("/health", map[string]http.HandlerFunc{"GET": health})
	page("/{$}", map[string]http.HandlerFunc{"GET": s.index})
	page("/account/{$}", map[string]http.HandlerFunc{"GET": s.index})
	for _, tail := range []string{"", "/{$}", "/{idp}"} {
		page(client+"login/sso/redirect"+tail, map[string]http.HandlerFunc{"GET": s.redirectToLogin})
	}
	page("/complete-compat-sso/{id}", map[string]http.HandlerFunc{"GET": s.showLogin, "POST": s.completeLogin})
	return s.remembering(routes)
}

func (s *Server) remembering(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		one := Seen{Method: r.Method, Target: r.RequestURI, Header: r.Header.Clone()}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		status := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(status, r)
		one.Status = status.status
		s.mu.Lock()
		defer s.mu.Unlock()
		s.seen = append(s.seen, one)
	})
}

// statusWriter notes the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}
