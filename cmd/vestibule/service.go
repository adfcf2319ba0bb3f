package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
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
	admin    http.Handler
	control  *control
	started  time.Time
	boot     *configs.Config // what was read at start: some keys hold until the end

	supervisor *supervisor
	unfollow   context.CancelFunc // ends what the supervisor is told

	mu     sync.Mutex // held during a reload
	last   attempt
	failed atomic.Bool // the last reload
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
func newService(path string, logs *logs) (_ *service, err error) {
	cfg, warnings, err := load(path)
	if err != nil {
		return nil, err
	}
	s := &service{path: path, log: logs.log, level: &logs.level, registry: prometheus.NewRegistry(), started: time.Now(), boot: cfg}
	s.level.Set(logLevel(cfg))
	s.warn(warnings)
	collectEarly(cfg)
	s.supervisor = newSupervisor(s.log)
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.metrics = proxy.NewMetrics(s.registry)
	s.proxy = proxy.New(s.metrics, s.log, logs.requests)
	defer func() {
		if err != nil {
			s.proxy.Close() // ends the probes
		}
	}()
	swap, err := s.prepare(cfg)
	if err != nil {
		return nil, err
	}
	swap()
	if s.certs, err = acme.New(cfg, s.log); err != nil {
		return nil, err
	}
	listeners, err := s.listen(cfg)
	if err != nil {
		s.certs.Close()
		return nil, err
	}
	s.admin = s.adminHandler()
	if s.control, err = listenControl(cfg.Control, s); err != nil {
		listeners.Close()
		s.certs.Close()
		return nil, err
	}
	s.registry.MustRegister(&gauges{s})
	s.server = proxy.NewServer(s.proxy, cfg, listeners, s.certs, s.admin, s.log)
	s.note(attempt{At: s.started, OK: true})
	return s, nil
}

// collectEarly has the collector of garbage come when half as much has been added to
// what is in use, not as much again: thousands of polls that wait are most of that,
// and a request leaves next to nothing to collect with our own server. GOGC in the
// environment goes before (docs/decisions/0012-own-by-default.md).
func collectEarly(cfg *configs.Config) {
	if cfg.Engine == "own" && os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
}

// listen opens every address, with what systemd passes.
func (s *service) listen(cfg *configs.Config) (*proxy.Listeners, error) {
	inherited, err := proxy.Inherit()
	if err != nil {
		return nil, err
	}
	listeners, err := inherited.Listen(cfg)
	if names := inherited.Unclaimed(); err == nil && len(names) > 0 {
		s.log.Warn("systemd passes sockets that no address stands for: whoever connects there waits in vain "+
			"(hint: write fd:NAME among the addresses of an entrypoint, or disable the .socket unit)", "names", names)
	}
	return listeners, err
}

// load reads a configuration that is to be served: what validate only warns
// about, such as a missing key file, is an error here. Other warnings stay.
func load(path string) (_ *configs.Config, warnings configs.Problems, err error) {
	cfg, problems := configs.Load(path)
	if strict := problems.Strict(); strict.Failed() {
		return nil, nil, strict
	}
	if cfg == nil {
		return nil, nil, fmt.Errorf("reading %s: nothing to serve", path)
	}
	return cfg, problems, nil
}

// warn logs what validate would warn about.
func (s *service) warn(warnings configs.Problems) {
	for _, w := range warnings {
		s.log.Warn("configuration", "warning", w.String())
	}
}

// prepare builds all that new requests need to meet cfg; swap lets them meet it.
func (s *service) prepare(cfg *configs.Config) (swap func(), err error) {
	locals := map[string]proxy.Local{}
	for _, site := range cfg.Sites {
		documents, err := wellknown.New(cfg, site)
		if err != nil {
			return nil, err
		}
		locals[site.ServerName] = func(method, document string, header func(string) string) proxy.Answer {
			a := documents.Answer(method, document, header)
			return proxy.Answer{Status: a.Status, Header: headerOf(a.Header), Body: a.Body}
		}
	}
	return s.proxy.Prepare(cfg, locals)
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
	s.certs.Load(context.Background(), s.managed(cfg)) // for who waits since the vestibule before this one
	s.certs.Manage(context.Background(), s.managed(cfg))
	s.server.Start()
	s.control.start()
	s.log.Info("serving", "version", versionText(), "config", s.path, "sites", len(cfg.Sites), "names", cfg.CertificateNames())
	s.supervisor.tell("READY=1", "STATUS="+s.summary())
	ctx, cancel := context.WithCancel(context.Background())
	s.unfollow = cancel
	go s.supervisor.follow(ctx, s.summary, s.alive)
}

// afterGrace is how long a stop takes after timeouts.grace at most, in the worst of
// cases: what was cut ends, the control socket, and then the certificates.
const afterGrace = 10 * time.Second

// stop ends the service, letting requests under way finish.
func (s *service) stop() {
	defer s.unfollow()
	grace := s.proxy.Config().Timeouts.Grace.Std()
	s.log.Info("stopping", "grace", grace.String())
	s.supervisor.stopping(grace+afterGrace, "Stopping: requests under way have "+grace.String()+" to finish")
	s.server.Stop(grace)
	s.control.close()
	s.closeCertificates()
	s.log.Info("stopped")
}

// closeCertificates waits a moment for what the issuer is doing; what it leaves half
// done at OVH or an authority, the next start takes up.
func (s *service) closeCertificates() {
	closed := make(chan bool)
	go func() {
		s.certs.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(afterGrace / 2):
		s.log.Warn("the issuer of certificates was left in the middle of its work; the next start takes it up")
	}
}

// managed lists the names the issuer keeps certificates for; entrypoints
// without TLS need none.
func managed(cfg *configs.Config) []string {
	if !cfg.Entrypoints.HTTPS.TLS && !cfg.Entrypoints.Federation.TLS {
		return nil
	}
	return cfg.CertificateNames()
}

// managed is the function of this name for a process whose listeners were opened at
// its start: whether they end TLS, no reload changes.
func (s *service) managed(cfg *configs.Config) []string {
	if managed(s.boot) == nil {
		return nil
	}
	return cfg.CertificateNames()
}

// reload reads the configuration again and applies it, or keeps the old one.
func (s *service) reload() attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.supervisor.reloading()
	defer func() { s.supervisor.tell("READY=1", "STATUS="+s.summary()) }()
	a := attempt{At: time.Now()}
	old := s.proxy.Config()
	cfg, warnings, err := load(s.path)
	var swap func()
	if err == nil {
		swap, err = s.prepare(cfg)
	}
	if err == nil {
		err = s.certs.Update(cfg)
	}
	if err != nil {
		a.Error = err.Error()
		s.note(a)
		s.log.Error("the configuration was not applied; the one before stays in use", "error", a.Error)
		return a
	}
	swap()
	s.level.Set(logLevel(cfg))
	s.warn(warnings)
	s.certs.Manage(context.Background(), s.managed(cfg))
	a.OK, a.Changes = true, changes(s.boot, old, cfg)
	s.note(a)
	s.log.Info("configuration applied", "changes", a.Changes)
	return a
}

func (s *service) note(a attempt) {
	s.metrics.Reloaded(a.OK)
	s.last = a
	s.failed.Store(!a.OK)
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
		if !s.boot.Entrypoints.HTTPS.TLS || s.certs.Ready(site.Host) {
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
