package acme

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
)

// Certificates of twenty seconds come and go for a minute under load, while OVH has
// its moods: no handshake fails, and none is given an expired certificate.
func TestRenewalUnderLoad(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes a minute")
	}
	const life = 20 * time.Second
	w := newWorld(t, worldOptions{pebble: pebbleOptions{life: uint64(life / time.Second)}})
	p := w.pace()
	p.check = life / 25
	m := w.startWith(t, p)
	names := []string{"example.org", host, "*.example.org"}
	obtained(t, m, names...)
	server := serve(t, m.GetCertificate)
	root := w.ca.root(t)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var seen sync.Map
	var handshakes atomic.Int64
	var clients sync.WaitGroup
	for _, name := range []string{"example.org", host, "element.example.org"} {
		clients.Go(func() {
			for ctx.Err() == nil {
				leaf, err := server.shake(root, name, name)
				if err != nil {
					t.Errorf("%s after %d handshakes: %v", name, handshakes.Load(), err)
					cancel()
					return
				}
				handshakes.Add(1)
				seen.Store(name+leaf.SerialNumber.String(), true)
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	clients.Wait()
	certificates := 0
	seen.Range(func(any, any) bool { certificates++; return true })
	if certificates < 9 || handshakes.Load() < 1000 {
		t.Errorf("%d certificates in %d handshakes", certificates, handshakes.Load())
	}
	if n := w.ca.ordered(); n > 3*certificates {
		t.Errorf("%d orders for %d certificates", n, certificates)
	}
	if w.log.has("level=ERROR") {
		for line := range strings.Lines(w.log.String()) {
			if strings.Contains(line, "level=ERROR") {
				t.Error(line)
			}
		}
	}
	for _, s := range m.Stats() {
		if s.Obtained != 1 || s.Renewed < 2 || s.Failed != 0 {
			t.Errorf("%+v", s)
		}
	}
	m.Manage(t.Context(), nil)
	w.clean(t, "example.org")
}

// A certificate is renewed when its authority suggests (RFC 9773), and that is told.
func TestRenewalSuggested(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	m := w.start(t)
	obtained(t, m, host)
	serial := find(m, host).Serial
	key := certmagic.StorageKeys.SiteMeta(m.from.IssuerKey(), host)
	suggest := func(at time.Time) {
		t.Helper()
		m.Close()
		content, err := m.storage.Load(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		var stored map[string]any
		if err := json.Unmarshal(content, &stored); err != nil {
			t.Fatal(err)
		}
		stored["issuer_data"].(map[string]any)["renewal_info"].(map[string]any)["_selectedTime"] = at
		if content, err = json.Marshal(stored); err == nil {
			err = m.storage.Store(t.Context(), key, content)
		}
		if err != nil {
			t.Fatal(err)
		}
		m = w.start(t)
		m.Manage(t.Context(), []string{host})
	}
	soon := time.Now().Add(30 * time.Hour).UTC()
	suggest(soon)
	eventually(t, "it is told", func() bool { return find(m, host).NextAttempt.Equal(soon) })
	if c := find(m, host); c.Serial != serial || w.ca.ordered() != 1 {
		t.Errorf("%+v", c)
	}
	suggest(time.Now().Add(-time.Minute))
	eventually(t, "it is renewed", func() bool { c := find(m, host); return c.State == Valid && c.Serial != serial })
	eventually(t, "that is no longer due", func() bool { return find(m, host).NextAttempt.After(soon) })
	if n := w.ca.ordered(); n != 2 {
		t.Errorf("%d orders", n)
	}
}

// An authority that cannot be asked when to renew is told of once, in our words.
func TestNoSuggestion(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	m := w.start(t)
	obtained(t, m, host)
	w.ca.server.Close()
	if _, err := m.from.(*issuer).GetRenewalInfo(t.Context(), *m.cached(host)); err == nil {
		t.Error("no error")
	}
	if !w.log.has(`level=WARN msg="authority does not say when to renew; done with a third of the life left" name=matrix.example.org error="asking when to renew at `) {
		t.Error(w.log.String())
	}
}

// Renew replaces a certificate that is still good, at once.
func TestRenewNow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	m := w.start(t)
	obtained(t, m, host)
	first := find(m, host).Serial
	if err := m.Renew(t.Context(), "Matrix.example.org"); err != nil {
		t.Fatal(err)
	}
	c := find(m, host)
	if c.Serial == first || c.State != Valid || w.ca.ordered() != 2 {
		t.Errorf("%+v", c)
	}
	if n := len(m.cache.AllMatchingCertificates(host)); n != 1 {
		t.Errorf("%d certificates are held", n)
	}
	if err := m.Renew(t.Context(), "other.example.org"); err == nil || err.Error() !=
		"no certificate for other.example.org is obtained here (hint: `vestibule certificates list` shows the names)" {
		t.Errorf("%v", err)
	}
	w.ovh.AddApplication(appKey, "another")
	if err := m.Renew(t.Context(), host); err == nil || find(m, host).State != Valid {
		t.Errorf("%v", err)
	}
}

// An account that was lost is made anew, and renewals go on: the authority does not
// let it replace what another ordered.
func TestAccountLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	m := w.start(t)
	obtained(t, m, host)
	from := m.from.(*issuer)
	if err := from.forgetAccount(t.Context(), "ops@example.org"); err != nil {
		t.Fatal(err)
	}
	if err := m.Renew(t.Context(), host); err != nil {
		t.Error(err)
	}
	w.clean(t, "example.org")
	if n := w.ca.ordered(); n != 3 { // the first, the refused one, and that as a new one
		t.Errorf("%d orders", n)
	}

	// The authority lost its memory instead.
	stored, err := from.loadAccount(t.Context(), "ops@example.org")
	if err != nil {
		t.Fatal(err)
	}
	w.ca.refuse(400, "accountDoesNotExist", "no such account", nil)
	if err := m.Renew(t.Context(), host); err != nil {
		t.Error(err)
	}
	renewed, err := from.loadAccount(t.Context(), "ops@example.org")
	if err != nil || renewed.Location == stored.Location {
		t.Errorf("%s %v", renewed.Location, err)
	}
	key := from.accountKey("ops@example.org")
	if err := m.storage.Store(t.Context(), key, []byte("{")); err != nil {
		t.Fatal(err)
	}
	if err := m.Renew(t.Context(), host); err == nil || !strings.HasPrefix(err.Error(), key+" in the storage is damaged") {
		t.Errorf("%v", err)
	}
}

// An authority that stumbles over what an order replaces gets one that replaces
// nothing: acmez gives up after three answers of 500.
func TestReplacesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	m := w.start(t)
	obtained(t, m, host)
	for range 3 {
		w.ca.refuse(500, "serverInternal", "could not find an order for the given certificate", nil)
	}
	if err := m.Renew(t.Context(), host); err != nil {
		t.Error(err)
	}
	if n := w.ca.ordered(); n != 5 {
		t.Errorf("%d orders", n)
	}
}

// Obtain works ahead of time, tells its steps, and a later start orders nothing.
func TestObtainAhead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	m := w.start(t)
	var steps []string
	err := m.Obtain(t.Context(), []string{host, "auth.example.net"}, func(line string) { steps = append(steps, line) })
	want := "auth.example.net: no zone of this OVH account holds _acme-challenge.auth.example.net; it has example.org"
	if err == nil || len(err.Error()) < len(want) || err.Error()[:len(want)] != want {
		t.Errorf("%v", err)
	}
	if len(steps) < 4 {
		t.Errorf("%q", steps)
	}
	m.Close()
	orders := w.ca.ordered()
	again := w.start(t)
	obtained(t, again, host)
	if orders != 1 || w.ca.ordered() != 1 {
		t.Errorf("%d orders, then %d", orders, w.ca.ordered())
	}
}

// A reload that corrects the settings takes effect at once, and keeps the cache.
func TestUpdateACME(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	good := *w.entry().OVH
	w.entry().OVH.ApplicationSecretFile = secretFile(t, "wrong")
	p := w.pace()
	p.retry, p.retryMax = time.Hour, time.Hour
	m := w.startWith(t, p)
	m.Manage(t.Context(), []string{host})
	reads(t, m, host, "the application secret is wrong")

	corrected := *w.cfg
	acme := *corrected.Certificates.ACME
	corrected.Certificates.ACME = &acme
	acme.Challenges = append(acme.Challenges[:0:0], acme.Challenges...)
	entry := *acme.Challenges[0].DNS01
	entry.OVH = &good
	acme.Challenges[0].DNS01 = &entry
	if err := m.Update(&corrected); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it recovers", func() bool { return find(m, host).State == Valid })
	account := m.settings().entries[0].dns.account
	if err := m.Update(&corrected); err != nil {
		t.Fatal(err)
	}
	if m.settings().entries[0].dns.account != account {
		t.Error("an account that did not change was forgotten")
	}
	entry.OVH.ConsumerKeyFile = "/nowhere"
	if err := m.Update(&corrected); err == nil || m.settings().entries[0].dns.account != account {
		t.Errorf("%v", err)
	}
}
