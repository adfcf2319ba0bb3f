package acme

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"time"

	"github.com/caddyserver/certmagic"
)

// authority is the internal CA: an Issuer for certmagic. Its root lives ten
// years and signs leaves directly.
//
// The root has no name constraints. The names it signs come from the
// configuration, so a constrained root would have to be replaced, and trusted
// anew by every device, for each domain added; and RFC 5280 (section 6.1.1)
// leaves it open whether constraints of a trust anchor count at all. It is held
// to certificates of servers and to no CA below it instead. Whoever trusts it
// trusts this machine; its key is readable by vestibule alone.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
	root        []byte // PEM
	life        time.Duration
}

const (
	// authorityKey is where root and key are stored, in one value so that one
	// never comes without the other.
	authorityKey  = "internal/authority.pem"
	authorityLock = "internal_authority"

	rootLife = 10 * 365 * 24 * time.Hour

	// lockPatience is longer than the ten seconds after which certmagic takes
	// over the lock of a process that died.
	lockPatience = 30 * time.Second
)

// openAuthority loads the root, or makes it. It holds a lock of the storage
// meanwhile, so that processes that share the storage share the root.
func openAuthority(storage certmagic.Storage, life time.Duration, log *slog.Logger) (*authority, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lockPatience)
	defer cancel()
	if err := storage.Lock(ctx, authorityLock); err != nil {
		return nil, fmt.Errorf("locking the internal CA's root: %w", err)
	}
	defer unlock(storage, authorityLock, log)
	a, err := loadAuthority(ctx, storage)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("loading the internal CA's root: %w", err)
	case time.Now().Add(life).After(a.certificate.NotAfter):
		log.Warn("internal CA's root expires and is replaced; trust the new root.pem", "not_after", a.certificate.NotAfter)
	default:
		a.life = life
		return a, nil
	}
	a, err = createAuthority(ctx, storage)
	if err != nil {
		return nil, fmt.Errorf("making the internal CA's root: %w", err)
	}
	a.life = life
	return a, nil
}

func loadAuthority(ctx context.Context, storage certmagic.Storage) (*authority, error) {
	bundle, err := storage.Load(ctx, authorityKey)
	if err != nil {
		return nil, err
	}
	a, err := parseAuthority(bundle)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: %w (hint: restore it; or delete it, and trust the new root.pem)",
			authorityKey, err)
	}
	return a, nil
}

func parseAuthority(bundle []byte) (*authority, error) {
	pair, err := tls.X509KeyPair(bundle, bundle)
	if err != nil {
		return nil, err
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA {
		return nil, errors.New("not a CA and its key")
	}
	return &authority{certificate: pair.Leaf, key: key, root: encodeCertificate(pair.Leaf.Raw)}, nil
}

func createAuthority(ctx context.Context, storage certmagic.Storage) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := selfSign(key)
	if err != nil {
		return nil, err
	}
	keyPEM, err := certmagic.PEMEncodePrivateKey(key)
	if err != nil {
		return nil, err
	}
	bundle := append(encodeCertificate(der), keyPEM...)
	if err := storage.Store(ctx, authorityKey, bundle); err != nil {
		return nil, err
	}
	return parseAuthority(bundle)
}

func selfSign(key *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		// Part of the serial tells the roots of several hosts apart in a list.
		Subject:               pkix.Name{CommonName: fmt.Sprintf("vestibule internal CA %.8x", serial.Bytes())},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(rootLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	return x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
}

// IssuerKey is the directory of the issuer's certificates in the storage.
func (a *authority) IssuerKey() string { return issuerInternal }

// Issue signs a request from certmagic. The certificate is valid from a
// twenty-fourth of its life ago, for clients whose clocks are late, and never
// beyond the root.
func (a *authority) Issue(_ context.Context, request *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("checking the request: %w", err)
	}
	if len(request.DNSNames)+len(request.IPAddresses) == 0 {
		return nil, errors.New("the name is neither a host name nor an address")
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	notAfter := now.Add(a.life)
	if notAfter.After(a.certificate.NotAfter) {
		notAfter = a.certificate.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		NotBefore:             now.Add(-a.life / 24),
		NotAfter:              notAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              request.DNSNames,
		IPAddresses:           request.IPAddresses,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, request.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return &certmagic.IssuedCertificate{Certificate: encodeCertificate(der)}, nil
}

// signed tells whether a leaf comes from this root, and not from one that was
// here before.
func (a *authority) signed(leaf *x509.Certificate) bool {
	return leaf.CheckSignatureFrom(a.certificate) == nil
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// newSerial is 127 random bits: positive and within the 20 octets of RFC 5280,
// section 4.1.2.2.
func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}
