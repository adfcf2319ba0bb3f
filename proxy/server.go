package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"vestibule/configs"
	"vestibule/routing"
)

// Certificates chooses the certificate of a handshake, and says what an authority
// wants to hear before it signs one. ForName returns the choice for an entrypoint
// whose clients, when they name no host, mean host.
type Certificates interface {
	ForName(host string) func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// AnswerHTTP01 is what the host answers at a path of the http entrypoint; ok
	// is false where nothing is being proven.
	AnswerHTTP01(host, path string) (keyAuthorization string, ok bool)
}

// Server serves the entrypoints of a configuration.
type Server struct {
	proxy     *Proxy
	listeners *Listeners
	routed    []frontEnd // parallel to listeners.Routed
	redirect  frontEnd
	admin     *http.Server
	clients   *connections
	log       *slog.Logger
	draining  atomic.Bool
	wg        sync.WaitGroup
}

// frontEnd takes requests in on the listeners of an entrypoint.
type frontEnd interface {
	// Serve accepts connections until Shutdown or Close, and returns
	// http.ErrServerClosed then.
	Serve(l net.Listener) error
	// Shutdown accepts no more connections, tells clients that they are to go, and
	// waits until all have, or until ctx ends. Who connected just before gets an answer
	// to a first request. Connections that were upgraded are not its own any more.
	Shutdown(ctx context.Context) error
	// Close cuts what there is.
	Close() error
}

// NewServer prepares to serve what Listen opened; admin answers on the admin
// entrypoint. Nothing is accepted before Start.
func NewServer(p *Proxy, cfg *configs.Config, ls *Listeners, certs Certificates, admin http.Handler, log *slog.Logger) *Server {
	s := &Server{proxy: p, listeners: ls, log: log}
	s.clients = &connections{most: p.clientConnections, metrics: p.metrics, log: log, open: map[*stallConn]struct{}{}}
	for i := range ls.Routed {
		s.routed = append(s.routed, s.routedServer(cfg, &ls.Routed[i], certs))
	}
	s.redirect = s.redirectServer(cfg, certs)
	s.admin = s.bounded(cfg, admin)
	return s
}

// routedServer is the server in front of an entrypoint.
func (s *Server) routedServer(cfg *configs.Config, r *Routed, certs Certificates) frontEnd {
	var secure *tls.Config
	if r.TLS {
		secure = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.chooseCertificate(r, certs)}
	}
	if cfg.Engine == "own" {
		return newOwn(s.proxy, cfg, r.Entrypoint, secure, s.log)
	}
	return s.standardServer(cfg, r.Entrypoint, secure)
}

// standardServer is net/http's server in front of an entrypoint; secure is nil for
// one without TLS.
func (s *Server) standardServer(cfg *configs.Config, e *Entrypoint, secure *tls.Config) *standardServer {
	h := &standard{proxy: s.proxy, entrypoint: e}
	srv := s.bounded(cfg, h)
	srv.DisableGeneralOptionsHandler = true
	srv.TLSConfig = secure
	return newStandardServer(srv, s.bounded(cfg, h))
}

// redirectServer is net/http's server in front of the http entrypoint. A client
// comes there once, so its connection is not kept.
func (s *Server) redirectServer(cfg *configs.Config, certs Certificates) frontEnd {
	r := &redirector{port: publicPort(cfg, s.listeners), prove: certs.AnswerHTTP01}
	srv := s.standardServer(cfg, &Entrypoint{Name: "http", Role: routing.HTTPS, redirect: r}, nil)
	srv.http1.SetKeepAlivesEnabled(false)
	return srv
}

// chooseCertificate looks the default host up anew: a reload may change it.
func (s *Server) chooseCertificate(r *Routed, certs Certificates) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	role := r.Entrypoint.Role
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		return certs.ForName(s.proxy.state.Load().defaults[role])(hello)
	}
}

// bounded is a server with the bounds every entrypoint has.
func (s *Server) bounded(cfg *configs.Config, h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: cfg.Timeouts.Head.Std(),
		IdleTimeout:       cfg.Timeouts.Idle.Std(),
		MaxHeaderBytes:    int(cfg.Limits.Head),
		HTTP2: &http.HTTP2Config{MaxReadFrameSize: maxFrame,
			MaxReceiveBufferPerStream: h2StreamWindow, MaxReceiveBufferPerConnection: h2ConnWindow},
		ConnState: noteState,
		ErrorLog:  log.New(&complaints{s.log}, "", 0),
	}
}

// maxFrame is the largest frame of HTTP/2 that is taken, the least that there may be
// (RFC 9113, section 6.5.2). Each connection has memory for the largest that was
// announced to it, whether it comes or not; net/http's own bound is a mebibyte.
const maxFrame = 16 << 10

// Start accepts connections on every listener.
func (s *Server) Start() {
	if wanted, most := s.proxy.Config().Limits.Connections, maxConnections(); wanted > most {
		s.log.Info("the limit of open files leaves room for fewer connections than limits.connections", "wanted", wanted, "limit", most,
			"hint", "raise it: LimitNOFILE= in the systemd unit, --ulimit nofile= for a container")
	}
	for i, r := range s.listeners.Routed {
		for _, l := range r.Listeners {
			clients := s.clients
			if r.Entrypoint.Role == routing.Internal { // the operator's own
				clients = nil
			}
			s.accept(s.routed[i], l, clients)
		}
	}
	for _, l := range s.listeners.HTTP {
		s.accept(s.redirect, l, s.clients)
	}
	for _, l := range s.listeners.Admin {
		s.accept(s.admin, l, nil)
	}
}

func (s *Server) accept(srv frontEnd, l net.Listener, clients *connections) {
	l = stallListener{l, s.proxy.stall, clients}
	s.wg.Go(func() {
		err := srv.Serve(l)
		if !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("an entrypoint stopped accepting connections", "address", l.Addr().String(), "error", err)
		}
	})
}

// Draining says whether Stop was called.
func (s *Server) Draining() bool { return s.draining.Load() }

// Stop ends the service: no new connections, and clients are told to use none of
// those they have for anything new. What has no end of its own is ended at once,
// in order; requests under way have until grace, then they are cut. It takes a
// moment longer than grace at most. The admin entrypoint answers until the end.
func (s *Server) Stop(grace time.Duration) {
	s.draining.Store(true)
	s.proxy.metrics.draining.Set(1)
	limit := time.Now().Add(grace)
	ctx, cancel := context.WithDeadline(context.Background(), limit)
	defer cancel()
	var wg sync.WaitGroup
	for _, srv := range append(s.routed[:len(s.routed):len(s.routed)], frontEnd(s.redirect)) {
		wg.Go(func() { s.shut(ctx, srv) })
	}
	s.proxy.streams.leaveAll(limit)
	await(limit.Add(afterGrace), wg.Wait)
	s.proxy.finish(limit) // for the server, an upgraded connection is none of its own any more
	s.proxy.Close()
	s.proxy.finish(time.Now().Add(afterGrace))
	s.proxy.accessLog.flush(afterGrace)
	s.admin.Close()
	s.wg.Wait()
}

func (s *Server) shut(ctx context.Context, srv frontEnd) {
	if err := srv.Shutdown(ctx); err != nil {
		srv.Close()
	}
}

// afterGrace bounds what is waited for after grace: that what was cut has ended,
// and is logged.
const afterGrace = time.Second

// await does something for as long as until at most.
func await(until time.Time, do func()) {
	done := make(chan struct{})
	go func() {
		do()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(time.Until(until)):
	}
}

// complaints takes what net/http's server says to the log: of clients, such as
// failed handshakes, for debugging only; a panic and a listener that cannot
// accept are ours.
type complaints struct{ log *slog.Logger }

func (c *complaints) Write(p []byte) (int, error) {
	level := slog.LevelDebug
	if bytes.HasPrefix(p, []byte("http: panic")) || bytes.HasPrefix(p, []byte("http2: panic")) || bytes.HasPrefix(p, []byte("http: Accept error")) {
		level = slog.LevelError
	}
	c.log.Log(context.Background(), level, "connection", "detail", string(bytes.TrimSpace(p)))
	return len(p), nil
}
