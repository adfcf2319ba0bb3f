// Package acme keeps a certificate for every hostname.
//
// A handshake is given, in this order: a certificate from the operator's files
// (the exact name, then a wildcard), one that is managed here, and, when the
// client names no host or one nobody knows, that of the entrypoint's default
// name. A name of ours that has no certificate yet fails its handshake: no
// other site's certificate ever stands in for it.
//
// Managed certificates come from an authority by ACME, or from the issuer
// "internal", a CA of our own; certmagic stores them and knows when to renew. A
// keeper per name sees to it that they really are: it tries again after every
// failure, storage included, and knows what failed and when it tries next. Names
// share nothing that one could hold up for another. Files are read by us and
// swapped when they change.
//
// With ACME a preflight looks for everything that would make an order fail, so
// that mistakes cost none of the authority's limits. Control over a name is proven
// with a TXT record at OVH or an answer on the http entrypoint. Records are in a
// journal from before they are made until they are gone; records of others are
// never touched. No secret, token or record's value is logged.
//
// certmagic, acmez and OVH's API are known to this package alone; the rest of the
// program sees crypto/tls.
package acme

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"vestibule/configs"
)

// The words of certificates.issuer, which are also those of Certificate.Issuer.
const (
	issuerACME     = "acme"
	issuerInternal = "internal"
	issuerFiles    = "files"
)

// Manager holds the certificates of a process; there is to be one. All its
// methods may be called at the same time.
type Manager struct {
	log       *slog.Logger
	pace      pace
	issuer    string
	directory string

	// Nil when the issuer is files.
	storage certmagic.Storage
	cache   *certmagic.Cache
	magic   *certmagic.Config
	from    certmagic.Issuer

	authority *authority // nil unless the issuer is internal

	// Nil unless the issuer is acme.
	acme   atomic.Pointer[settings]
	http01 *httpSolver

	ledger ledger
	export exporter

	// current is what handshakes go by, replaced as a whole.
	current     atomic.Pointer[holdings]
	defaultName atomic.Pointer[string]

	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu      sync.Mutex // held while holdings are replaced
	closed  bool
	names   []string           // what Manage asked for
	parent  context.Context    // of keepers
	keepers map[string]*keeper // the latest of each name, at work or stopped
}

// holdings are the names to serve and where their certificates come from.
type holdings struct {
	files fileSet
	// names holds every managed name; its keeper is nil when a file covers the
	// name, or when there is nothing but files.
	names map[string]*keeper
}

// pace is how fast time goes by; tests are in a hurry.
type pace struct {
	life     time.Duration // of a certificate from the internal CA
	check    time.Duration // between two looks at a certificate; at most life/20
	poll     time.Duration // between two looks at the files
	retry    time.Duration // after a first failure; doubles
	retryMax time.Duration
	spent    time.Duration // after a first order that failed; doubles
	spentMax time.Duration

	ovh        ovhPace
	dnsTimeout time.Duration // of one question
	dnsPort    string        // of authoritative servers
	lookFirst  time.Duration // between two looks for a record; grows
	lookMax    time.Duration
	sweep      time.Duration // between two sweeps of records left behind
	sweepAgain time.Duration // between the first sweep and the second
}

// usualPace renews certificates of the internal CA with eight hours to spare, which
// is a night's sleep. Orders that failed are repeated four times within an hour:
// Let's Encrypt allows five failures.
var usualPace = pace{
	life:     24 * time.Hour,
	check:    10 * time.Minute,
	poll:     10 * time.Second,
	retry:    time.Second,
	retryMax: 5 * time.Minute,
	spent:    4 * time.Minute,
	spentMax: time.Hour,

	ovh:        usualOVHPace,
	dnsTimeout: 5 * time.Second,
	dnsPort:    "53",
	lookFirst:  5 * time.Second,
	lookMax:    30 * time.Second,
	sweep:      time.Hour,
	sweepAgain: 20 * time.Second,
}

// New reads the certificate files, opens the storage and makes or loads the
// internal CA's root. It obtains nothing yet: that is Manage. On an error
// nothing has been started.
func New(cfg *configs.Config, log *slog.Logger) (*Manager, error) {
	return newManager(cfg, log, usualPace)
}

func newManager(cfg *configs.Config, log *slog.Logger, pace pace) (*Manager, error) {
	m := &Manager{
		log: log, pace: pace, keepers: map[string]*keeper{},
		issuer: cfg.Certificates.Issuer, directory: cfg.Certificates.Storage.Directory,
	}
	files, err := loadFiles(cfg.Certificates.Files, log)
	if err != nil {
		return nil, err
	}
	switch m.issuer {
	case issuerFiles:
	case issuerInternal:
		if err := m.openAuthority(); err != nil {
			return nil, err
		}
	case issuerACME:
		if err := m.openACME(cfg); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("certificates.issuer: %q is not supported (hint: write acme, internal or files)", m.issuer)
	}
	m.current.Store(&holdings{files: files})
	m.setDefaultName(cfg)
	m.export.set(cfg.Certificates.Export)
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.tasks.Go(m.pollFiles)
	if m.issuer == issuerACME {
		m.tasks.Go(m.sweepRecords)
	}
	return m, nil
}

// openAuthority prepares the internal CA and certmagic.
func (m *Manager) openAuthority() error {
	err := openStorage(m.directory)
	if err != nil {
		return storageProblem(m.directory, err)
	}
	m.storage = newStorage(m.directory)
	m.authority, err = openAuthority(m.storage, m.pace.life, m.log)
	if err != nil {
		return storageProblem(m.directory, err)
	}
	if err := exportRoot(m.directory, m.authority.root); err != nil {
		return storageProblem(m.directory, err)
	}
	m.openCache(m.authority)
	return nil
}

// openACME prepares the authority of certificates.acme and certmagic, without a
// word to the authority or to OVH. A storage that cannot be written is no reason
// not to serve what it holds: the keepers tell of it.
func (m *Manager) openACME(cfg *configs.Config) error {
	settings, err := newSettings(cfg, nil, m.pace, m.log)
	if err != nil {
		return err
	}
	if err := openStorage(m.directory); err != nil {
		if !readOnly(err) {
			return storageProblem(m.directory, err)
		}
		m.log.Error("storage cannot be written; certificates in it are served, and none is obtained",
			"error", storageProblem(m.directory, err))
	}
	m.storage = newStorage(m.directory)
	m.acme.Store(settings)
	m.http01 = &httpSolver{storage: m.storage, answers: map[string]answer{}}
	m.openCache(newIssuer(m, cfg.Certificates.ACME.DirectoryURL()))
	return nil
}

// openCache starts certmagic's cache, the last thing to begin: its goroutine has to
// be stopped. There is one for the life of the process: stopping it during a renewal
// would keep another from renewing that name.
func (m *Manager) openCache(from certmagic.Issuer) {
	logger := zapLogger(m.log)
	m.from = from
	m.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return m.magic, nil },
		RenewCheckInterval: m.pace.check,
		Logger:             logger,
	})
	m.magic = m.newConfig(logger)
}

// newConfig names the issuer explicitly, so that certmagic makes no ACME account
// of its own accord: one without an e-mail address would be asked for on
// standard input.
func (m *Manager) newConfig(logger *zap.Logger) *certmagic.Config {
	return certmagic.New(m.cache, certmagic.Config{
		Issuers:    []certmagic.Issuer{m.from},
		Storage:    m.storage,
		Logger:     logger,
		OnEvent:    m.onEvent,
		DisableARI: m.issuer != issuerACME, // an ACME extension
		OCSP:       certmagic.OCSPConfig{DisableStapling: true},
	})
}

// settings are those of certificates.acme now.
func (m *Manager) settings() *settings { return m.acme.Load() }

// onEvent says what certmagic did; its own messages are for debugging. An error
// would stop it.
func (m *Manager) onEvent(ctx context.Context, event string, data map[string]any) error {
	name, _ := data["identifier"].(string)
	renewal, _ := data["renewal"].(bool)
	switch event {
	case "cert_obtained":
		m.ledger.obtained(name, renewal)
		m.forgetOrders(ctx, name)
		m.log.InfoContext(ctx, "certificate obtained", "name", name, "issuer", data["issuer"], "renewal", renewal)
	case "cert_failed":
		if err, _ := data["error"].(error); !errors.Is(err, errLeft) {
			m.ledger.failed(name)
		}
	}
	return nil
}

// forgetOrders is for a name whose certificate has been stored: what was ordered
// before no longer matters.
func (m *Manager) forgetOrders(ctx context.Context, name string) {
	i, ok := m.from.(*issuer)
	if !ok {
		return
	}
	if err := i.forgetTally(ctx, name); err != nil {
		m.log.WarnContext(ctx, "orders that failed are still noted", "name", name, "error", storageProblem(m.directory, err))
	}
}

// Load takes into memory what the storage holds for these names, so that from Manage
// on every handshake finds it, the first ones as well. What is missing or spoilt
// there is the keepers' business.
func (m *Manager) Load(ctx context.Context, names []string) {
	files := m.current.Load().files
	for _, name := range names {
		if name = canonical(name); m.magic == nil || files.covers(name) {
			continue
		}
		if _, err := m.magic.CacheManagedCertificate(ctx, name); err != nil {
			m.log.DebugContext(ctx, "certificate not loaded from storage", "name", name, "error", err)
		}
	}
}

// Manage sets the names to keep a certificate for and returns at once. Names
// are host names in ASCII, wildcards such as "*.example.com", or addresses.
// Called again, as after a reload, it begins to obtain the new ones and no
// longer serves those left out. ctx bounds what it starts: give it the
// process's, not a request's.
func (m *Manager) Manage(ctx context.Context, names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.parent = ctx
	m.names = nil
	for _, name := range names {
		m.names = append(m.names, canonical(name))
	}
	slices.Sort(m.names)
	m.names = slices.Compact(m.names)
	m.reconcile(m.current.Load().files)
}

// Update takes over a changed list of files, default site, export, and of
// certificates.acme all but the directory; the issuer, its directory and the
// storage are those of New until the process ends. On an error everything stays as
// it was.
func (m *Manager) Update(cfg *configs.Config) error {
	files, err := loadFiles(cfg.Certificates.Files, m.log)
	if err != nil {
		return err
	}
	if m.issuer == issuerACME && cfg.Certificates.ACME != nil {
		settings, err := newSettings(cfg, m.settings(), m.pace, m.log)
		if err != nil {
			return err
		}
		m.acme.Store(settings)
	}
	m.export.set(cfg.Certificates.Export)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reconcile(files)
	m.setDefaultName(cfg)
	for _, k := range m.keepers {
		k.hurry()
	}
	return nil
}

// reconcile replaces the holdings: keepers for managed names that no file
// covers, and no others. The caller holds m.mu.
func (m *Manager) reconcile(files fileSet) {
	if m.closed {
		return
	}
	old := m.current.Load()
	next := &holdings{files: files, names: make(map[string]*keeper, len(m.names))}
	for _, name := range m.names {
		switch covered := files.covers(name); {
		case covered:
			next.names[name] = nil
		case m.issuer == issuerFiles:
			next.names[name] = nil
			if !old.missed(name) {
				m.log.Warn("no certificate file covers this name", "name", name)
			}
		default:
			next.names[name] = m.keeperFor(name)
		}
	}
	m.current.Store(next)
	for name, k := range m.keepers {
		if next.names[name] != k {
			k.drop()
		}
	}
}

// missed tells whether the name was already known to lack a file.
func (h *holdings) missed(name string) bool {
	_, known := h.names[name]
	return known && !h.files.covers(name)
}

// keeperFor goes on with the keeper a name has, or starts one.
func (m *Manager) keeperFor(name string) *keeper {
	k := m.keepers[name]
	if k == nil || k.ctx.Err() != nil {
		k = m.startKeeper(name, k)
		m.keepers[name] = k
	}
	return k
}

// look is done every poll: the files, and then what is exported of them.
func (m *Manager) look() {
	m.ReloadFiles()
	m.exportChanged()
}

// ReloadFiles reads the certificate files now, as is done every ten seconds. A
// pair that became bad is kept as it was, logged, and told by Certificates.
func (m *Manager) ReloadFiles() {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.current.Load()
	if files, changed := old.files.refresh(m.log); changed {
		m.reconcile(files)
	}
}

func (m *Manager) pollFiles() {
	ticker := time.NewTicker(m.pace.poll)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			m.look()
		case <-m.ctx.Done():
			return
		}
	}
}

// Close stops renewing and waits until nothing is under way. Certificates that
// are held are served on.
func (m *Manager) Close() {
	m.mu.Lock()
	again := m.closed
	m.closed = true
	m.mu.Unlock()
	if again {
		return
	}
	m.cancel()
	m.tasks.Wait()
	if m.cache != nil {
		m.cache.Stop()
	}
}

// Root is the internal CA's root certificate in PEM, nil with another issuer. It is also in root.pem in the storage directory.
func (m *Manager) Root() []byte {
	if m.authority == nil {
		return nil
	}
	return m.authority.root
}

// GetCertificate is for tls.Config. Its default name is that of the https
// entrypoint.
func (m *Manager) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return m.choose(hello, *m.defaultName.Load())
}

// ForName is GetCertificate with another default name, such as the one
// DefaultName gives for an entrypoint.
func (m *Manager) ForName(defaultName string) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := canonical(defaultName)
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) { return m.choose(hello, name) }
}

// DefaultName is the host whose certificate an entrypoint shows to a client that
// names no host or an unknown one: that of default_site, or of the first site.
func DefaultName(cfg *configs.Config, entrypoint configs.Entrypoint) string {
	for _, site := range cfg.Sites {
		if entrypoint.DefaultSite == "" || site.ServerName == entrypoint.DefaultSite {
			return site.Host
		}
	}
	return ""
}

func (m *Manager) setDefaultName(cfg *configs.Config) {
	name := canonical(DefaultName(cfg, cfg.Entrypoints.HTTPS))
	m.defaultName.Store(&name)
}

// choose finds the certificate for a handshake. Clients that connect to an
// address name no host (RFC 6066, section 3), so a certificate for the address
// they reached comes before the default.
func (m *Manager) choose(hello *tls.ClientHelloInfo, defaultName string) (*tls.Certificate, error) {
	name := canonical(hello.ServerName)
	if name != "" {
		certificate, ours := m.lookup(name, hello)
		if certificate != nil {
			return certificate, nil
		}
		if ours {
			return nil, fmt.Errorf("no certificate for %s yet", name)
		}
	} else if certificate, _ := m.lookup(localAddress(hello.Conn), hello); certificate != nil {
		return certificate, nil
	}
	if certificate, _ := m.lookup(defaultName, hello); certificate != nil {
		return certificate, nil
	}
	return nil, fmt.Errorf("no certificate for %q, nor for the default name %q", name, defaultName)
}

// lookup finds a certificate that holds for a name, and tells whether the name
// is one of ours. hello may be nil.
func (m *Manager) lookup(name string, hello *tls.ClientHelloInfo) (certificate *tls.Certificate, ours bool) {
	held := m.current.Load()
	if file := held.files.pick(name, hello); file != nil {
		return file.pair, true
	}
	for _, candidate := range []string{name, wildcard(name)} {
		k, known := held.names[candidate]
		ours = ours || known
		if k == nil {
			continue
		}
		if certificate := m.cached(candidate); certificate != nil {
			return &certificate.Certificate, true
		}
	}
	return nil, ours
}

// cached is the managed certificate of a name in memory, the one that lasts
// longest, or nil. While one replaces another there may be two.
func (m *Manager) cached(name string) *certmagic.Certificate {
	if m.cache == nil {
		return nil
	}
	var best *certmagic.Certificate
	for _, certificate := range m.cache.AllMatchingCertificates(name) {
		if certificate.Names[0] == name && (best == nil || certificate.Leaf.NotAfter.After(best.Leaf.NotAfter)) {
			best = &certificate
		}
	}
	return best
}

// localAddress is the address a client reached, "" on a Unix socket.
func localAddress(conn net.Conn) string {
	if conn == nil {
		return ""
	}
	host, _, err := net.SplitHostPort(conn.LocalAddr().String())
	if err != nil {
		return ""
	}
	return canonical(host)
}
