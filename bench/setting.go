package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"embed"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"vestibule/configs"
)

// setting is what a template makes a target's configuration of.
type setting struct {
	Dir      string // of the target
	Address  string // to end TLS on
	Port     string // of Address
	Admin    string // another
	Control  string // a Unix socket
	Upstream string
	Log      string // the file of the access log, "" for none

	Certificate, Key, Bundle string // files

	ServerName, Host string

	Routes  []route
	Pools   []string
	Map     string // the file of the routes, as HAProxy reads them
	Workers []string
	Streams []string

	Connections int // to take from clients
	OpenFiles   int

	Lines []string // further ones
}

// route sends the paths that match a pattern to a pool.
type route struct{ Pool, Pattern string }

//go:embed routes.txt
var routesText string

//go:embed paths.txt
var pathsText string

//go:embed templates
var templates embed.FS

// routes are those of routes.txt, and the pools they lead to.
func routes() (table []route, pools []string) {
	pools = []string{"main"}
	for line := range strings.Lines(routesText) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		pool, pattern, _ := strings.Cut(strings.TrimSpace(line), " ")
		table = append(table, route{pool, pattern})
		if !slices.Contains(pools, pool) {
			pools = append(pools, pool)
		}
	}
	return table, pools
}

// newSetting makes a directory for the target and finds free ports. What runs
// beside another of the same target has another directory.
func (b *bench) newSetting(t *target, w *work) (*setting, error) {
	dir := filepath.Join(b.dir, t.name)
	switch {
	case w.logged:
		dir += "-logged"
	case w.fresh:
		dir += "-fresh"
	}
	s := &setting{
		Dir: dir, Control: filepath.Join(dir, "control.sock"), Upstream: b.upstream.address,
		Certificate: filepath.Join(b.dir, "certificate.pem"), Key: filepath.Join(b.dir, "key.pem"), Bundle: filepath.Join(b.dir, "bundle.pem"),
		ServerName: serverName, Host: host,
		Map:         filepath.Join(b.dir, "routes.map"),
		Connections: b.polls + spare, OpenFiles: b.openFiles(),
		Lines: t.lines,
	}
	s.Routes, s.Pools = routes()
	for _, class := range configs.WorkerClasses {
		if stream, ok := strings.CutPrefix(string(class), "stream:"); ok {
			s.Streams = append(s.Streams, stream)
		} else {
			s.Workers = append(s.Workers, string(class))
		}
	}
	if w.logged {
		s.Log = filepath.Join(dir, "access.log")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var err error
	if s.Address, err = freeAddress(); err != nil {
		return nil, err
	}
	if _, s.Port, err = net.SplitHostPort(s.Address); err != nil {
		return nil, err
	}
	s.Admin, err = freeAddress()
	return s, err
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// write makes a file of a template.
func (s *setting) write(name, file string) error {
	t, err := template.ParseFS(templates, "templates/"+name)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(t.Execute(f, s), f.Close())
}

// writeShared writes what all targets read: the certificate and, as HAProxy
// reads them, the routes.
func (b *bench) writeShared() error {
	certificate, key, err := makeCertificate()
	if err != nil {
		return fmt.Errorf("making a certificate: %w", err)
	}
	var lines strings.Builder
	table, _ := routes()
	for _, r := range table {
		fmt.Fprintf(&lines, "%s %s\n", r.Pattern, r.Pool)
	}
	for name, text := range map[string]string{
		"certificate.pem": certificate, "key.pem": key, "bundle.pem": certificate + key,
		"routes.map": lines.String(), urlsFile: urls(),
	} {
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// makeCertificate signs a certificate of P-256 with its own key, both as PEM.
func makeCertificate() (certificate, key string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(0, 3, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return "", "", err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", "", err
	}
	block := func(kind string, bytes []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}))
	}
	return block("CERTIFICATE", signed), block("PRIVATE KEY", encoded), nil
}
