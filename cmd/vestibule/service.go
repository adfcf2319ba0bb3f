package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"vestibule/acme"
	"vestibule/configs"
	"vestibule/proxy"
	"vestibule/wellknown"
)

// service is a running front door: every part, joined.
type service struct {
	path     string // of the configuration
	log      *slog.Logger
	level    *slog.LevelVar
	registry *prometheus.Registry
	metrics  *proxy.Metrics
	proxy    *proxy.Proxy
	certs    *acme.Manager
	server   *proxy.Server
	control  *control
	started  time.Time

	mu   sync.Mutex // held during a reload
	last attempt
}

// attempt is how a try to load the configuration ended.
type attempt struct {
	At      time.Time `json:"at"`
	OK      bool      `json:"ok"`
	Error   string    `json:"error,omitempty"`
	Changes []string  `json:"changes,omitempty"`
}

// newService builds every part and opens every port, or nothing: an error means
// that no port is open and no goroutine runs.
func newService(path string, log *slog.Logger, level *slog.LevelVar) (*service, error) {
	cfg, err := load(path)
	if err != nil {
		return nil, err
	}
	s := &service{path: path, log: log, level: level, registry: prometheus.NewRegistry(), started: time.Now()}
	s.level.Set(logLevel(cfg))
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.metrics = proxy.NewMetrics(s.registry)
	s.proxy = proxy.New(s.metrics, log)
	if err := s.apply(cfg); err != nil {
		return nil, err
	}
	if s.certs, err = acme.New(cfg, log); err != nil {
		return nil, err
	}
	listeners, err := proxy.Listen(cfg)
	if err != nil {
		s.certs.Close()
		return nil, err
	}
	if s.control, err = listenControl(cfg.Control, s); err != nil {
		listeners.Close()
		s.certs.Close()
		return nil, err
	}
	s.registry.MustRegister(&gauges{s})
	s.server = proxy.NewServer(s.proxy, cfg, listeners, s.certs, s.adminHandler(), log)
	s.note(attempt{At: s.started, OK: true})
	return s, nil
}

// load reads a configuration that is to be served: what validate only warns
// about, such as a missing key file, is an error here.
func load(path string) (*configs.Config, error) {
	cfg, problems := configs.Load(path)
	if strict := problems.Strict(); strict.Failed() {
		return nil, strict
	}
	if cfg == nil {
		return nil, fmt.Errorf("reading %s: nothing to serve", path)
	}
	return cfg, nil
}

// apply makes new requests meet cfg. On an error nothing has changed.
func (s *service) apply(cfg *configs.Config) error {
	locals := map[string]proxy.Local{}
	for _, site := range cfg.Sites {
		documents, err := wellknown.New(cfg, site)
		if err != nil {
			return err
		}
		locals[site.ServerName] = func(method, document string, header func(string) string) proxy.Answer {
			a := documents.Answer(method, document, header)
			return proxy.Answer{Status: a.Status, Header: headerOf(a.Header), Body: a.Body}
		}
	}
	return s.proxy.Apply(cfg, locals)
}

func headerOf(fields [][2]string) proxy.Header {
	h := make(proxy.Header, len(fields))
	for i, f := range fields {
		h[i] = proxy.Field{Name: f[0], Value: f[1]}
	}
	return h
}

// start begins to answer.
func (s *service) start() {
	cfg := s.proxy.Config()
	s.certs.Manage(context.Background(), managed(cfg))
	s.server.Start()
	s.control.start()
	s.log.Info("serving", "version", versionText(), "config", s.path, "sites", len(cfg.Sites), "names", cfg.CertificateNames())
}

// stop ends the service, letting requests under way finish.
func (s *service) stop() {
	grace := s.proxy.Config().Timeouts.Grace.Std()
	s.log.Info("stopping", "grace", grace.String())
	s.server.Stop(grace)
	s.control.close()
	s.certs.Close()
	s.log.Info("stopped")
}

// managed lists the names the issuer keeps certificates for; entrypoints
// without TLS need none.
func managed(cfg *configs.Config) []string {
	if !cfg.Entrypoints.HTTPS.TLS && !cfg.Entrypoints.Federation.TLS {
		return nil
	}
	return cfg.CertificateNames()
}

// reload reads the configuration again and applies it, or keeps the old one.
func (s *service) reload() attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := attempt{At: time.Now()}
	old := s.proxy.Config()
	cfg, err := load(s.path)
	if err == nil {
		err = check(cfg)
	}
	if err == nil {
		err = s.certs.Update(cfg)
	}
	if err == nil {
		err = s.apply(cfg)
	}
	if err != nil {
		a.Error = err.Error()
		s.note(a)
		s.log.Error("the configuration was not applied; the one before stays in use", "error", a.Error)
		return a
	}
	s.level.Set(logLevel(cfg))
	s.certs.Manage(context.Background(), managed(cfg))
	a.OK, a.Changes = true, changes(old, cfg)
	s.note(a)
	s.log.Info("configuration applied", "changes", a.Changes)
	return a
}

func (s *service) note(a attempt) {
	s.metrics.Reloaded(a.OK)
	s.last = a
}

// changes says what a reload changed, and what only a restart can.
func changes(old, now *configs.Config) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, name := range difference(siteNames(now), siteNames(old)) {
		add("site %s added", name)
	}
	for _, name := range difference(siteNames(old), siteNames(now)) {
		add("site %s removed", name)
	}
	for _, name := range difference(now.CertificateNames(), old.CertificateNames()) {
		add("certificate for %s wanted", name)
	}
	for _, name := range difference(old.CertificateNames(), now.CertificateNames()) {
		add("certificate for %s no longer wanted", name)
	}
	out = append(out, poolChanges(old, now)...)
	for _, key := range restartNeeded(old, now) {
		add("%s changed: restart to apply it", key)
	}
	if len(out) == 0 {
		add("no pool, site or name changed")
	}
	return out
}

func siteNames(cfg *configs.Config) []string {
	var names []string
	for _, s := range cfg.Sites {
		names = append(names, s.ServerName)
	}
	return names
}

// difference lists what is in a and not in b.
func difference(a, b []string) []string {
	var out []string
	for _, x := range a {
		if !slices.Contains(b, x) {
			out = append(out, x)
		}
	}
	return out
}

// restartNeeded lists the keys that are read once, at start.
func restartNeeded(old, now *configs.Config) []string {
	var keys []string
	addresses := func(key string, a, b []configs.Address) {
		if !slices.Equal(a, b) {
			keys = append(keys, key)
		}
	}
	o, n := &old.Entrypoints, &now.Entrypoints
	addresses("entrypoints.http.addresses", o.HTTP.Addresses, n.HTTP.Addresses)
	addresses("entrypoints.https.addresses", o.HTTPS.Addresses, n.HTTPS.Addresses)
	addresses("entrypoints.federation.addresses", o.Federation.Addresses, n.Federation.Addresses)
	addresses("entrypoints.admin.addresses", o.Admin.Addresses, n.Admin.Addresses)
	for _, site := range now.Sites {
		var before []configs.Address
		if s := old.Site(site.ServerName); s != nil {
			before = s.Internal.Addresses
		}
		addresses("internal.addresses of "+site.ServerName, before, site.Internal.Addresses)
	}
	for key, changed := range map[string]bool{
		"entrypoints.https.tls":          o.HTTPS.TLS != n.HTTPS.TLS,
		"entrypoints.federation.tls":     o.Federation.TLS != n.Federation.TLS,
		"control":                        old.Control != now.Control,
		"certificates.storage.directory": old.Certificates.Storage != now.Certificates.Storage,
		"certificates.issuer":            old.Certificates.Issuer != now.Certificates.Issuer,
		"timeouts.head":                  old.Timeouts.Head != now.Timeouts.Head,
		"timeouts.idle":                  old.Timeouts.Idle != now.Timeouts.Idle,
		"limits.head":                    old.Limits.Head != now.Limits.Head,
	} {
		if changed {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// ready says whether requests can be served, and if not, why.
func (s *service) ready(siteName string) (bool, string) {
	if s.server.Draining() {
		return false, "stopping"
	}
	cfg := s.proxy.Config()
	sites := cfg.Sites
	if siteName != "" {
		site := cfg.Site(siteName)
		if site == nil {
			return false, fmt.Sprintf("there is no site %q", siteName)
		}
		sites = []*configs.Site{site}
	}
	var missing []string
	for _, site := range sites {
		if !cfg.Entrypoints.HTTPS.TLS || s.certs.Ready(site.Host) {
			return true, ""
		}
		missing = append(missing, site.Host)
	}
	return false, "no valid certificate yet for " + strings.Join(missing, ", ")
}

func logLevel(cfg *configs.Config) slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(cfg.Logging.Level)); err != nil {
		return slog.LevelInfo
	}
	return l
}

// errNotRunning is returned when nobody listens on the control socket.
var errNotRunning = errors.New("no vestibule is running with this configuration")
