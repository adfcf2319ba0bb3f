package acme

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"vestibule/configs"
)

// settings is certificates.acme, ready for use. A reload replaces it as a whole;
// what is under way ends with what it began with.
type settings struct {
	cfg     *configs.Config
	email   string
	profile string
	client  *http.Client // for the authority
	entries []*entry     // parallel to the challenges of cfg
}

// entry is one of the ways to prove control.
type entry struct {
	label string    // its place in the configuration
	dns   *dnsEntry // nil: http01
	// resolver answers what has to be known before an order.
	resolver *resolver
}

// dnsEntry proves control with TXT records at OVH.
type dnsEntry struct {
	zone     string
	delegate map[string]string
	timeout  time.Duration // of propagation
	account  *ovhAccount
	resolver *resolver
}

// newSettings reads credentials and roots. Accounts of old that are still the same
// are kept, with what they know.
func newSettings(cfg *configs.Config, old *settings, pace pace, log *slog.Logger) (*settings, error) {
	acme := cfg.Certificates.ACME
	if acme == nil || acme.Email == "" {
		return nil, fmt.Errorf("certificates.acme.email: is required with issuer: acme")
	}
	s := &settings{cfg: cfg, email: acme.Email, profile: acme.Profile}
	roots, err := loadRoots(acme.RootsFile)
	if err != nil {
		return nil, err
	}
	s.client = newClient(roots)
	for i := range acme.Challenges {
		e, err := newEntry(&acme.Challenges[i], fmt.Sprintf("certificates.acme.challenges[%d]", i), pace, log)
		if err != nil {
			return nil, err
		}
		e.keepAccount(old)
		s.entries = append(s.entries, e)
	}
	return s, nil
}

func loadRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("certificates.acme.roots_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, fmt.Errorf("certificates.acme.roots_file: %s holds no certificate in PEM", file)
	}
	return pool, nil
}

// newClient bounds each request; acmez repeats those that fail.
func newClient(roots *x509.CertPool) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return &http.Client{Transport: watched{transport}, Timeout: 30 * time.Second}
}

func newEntry(challenge *configs.Challenge, label string, pace pace, log *slog.Logger) (*entry, error) {
	e := &entry{label: label, resolver: &resolver{timeout: pace.dnsTimeout, port: pace.dnsPort}}
	if challenge.DNS01 == nil {
		return e, nil
	}
	if challenge.DNS01.OVH == nil {
		return nil, fmt.Errorf("%s.dns01.ovh: is required", label)
	}
	credentials, err := challenge.DNS01.OVH.Credentials(os.Getenv)
	if err != nil {
		return nil, fmt.Errorf("%s.dns01.ovh: %w", label, err)
	}
	e.resolver.servers = challenge.DNS01.Resolvers
	e.dns = &dnsEntry{
		zone: canonical(challenge.Zone), delegate: challenge.DNS01.Delegate,
		timeout: challenge.DNS01.PropagationTimeout.Std(),
		account: newOVHAccount(credentials, pace.ovh, log), resolver: e.resolver,
	}
	return e, nil
}

// keepAccount goes on with an account that a reload did not change.
func (e *entry) keepAccount(old *settings) {
	if e.dns == nil || old == nil {
		return
	}
	for _, before := range old.entries {
		if before.dns != nil && before.dns.account.credentials == e.dns.account.credentials {
			e.dns.account = before.dns.account
		}
	}
}

// entryFor is the first entry whose zone holds the name.
func (s *settings) entryFor(name string) (*entry, error) {
	challenge := s.cfg.Challenge(name)
	for i := range s.entries {
		if challenge == &s.cfg.Certificates.ACME.Challenges[i] {
			if s.entries[i].dns == nil && strings.HasPrefix(name, "*.") {
				return nil, newFault("write a dns01 entry for its zone before this one", "%s is a wildcard, and http01 cannot prove control over one", name)
			}
			return s.entries[i], nil
		}
	}
	return nil, newFault("add one whose zone holds it, or one without zone", "no entry of certificates.acme.challenges fits %s", name)
}

// accountFor is the account that can delete a record: the one that made it, else
// the one for its name, else nil. Accounts may look the same, as those of tokens
// do; then the one for its name comes first.
func (s *settings) accountFor(r *record) *ovhAccount {
	var own *ovhAccount
	if e, err := s.entryFor(r.Name); err == nil && e.dns != nil {
		own = e.dns.account
	}
	if own != nil && own.identity() == r.Account {
		return own
	}
	for _, e := range s.entries {
		if e.dns != nil && e.dns.account.identity() == r.Account {
			return e.dns.account
		}
	}
	return own
}

// usesDNS tells whether any entry makes records.
func (s *settings) usesDNS() bool {
	for _, e := range s.entries {
		if e.dns != nil {
			return true
		}
	}
	return false
}
