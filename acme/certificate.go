package acme

import (
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"time"
)

// State is how a name's certificate is.
type State string

// The states of Certificate.State.
const (
	Valid     State = "valid"
	Obtaining State = "obtaining" // the first attempt is under way
	Failed    State = "failed"    // no certificate; see Error and NextAttempt
	Expired   State = "expired"   // served nevertheless
	Missing   State = "missing"   // the issuer is files, and none covers the name
)

// Certificate is what a client that asks for Name is really given.
type Certificate struct {
	Name string `json:"name"`
	// Issuer is "acme", "internal" or "files".
	Issuer string `json:"issuer"`
	// NotBefore, NotAfter and Serial (hexadecimal) are zero without a
	// certificate.
	NotBefore time.Time `json:"not_before,omitzero"`
	NotAfter  time.Time `json:"not_after,omitzero"`
	Serial    string    `json:"serial,omitempty"`
	// Source is the path of the certificate file, if it comes from one.
	Source string `json:"source,omitempty"`
	State  State  `json:"state"`
	// Error is what went wrong last, also when the certificate is still valid:
	// a renewal that failed, a file that was not taken over.
	Error string `json:"error,omitempty"`
	// NextAttempt is when it is renewed, or tried again after a failure.
	NextAttempt time.Time `json:"next_attempt,omitzero"`
	// Progress is how far the attempt under way has come, "" when there is none.
	Progress string `json:"progress,omitempty"`
}

// Certificates lists what is served for each managed name and each name that a
// certificate file holds, sorted by name.
func (m *Manager) Certificates() []Certificate {
	held := m.current.Load()
	names := slices.Concat(slices.Collect(maps.Keys(held.names)), slices.Collect(maps.Keys(held.files.byName)))
	slices.Sort(names)
	names = slices.Compact(names)
	list := make([]Certificate, 0, len(names))
	for _, name := range names {
		list = append(list, m.describe(name, held))
	}
	return list
}

// Ready tells whether a client that asks for the name gets a certificate that
// is valid now.
func (m *Manager) Ready(name string) bool {
	certificate, _ := m.lookup(canonical(name), nil)
	return certificate != nil && validNow(certificate.Leaf)
}

func (m *Manager) describe(name string, held *holdings) Certificate {
	if f := held.files.pick(name, nil); f != nil {
		c := Certificate{Name: name, Issuer: issuerFiles, Source: f.source.Certificate, Error: f.problem}
		c.fill(f.pair.Leaf)
		return c
	}
	k := held.names[name]
	if k == nil {
		return Certificate{Name: name, Issuer: issuerFiles, State: Missing, Error: "no certificate file covers this name"}
	}
	return m.describeManaged(k)
}

func (m *Manager) describeManaged(k *keeper) Certificate {
	c := Certificate{Name: k.name, Issuer: m.issuer, State: Obtaining, Progress: m.ledger.stepOf(k.name)}
	next, err := k.last()
	if err != nil {
		c.State, c.Error, c.NextAttempt = Failed, err.Error(), next
	}
	if certificate := m.cached(k.name); certificate != nil {
		c.fill(certificate.Leaf)
		switch {
		case err != nil:
		case m.issuer == issuerACME && !next.IsZero():
			c.NextAttempt = next
		default: // certmagic renews what the internal CA signed
			c.NextAttempt = renewal(certificate.Leaf)
		}
	}
	return c
}

// fill tells of a certificate that is there.
func (c *Certificate) fill(leaf *x509.Certificate) {
	c.NotBefore, c.NotAfter = leaf.NotBefore, leaf.NotAfter
	c.Serial = fmt.Sprintf("%x", leaf.SerialNumber)
	switch now := time.Now(); {
	case now.After(leaf.NotAfter):
		c.State = Expired
	case now.Before(leaf.NotBefore):
		c.State = Failed
		c.Error = "not valid before " + leaf.NotBefore.Format(time.RFC3339)
	default:
		c.State = Valid
	}
}

func validNow(leaf *x509.Certificate) bool {
	now := time.Now()
	return !now.Before(leaf.NotBefore) && !now.After(leaf.NotAfter)
}
