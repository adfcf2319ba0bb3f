package proxy

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority is a CA of the operator's, for back ends that speak TLS.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	file        string // its certificate, PEM
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{file: filepath.Join(t.TempDir(), "ca.pem")}
	a.write(t)
	return a
}

// write makes a new key and certificate and replaces the file.
func (a *authority) write(t testing.TB) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if a.certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.key = key
	if err := os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// listen listens with a certificate for name.
func (a *authority) listen(t testing.TB, name string) net.Listener {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", a.server(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// server is for a server with a certificate for name, which writes as few records
// as possible.
func (a *authority) server(t testing.TB, name string) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(24 * time.Hour), DNSNames: []string{name}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{DynamicRecordSizingDisabled: true, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

func secureSite(main *backend, more string) string {
	return fmt.Sprintf("sites:\n  - server_name: example.com\n    synapse: { hold: 0s, main: { url: %q, %s } }\n",
		strings.Replace(main.url(), "http:", "https:", 1), more)
}

// TestSecureUpstream: an https upstream must prove the name it is known by, to
// the authority that is named.
func TestSecureUpstream(t *testing.T) {
	a := newAuthority(t)
	main := serveBackend(t, "main", a.listen(t, "synapse.internal"))
	is := func(name, keys string, status int) {
		t.Helper()
		f := newFront(t, secureSite(main, keys))
		resp, text := do(t, f.client(f.https, true), "GET", "https://matrix.example.com/_matrix/client/versions", nil)
		if resp.StatusCode != status || status == 200 && text != "main" {
			t.Errorf("%s: %s %q", name, resp.Status, text)
		}
	}
	is("right name", fmt.Sprintf("ca_file: %q, server_name: synapse.internal", a.file), 200)
	is("wrong name", fmt.Sprintf("ca_file: %q, server_name: other.internal", a.file), 502)
	is("the URL's host is the name by default", fmt.Sprintf("ca_file: %q", a.file), 502)
	is("the system's roots do not know the authority", "server_name: synapse.internal", 502)
}

// TestSecureUpstreamEnds: an answer is whole although the end of the connection comes
// together with it, which crypto/tls tells at once where TLS is older than 1.3.
func TestSecureUpstreamEnds(t *testing.T) {
	a := newAuthority(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cfg := a.server(t, "localhost")
		cfg.MaxVersion = version
		main := serveBackend(t, "main", lateListener{listenLocally(t), cfg})
		f := newFront(t, secureSite(main, fmt.Sprintf("ca_file: %q, server_name: localhost", a.file)))
		for _, size := range []int{2, 5000, 8 << 10} {
			for _, wait := range []time.Duration{0, 2 * unattendedWait} {
				main.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
					time.Sleep(wait)
					fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size))
					return false
				})
				resp, text := do(t, f.client(f.https, true), "GET", "https://matrix.example.com/_matrix/client/versions", nil)
				if resp.StatusCode != 200 || len(text) != size {
					t.Errorf("%s, %d bytes after %v: %s, %d bytes", tls.VersionName(version), size, wait, resp.Status, len(text))
				}
			}
		}
		if log := f.log.String(); strings.Contains(log, `"error"`) {
			t.Errorf("%s: %s", tls.VersionName(version), log)
		}
	}
}

// lateListener accepts connections over TLS of which an answer and the end of the
// connection leave together.
type lateListener struct {
	net.Listener
	cfg *tls.Config
}

func (l lateListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return tls.Server(&lateConn{Conn: c}, l.cfg), nil
}

// lateConn sends what is written when something is read, or at the end.
type lateConn struct {
	net.Conn
	b bytes.Buffer
}

func (c *lateConn) Write(p []byte) (int, error) { return c.b.Write(p) }

// SetWriteDeadline does nothing: crypto/tls sets one that has passed before it closes.
func (c *lateConn) SetWriteDeadline(time.Time) error { return nil }

func (c *lateConn) Read(p []byte) (int, error) {
	c.b.WriteTo(c.Conn)
	return c.Conn.Read(p)
}

func (c *lateConn) Close() error {
	c.b.WriteTo(c.Conn)
	return c.Conn.Close()
}

func TestUnixUpstream(t *testing.T) {
	path := filepath.Join(t.TempDir(), "synapse.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	main := serveBackend(t, "main", l)
	f := newFront(t, fmt.Sprintf("sites:\n  - server_name: example.com\n    synapse: { hold: 0s, main: %q }\n", "unix:"+path))
	ask := func() (int, string) {
		resp, text := do(t, f.client(f.https, true), "GET", "https://matrix.example.com/_matrix/client/versions", nil)
		return resp.StatusCode, text
	}
	for range 3 {
		if status, text := ask(); text != "main" {
			t.Errorf("%d %q", status, text)
		}
	}
	if _, conns := main.count(); conns != 1 {
		t.Errorf("%d connections for three requests", conns)
	}
	if got := main.last(t).field.Get("Host"); got != "matrix.example.com" {
		t.Errorf("Host: %s", got)
	}
	main.answers(func(net.Conn, *bufio.Reader, seen) bool { return false })
	l.Close() // which removes the socket
	if status, _ := ask(); status != 503 {
		t.Errorf("without a socket: %d", status)
	}
}

// TestNewAuthority: a reload reads ca_file again, though its name is the same.
func TestNewAuthority(t *testing.T) {
	a := newAuthority(t)
	main := serveBackend(t, "main", a.listen(t, "synapse.internal"))
	a.write(t) // the file no longer fits
	site := secureSite(main, fmt.Sprintf("ca_file: %q, server_name: synapse.internal", a.file))
	f := newFront(t, site)
	ask := func() int {
		resp, _ := do(t, f.client(f.https, true), "GET", "https://matrix.example.com/_matrix/client/versions", nil)
		return resp.StatusCode
	}
	if status := ask(); status != 502 {
		t.Fatalf("a stranger's certificate was accepted: %d", status)
	}
	old := main
	main = serveBackend(t, "main", a.listen(t, "synapse.internal"))
	site = strings.Replace(site, old.listener.Addr().String(), main.listener.Addr().String(), 1)
	if err := f.proxy.Apply(f.load(site), nil); err != nil {
		t.Fatal(err)
	}
	if status := ask(); status != 200 {
		t.Fatalf("the authority's own certificate was refused: %d", status)
	}
	a.write(t)
	if err := f.proxy.Apply(f.load(site), nil); err != nil {
		t.Fatal(err)
	}
	if status := ask(); status != 502 {
		t.Errorf("after the authority was replaced: %d", status)
	}
}
