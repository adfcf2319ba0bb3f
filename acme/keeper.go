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
)

// keeper keeps one name's certificate. certmagic alone would not do: it gives a
// name up for good when storage fails at the start, holds back renewals that
// were cut short, and tells nobody when it tries next.
type keeper struct {
	manager *Manager
	name    string
	ctx     context.Context
	cancel  context.CancelCauseFunc
	done    chan struct{}

	mu  sync.Mutex
	err error     // of the last attempt
	at  time.Time // of the next one
}

// errDropped is why a keeper stops whose name is no longer managed.
var errDropped = errors.New("the name is no longer managed")

// startKeeper keeps a name until the context of Manage or the Manager ends, or
// the name is dropped. It waits for its predecessor, whose last act may be to
// forget the certificate. The caller holds m.mu.
func (m *Manager) startKeeper(name string, predecessor *keeper) *keeper {
	k := &keeper{manager: m, name: name, done: make(chan struct{})}
	k.ctx, k.cancel = context.WithCancelCause(m.parent)
	stop := context.AfterFunc(m.ctx, func() { k.cancel(nil) })
	m.tasks.Go(func() {
		defer close(k.done)
		defer stop()
		if predecessor != nil {
			<-predecessor.done
		}
		k.run()
	})
	return k
}

func (k *keeper) run() {
	m := k.manager
	retry := m.pace.retry
	for {
		err := k.keep()
		if k.ctx.Err() != nil {
			break
		}
		wait := m.pace.check
		if err != nil {
			wait, retry = retry, min(2*retry, m.pace.retryMax)
			m.log.Error("certificate not obtained", "name", k.name, "error", err, "retry_in", wait.String())
		} else {
			retry = m.pace.retry
		}
		k.note(err, time.Now().Add(wait))
		select {
		case <-k.ctx.Done():
		case <-time.After(wait):
		}
	}
	if errors.Is(context.Cause(k.ctx), errDropped) {
		m.cache.RemoveManaged([]certmagic.SubjectIssuer{{Subject: k.name}})
	}
}

// drop ends the keeping and the renewing. At the end of the process there is no
// drop: connections that are still served go on having their certificate.
func (k *keeper) drop() { k.cancel(errDropped) }

func (k *keeper) note(err error, next time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err, k.at = err, next
}

// last is the error of the last attempt and the time of the next; both are zero
// while the first one is under way.
func (k *keeper) last() (next time.Time, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.at, k.err
}

// keep makes one attempt at having a good certificate in memory. certmagic
// renews in time by itself; what it failed to renew is renewed here, so that
// the reason is known.
func (k *keeper) keep() error {
	m := k.manager
	err := m.magic.ManageSync(k.ctx, []string{k.name})
	if err != nil && k.discardTorn() {
		err = m.magic.ManageSync(k.ctx, []string{k.name})
	}
	if err != nil {
		return err
	}
	certificate := m.cached(k.name)
	switch {
	case certificate == nil:
		return fmt.Errorf("the certificate is for other names than %s", k.name)
	case !m.authority.signed(certificate.Leaf):
		return k.renew(true)
	case time.Now().After(renewal(certificate.Leaf).Add(2 * m.pace.check)):
		return k.renew(false)
	}
	return nil
}

// renewal is when certmagic renews a certificate: with a third of its life left.
func renewal(leaf *x509.Certificate) time.Time {
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	return leaf.NotAfter.Add(-time.Duration(float64(life) * certmagic.DefaultRenewalWindowRatio))
}

// renew puts a new certificate into storage, then into memory, and only then
// takes the old one out. Unless forced, it uses what another process renewed.
func (k *keeper) renew(force bool) error {
	m := k.manager
	if err := m.magic.RenewCertSync(k.ctx, k.name, force); err != nil {
		return err
	}
	old := m.cache.AllMatchingCertificates(k.name)
	renewed, err := m.magic.CacheManagedCertificate(k.ctx, k.name)
	if err != nil {
		return err
	}
	var hashes []string
	for _, certificate := range old {
		if certificate.Names[0] == k.name && certificate.Hash() != renewed.Hash() {
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
func (k *keeper) discardTorn() bool {
	m := k.manager
	lock := "issue_cert_" + k.name
	if err := m.storage.Lock(k.ctx, lock); err != nil {
		return false
	}
	defer unlock(m.storage, lock, m.log)
	if !k.torn() {
		return false
	}
	m.log.Warn("stored certificate is unusable and will be replaced", "name", k.name)
	return m.storage.Delete(k.ctx, certmagic.StorageKeys.CertsSitePrefix(issuerInternal, k.name)) == nil
}

// torn is false when anything cannot be read: that is another problem.
func (k *keeper) torn() bool {
	keys := certmagic.StorageKeys
	var parts [3][]byte
	for i, key := range []string{
		keys.SiteCert(issuerInternal, k.name),
		keys.SitePrivateKey(issuerInternal, k.name),
		keys.SiteMeta(issuerInternal, k.name),
	} {
		part, err := k.manager.storage.Load(k.ctx, key)
		if err != nil {
			return false
		}
		parts[i] = bytes.TrimSpace(part)
	}
	_, err := tls.X509KeyPair(parts[0], parts[1])
	return err != nil || !json.Valid(parts[2])
}
