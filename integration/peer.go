//go:build integration

package integration

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix/federation"
)

const peerName = "peer.test"

// peer is another homeserver as far as its signature goes: it publishes its key
// on port 8448, found without well-known and SRV, and signs requests with it.
type peer struct {
	key         *federation.SigningKey
	certificate string // the file with its TLS certificate
	server      *http.Server
}

func startPeer(directory string) (*peer, error) {
	p := &peer{key: federation.GenerateSigningKey(), certificate: filepath.Join(directory, "peer.pem")}
	certificate, err := selfSigned(peerName)
	if err != nil {
		return nil, fmt.Errorf("making the peer's certificate: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})
	if err := os.WriteFile(p.certificate, text, 0o644); err != nil {
		return nil, fmt.Errorf("writing the peer's certificate: %w", err)
	}
	listener, err := tls.Listen("tcp", net.JoinHostPort(peerAddress, "8448"), &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		return nil, fmt.Errorf("starting the peer: %w", err)
	}
	keys := &federation.KeyServer{KeyProvider: &federation.StaticServerKey{ServerName: peerName, Key: p.key}}
	routes := http.NewServeMux()
	keys.Register(routes, zerolog.Nop())
	// Browsers and homeservers that refuse its certificate would be logged.
	p.server = &http.Server{Handler: routes, ErrorLog: log.New(io.Discard, "", 0)}
	go p.server.Serve(listener)
	return p, nil
}

func (p *peer) stop() error { return p.server.Close() }

// client sends the peer's requests. It finds other homeservers as the
// specification says, trusting the CA for well-known and federation alike.
func (p *peer) client(roots *x509.CertPool) (*federation.Client, *recorder) {
	return p.resolving(newClient(roots), roots, nil)
}

// through is a client that goes to one front door whatever it asks for, and
// trusts the CA there.
func (p *peer) through(door frontDoor, roots *x509.CertPool) *federation.Client {
	finding := newClient(roots)
	finding.through(door.address, roots)
	client, _ := p.resolving(finding, roots, finding.transport.DialContext)
	return client
}

// resolving is a client that reads well-known with another one, and dials as
// told, or as it found out.
func (p *peer) resolving(finding *client, roots *x509.CertPool, dial func(ctx context.Context, network, address string) (net.Conn, error)) (*federation.Client, *recorder) {
	resolving := federation.NewServerResolvingTransport(nil)
	resolving.ResolveOpts = &federation.ResolveServerNameOpts{HTTPClient: finding.Client}
	resolving.Transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	if dial != nil {
		resolving.Transport.DialContext = dial
	}
	recording := newRecorder(resolving)
	client := federation.NewClient(peerName, p.key, nil)
	client.HTTP.Transport = recording
	return client, recording
}

// selfSigned makes a certificate for a name that is its own authority.
func selfSigned(name string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{certificate}, PrivateKey: key}, nil
}
