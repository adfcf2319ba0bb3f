//go:build integration

package integration

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
)

const authorityName = "acme.test"

// authority issues certificates as Let's Encrypt does, by the program with which
// Let's Encrypt has clients tested. It looks names up in the laboratory's DNS and
// invents its root anew at each start.
type authority struct {
	directory string         // the URL for ACME clients
	api       string         // the file with the certificate of that URL
	root      string         // the file with the root of what it issues
	roots     *x509.CertPool // that root alone
	server    *http.Server
	log       *os.File
}

func startAuthority(directory, logs string) (*authority, error) {
	a := &authority{
		directory: "https://" + authorityName + "/dir",
		api:       filepath.Join(directory, "authority-api.pem"),
		root:      filepath.Join(directory, "authority-root.pem"),
	}
	certificate, err := selfSigned(authorityName)
	if err != nil {
		return nil, fmt.Errorf("making the authority's certificate: %w", err)
	}
	if a.log, err = os.Create(filepath.Join(logs, "authority.log")); err != nil {
		return nil, fmt.Errorf("starting the authority: %w", err)
	}
	front, root := newPebble(log.New(a.log, "", log.LstdFlags))
	a.roots = x509.NewCertPool()
	a.roots.AppendCertsFromPEM(root)
	api := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})
	if err := errors.Join(os.WriteFile(a.root, root, 0o644), os.WriteFile(a.api, api, 0o644)); err != nil {
		return nil, fmt.Errorf("writing the authority's certificates: %w", err)
	}
	listener, err := tls.Listen("tcp", net.JoinHostPort(authorityAddress, "443"), &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		return nil, fmt.Errorf("starting the authority: %w", err)
	}
	a.server = &http.Server{Handler: front, ErrorLog: log.New(a.log, "", log.LstdFlags)}
	go a.server.Serve(listener)
	return a, nil
}

// newPebble is an authority of two levels, and its root in PEM. Its certificates
// live as long as Let's Encrypt's. As always, it turns down one nonce in twenty.
func newPebble(log *log.Logger) (http.Handler, []byte) {
	os.Setenv("PEBBLE_VA_NOSLEEP", "1")  // it would wait up to five seconds before it validates
	os.Setenv("PEBBLE_AUTHZREUSE", "0")  // every name is validated
	const ninetyDays = 90 * 24 * 60 * 60 // seconds
	profiles := map[string]ca.Profile{"default": {Description: "the only one", ValidityPeriod: ninetyDays}}
	store := db.NewMemoryStore()
	issuer := ca.New(log, store, "", "ecdsa", 0, 1, profiles)
	validator := va.New(log, 80, 443, false, net.JoinHostPort(resolverAddress, "53"), store)
	front := wfe.New(log, store, validator, issuer, []string{authorityName}, false, false, 1, 1)
	return front.Handler(), issuer.GetRootCert(0).PEM()
}

// section is the section certificates of a front door that obtains them here,
// without storage. The challenge is in YAML's flow style.
func (a *authority) section(zone, challenge string) string {
	return fmt.Sprintf("acme: { email: ops@%s, directory: %q, roots_file: %q, challenges: [ { %s } ] }", zone, a.directory, a.api, challenge)
}

func (a *authority) stop() error { return errors.Join(a.server.Close(), a.log.Close()) }
