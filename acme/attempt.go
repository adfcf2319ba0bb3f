package acme

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
)

// ours marks the contexts of attempts of this package. certmagic's maintenance also
// tries to renew, by a schedule of its own that takes no account of the authority's
// limits; with ACME it is turned away.
type ours struct{}

// errLeft turns certmagic's maintenance away.
var errLeft = errors.New("left to the name's keeper")

// keep makes one attempt at having a good certificate in memory. The error is for
// an operator.
func (m *Manager) keep(ctx context.Context, name string) error {
	defer m.ledger.step(name, "")
	ctx = context.WithValue(ctx, ours{}, true)
	err := m.hold(ctx, name)
	if err != nil && m.discardTorn(ctx, name) {
		err = m.hold(ctx, name)
	}
	return m.judge(name, err)
}

// hold takes a certificate into memory, and renews it if that is due.
func (m *Manager) hold(ctx context.Context, name string) error {
	if err := m.magic.ManageSync(ctx, []string{name}); err != nil {
		return err
	}
	return m.tend(ctx, name)
}

// judge finds out whether the storage is the reason of an error: certmagic's
// errors no longer say.
func (m *Manager) judge(name string, err error) error {
	if err == nil || faultOf(err) != nil {
		return plain(err)
	}
	if broken := tryFile(m.directory); broken != nil {
		m.ledger.failed(name)
		return storageProblem(m.directory, broken)
	}
	return plain(err)
}

// tend renews a certificate that is in memory if that is due.
func (m *Manager) tend(ctx context.Context, name string) error {
	certificate := m.cached(name)
	switch {
	case certificate == nil:
		return fmt.Errorf("the certificate is for other names than %s", name)
	case m.authority != nil && !m.authority.signed(certificate.Leaf):
		return m.renew(ctx, name, true)
	case m.overdue(certificate):
		return m.renew(ctx, name, false)
	}
	return nil
}

// overdue tells whether we have to renew. With ACME nobody else does. Certificates
// of the internal CA are renewed by certmagic; those it failed to renew are renewed
// here, so that the reason is known.
func (m *Manager) overdue(certificate *certmagic.Certificate) bool {
	if m.issuer == issuerACME {
		return certificate.NeedsRenewal(m.magic)
	}
	return time.Now().After(renewal(certificate.Leaf).Add(2 * m.pace.check))
}

// due is when the name's certificate in memory is renewed: when its authority
// suggests (RFC 9773), or with a third of its life left if that is earlier. It is
// zero without a certificate.
func (m *Manager) due(ctx context.Context, name string) time.Time {
	held := m.cached(name)
	if held == nil {
		return time.Time{}
	}
	at := renewal(held.Leaf)
	if suggested := m.suggested(ctx, name, held.Leaf); !suggested.IsZero() && suggested.Before(at) {
		return suggested
	}
	return at
}

// suggested is the time that certmagic has chosen in the window its authority
// suggests for the renewal of a certificate, zero if there is none. certmagic keeps
// it to itself, but also in the storage.
func (m *Manager) suggested(ctx context.Context, name string, leaf *x509.Certificate) time.Time {
	id, err := acme.ARIUniqueIdentifier(leaf)
	if err != nil {
		return time.Time{}
	}
	content, err := m.storage.Load(ctx, certmagic.StorageKeys.SiteMeta(m.from.IssuerKey(), name))
	if err != nil {
		return time.Time{}
	}
	var stored struct {
		IssuerData acme.Certificate `json:"issuer_data"`
	}
	if json.Unmarshal(content, &stored) != nil {
		return time.Time{}
	}
	info := stored.IssuerData.RenewalInfo
	if info == nil || info.UniqueIdentifier != id {
		return time.Time{}
	}
	return info.SelectedTime
}

// renewal is when a certificate is renewed, unless its authority wishes it earlier:
// with a third of its life left.
func renewal(leaf *x509.Certificate) time.Time {
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	return leaf.NotAfter.Add(-time.Duration(float64(life) * certmagic.DefaultRenewalWindowRatio))
}

// renew puts a new certificate into storage, then into memory, and only then
// takes the old one out. Unless forced, it uses what another process renewed.
func (m *Manager) renew(ctx context.Context, name string, force bool) error {
	ctx = context.WithValue(ctx, ours{}, true)
	if err := m.magic.RenewCertSync(ctx, name, force); err != nil {
		return err
	}
	old := m.cache.AllMatchingCertificates(name)
	renewed, err := m.magic.CacheManagedCertificate(ctx, name)
	if err != nil {
		return err
	}
	var hashes []string
	for _, certificate := range old {
		if certificate.Names[0] == name && certificate.Hash() != renewed.Hash() {
			hashes = append(hashes, certificate.Hash())
		}
	}
	m.cache.Remove(slices.Compact(hashes))
	return nil
}

// discardTorn deletes what is stored for the name if it cannot be used, and
// tells whether it did. A process killed between writing the key and the
// certificate leaves such a pair behind, and certmagic would stumble over it
// for ever. The lock is the one certmagic writes under, so nobody is in between.
func (m *Manager) discardTorn(ctx context.Context, name string) bool {
	if !m.torn(ctx, name) {
		return false // without the lock, which another process may hold for long
	}
	if err := m.storage.Lock(ctx, issueLock(name)); err != nil {
		return false
	}
	defer unlock(m.storage, issueLock(name), m.log)
	if !m.torn(ctx, name) {
		return false
	}
	m.log.Warn("stored certificate is unusable and will be replaced", "name", name)
	return m.storage.Delete(ctx, certmagic.StorageKeys.CertsSitePrefix(m.from.IssuerKey(), name)) == nil
}

// torn is false when anything cannot be read: that is another problem.
func (m *Manager) torn(ctx context.Context, name string) bool {
	keys, issuer := certmagic.StorageKeys, m.from.IssuerKey()
	var parts [3][]byte
	for i, key := range []string{
		keys.SiteCert(issuer, name),
		keys.SitePrivateKey(issuer, name),
		keys.SiteMeta(issuer, name),
	} {
		part, err := m.storage.Load(ctx, key)
		if err != nil {
			return false
		}
		parts[i] = bytes.TrimSpace(part)
	}
	_, err := tls.X509KeyPair(parts[0], parts[1])
	return err != nil || !json.Valid(parts[2])
}

// Obtain makes one attempt at each name, all at once, and returns when the last is
// over. It needs no Manage before it, and does not wait after orders that failed. progress, which may be nil, is called with a
// line for every step, by one goroutine at a time. Names that a file covers need
// nothing. The error holds one line for each name that failed.
func (m *Manager) Obtain(ctx context.Context, names []string, progress func(string)) error {
	if m.magic == nil {
		return errors.New("certificates.issuer is files: there is nobody to obtain certificates from")
	}
	if progress != nil {
		defer m.ledger.listen(oneLine(progress))()
	}
	ctx = context.WithValue(ctx, insists{}, true)
	held := m.current.Load()
	errs := make([]error, len(names))
	var tasks sync.WaitGroup
	for i, name := range names {
		name = canonical(name)
		if held.files.covers(name) {
			continue
		}
		tasks.Go(func() {
			if err := m.keep(ctx, name); err != nil {
				errs[i] = fmt.Errorf("%s: %w", name, err)
			} else if k := held.names[name]; k != nil {
				k.note(nil, m.due(ctx, name))
			}
		})
	}
	tasks.Wait()
	return errors.Join(errs...)
}

// oneLine makes a listener that calls progress with "name: step".
func oneLine(progress func(string)) func(name, step string) {
	var mu sync.Mutex
	return func(name, step string) {
		mu.Lock()
		defer mu.Unlock()
		progress(name + ": " + step)
	}
}

// Renew replaces the certificate of a managed name now, however long it is valid,
// and whatever orders failed before.
func (m *Manager) Renew(ctx context.Context, name string) error {
	name = canonical(name)
	k := m.current.Load().names[name]
	if k == nil {
		return fmt.Errorf("no certificate for %s is obtained here (hint: `vestibule certificates list` shows the names)", name)
	}
	defer m.ledger.step(name, "")
	ctx = context.WithValue(ctx, insists{}, true)
	var err error
	if m.cached(name) == nil {
		err = m.keep(ctx, name)
	} else {
		err = m.renew(ctx, name, true)
		if err != nil && m.discardTorn(ctx, name) {
			err = m.renew(ctx, name, true)
		}
		err = m.judge(name, err)
	}
	if err == nil {
		k.note(nil, m.due(ctx, name))
	}
	return err
}
