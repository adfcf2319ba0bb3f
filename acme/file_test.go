package acme

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vestibule/configs"
)

// minted is a self-signed certificate and its key, in PEM.
type minted struct {
	certificate, key []byte
	serial           string
}

func mint(t *testing.T, notAfter time.Time, names ...string) minted {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return mintWith(t, key, notAfter, names...)
}

func mintWith(t *testing.T, key crypto.Signer, notAfter time.Time, names ...string) minted {
	t.Helper()
	serial, err := newSerial()
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, NotBefore: notAfter.Add(-24 * time.Hour), NotAfter: notAfter,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	for _, name := range names {
		if address := net.ParseIP(name); address != nil {
			template.IPAddresses = append(template.IPAddresses, address)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return minted{encodeCertificate(der), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), serial.Text(16)}
}

// put writes the pair as NAME.pem and NAME.key.
func (c minted) put(t *testing.T, directory, name string) configs.CertificateFile {
	t.Helper()
	source := configs.CertificateFile{
		Certificate: filepath.Join(directory, name+".pem"), Key: filepath.Join(directory, name+".key"),
	}
	write(t, source.Certificate, c.certificate)
	write(t, source.Key, c.key)
	return source
}

var (
	tomorrow  = time.Now().Add(23 * time.Hour)
	yesterday = time.Now().Add(-24 * time.Hour)
)

func filesConfig(sources ...configs.CertificateFile) *configs.Config {
	cfg := internalConfig("")
	cfg.Certificates = configs.Certificates{Issuer: "files", Files: sources}
	return cfg
}

func TestFiles(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	exact := mint(t, tomorrow, "matrix.example.com", "127.0.0.1")
	star := mint(t, tomorrow, "*.example.com")
	var log bytes.Buffer
	m, err := newManager(filesConfig(star.put(t, directory, "star"), exact.put(t, directory, "exact")),
		slog.New(slog.NewTextHandler(&log, nil)), brisk)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	m.Manage(t.Context(), []string{"matrix.example.com", "element.example.com", "auth.example.org"})
	server := serve(t, m.GetCertificate)
	for sni, want := range map[string]minted{
		"matrix.example.com":  exact, // before the wildcard
		"element.example.com": star,
		"":                    exact, // by address
		"example.edu":         exact, // the default
	} {
		leaf, err := server.shake(nil, sni, "")
		if err != nil || leaf.SerialNumber.Text(16) != want.serial {
			t.Errorf("SNI %q: not the certificate expected (%v)", sni, err)
		}
	}
	server.refused(t, "auth.example.org") // ours, and no file covers it
	if m.Root() != nil || m.Ready("auth.example.org") || !m.Ready("element.example.com") {
		t.Error("a root, or readiness, is not as it should be")
	}

	states := map[string]State{}
	for _, c := range m.Certificates() {
		states[c.Name] = c.State
		if c.State == Valid && (c.Issuer != "files" || c.Source == "") {
			t.Errorf("%+v", c)
		}
	}
	for name, want := range map[string]State{
		"matrix.example.com": Valid, "element.example.com": Valid, "*.example.com": Valid, "127.0.0.1": Valid,
		"auth.example.org": Missing,
	} {
		if states[name] != want {
			t.Errorf("%s is %q, want %q", name, states[name], want)
		}
	}
	m.Close()
	if n := strings.Count(log.String(), `msg="no certificate file covers this name" name=auth.example.org`); n != 1 {
		t.Errorf("said %d times:\n%s", n, log.String())
	}
}

// A name that files cover is not obtained; one that they cease to cover is.
func TestFilesBesideIssuer(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	both := mint(t, tomorrow, "matrix.example.com", "auth.example.com")
	cfg := internalConfig(filepath.Join(directory, "storage"))
	source := both.put(t, directory, "both")
	cfg.Certificates.Files = []configs.CertificateFile{source}
	m := newTestManager(t, cfg, brisk)
	manage(t, m, "matrix.example.com", "auth.example.com", "element.example.com")
	for name, issuer := range map[string]string{
		"matrix.example.com": "files", "auth.example.com": "files", "element.example.com": "internal",
	} {
		if c := find(m, name); c.Issuer != issuer || c.State != Valid {
			t.Errorf("%+v", c)
		}
	}
	mint(t, tomorrow, "matrix.example.com").put(t, directory, "both")
	eventually(t, "the name left out is obtained", func() bool {
		c := find(m, "auth.example.com")
		return c.Issuer == "internal" && c.State == Valid
	})
	both.put(t, directory, "both")
	eventually(t, "the file is back", func() bool { return find(m, "auth.example.com").Serial == both.serial })
}

func TestFilesSwapped(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	first, second := mint(t, tomorrow, "matrix.example.com"), mint(t, tomorrow, "matrix.example.com")
	source := first.put(t, directory, "a")
	m := newTestManager(t, filesConfig(source), brisk)
	m.Manage(t.Context(), []string{"matrix.example.com"})
	server := serve(t, m.GetCertificate)
	served := func() string {
		leaf, err := server.shake(nil, "matrix.example.com", "")
		if err != nil {
			t.Error(err)
			return ""
		}
		return leaf.SerialNumber.Text(16)
	}
	if served() != first.serial {
		t.Error("not the first certificate")
	}

	// The certificate is there before its key: the old pair is served on.
	write(t, source.Certificate, second.certificate)
	eventually(t, "the mismatch is told", func() bool {
		return strings.Contains(find(m, "matrix.example.com").Error, "private key does not match public key")
	})
	if c := find(m, "matrix.example.com"); served() != first.serial || c.State != Valid || c.Serial != first.serial {
		t.Errorf("%+v", c)
	}
	write(t, source.Key, second.key)
	eventually(t, "the pair is whole", func() bool { return served() == second.serial })
	if c := find(m, "matrix.example.com"); c.Error != "" || c.Serial != second.serial {
		t.Errorf("%+v", c)
	}

	// Neither an expired pair nor none at all takes its place.
	mint(t, yesterday, "matrix.example.com").put(t, directory, "a")
	eventually(t, "the expiry is told", func() bool { return strings.Contains(find(m, "matrix.example.com").Error, "expired on") })
	if err := os.Remove(source.Key); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the loss is told", func() bool { return strings.Contains(find(m, "matrix.example.com").Error, "no such file") })
	if served() != second.serial || !m.Ready("matrix.example.com") {
		t.Error("a bad pair took the place of a good one")
	}
	second.put(t, directory, "a")
	eventually(t, "all is well again", func() bool { return find(m, "matrix.example.com").Error == "" })
}

func TestReloadFiles(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	patient := brisk
	patient.poll = time.Hour
	m := newTestManager(t, filesConfig(mint(t, tomorrow, "matrix.example.com").put(t, directory, "a")), patient)
	second := mint(t, tomorrow, "matrix.example.com")
	second.put(t, directory, "a")
	m.ReloadFiles()
	if c := find(m, "matrix.example.com"); c.Serial != second.serial {
		t.Errorf("%+v", c)
	}
}

// A file that stays bad is told once, not every ten seconds.
func TestSameProblemIsNoChange(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	source := mint(t, tomorrow, "matrix.example.com").put(t, directory, "a")
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	files, err := loadFiles([]configs.CertificateFile{source}, logger)
	if err != nil {
		t.Fatal(err)
	}
	if _, changed := files.refresh(logger); changed {
		t.Error("nothing changed")
	}
	write(t, source.Key, nil)
	files, changed := files.refresh(logger)
	if _, again := files.refresh(logger); !changed || again {
		t.Errorf("changed %v, again %v", changed, again)
	}
	if n := strings.Count(log.String(), "level=ERROR msg=\"certificate file not taken over"); n != 1 {
		t.Errorf("told %d times:\n%s", n, log.String())
	}
}

// Clients that know only RSA, or only ECDSA, find their certificate.
func TestTwoKeyTypes(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecdsaPair := mint(t, tomorrow, "matrix.example.com")
	rsaPair := mintWith(t, key, tomorrow, "matrix.example.com")
	m := newTestManager(t, filesConfig(ecdsaPair.put(t, directory, "ecdsa"), rsaPair.put(t, directory, "rsa")), brisk)
	server := serve(t, m.GetCertificate)
	for suite, want := range map[uint16]minted{
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256:   rsaPair,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: ecdsaPair,
	} {
		conn, err := tls.Dial("tcp", server.address, &tls.Config{
			ServerName: "matrix.example.com", InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite},
		})
		if err != nil {
			t.Error(err)
			continue
		}
		if got := conn.ConnectionState().PeerCertificates[0].SerialNumber.Text(16); got != want.serial {
			t.Errorf("%s: not the certificate expected", tls.CipherSuiteName(suite))
		}
		conn.Close()
	}
}

// An expired file is served rather than nothing, unless another holds too.
func TestExpiredFile(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	var log bytes.Buffer
	old := mint(t, yesterday, "matrix.example.com")
	files, err := loadFiles([]configs.CertificateFile{old.put(t, directory, "old")}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil || !strings.Contains(log.String(), "level=WARN msg=\"certificate file has expired\"") {
		t.Fatalf("%v\n%s", err, log.String())
	}
	m := newTestManager(t, filesConfig(files.files[0].source), brisk)
	m.Manage(t.Context(), []string{"matrix.example.com"})
	if c := find(m, "matrix.example.com"); c.State != Expired || m.Ready("matrix.example.com") {
		t.Errorf("%+v", c)
	}
	if leaf, err := serve(t, m.GetCertificate).shake(nil, "matrix.example.com", ""); err != nil || leaf.SerialNumber.Text(16) != old.serial {
		t.Errorf("not served: %v", err)
	}
	good := mint(t, tomorrow, "matrix.example.com")
	both := newTestManager(t, filesConfig(files.files[0].source, good.put(t, directory, "good")), brisk)
	if c := find(both, "matrix.example.com"); c.Serial != good.serial {
		t.Errorf("%+v", c)
	}
}

func TestBadFiles(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	good, other := mint(t, tomorrow, "a.example.com"), mint(t, tomorrow, "b.example.com")
	nameless := mint(t, tomorrow)
	der, _ := pem.Decode(good.certificate)
	for name, c := range map[string]struct {
		minted
		want string
	}{
		"mismatch":  {minted{good.certificate, other.key, ""}, "mismatch.key: tls: private key does not match public key"},
		"swapped":   {minted{good.key, good.certificate, ""}, "swapped.pem with key"},
		"der":       {minted{der.Bytes, good.key, ""}, "der.pem: not PEM (hint: openssl x509 -inform der"},
		"no key":    {minted{good.certificate, nil, ""}, "no key.key: not PEM"},
		"encrypted": {minted{good.certificate, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY"}), ""}, "protected by a passphrase"},
		"nameless":  {nameless, "nameless.pem: names no host in subjectAltName"},
		"huge":      {minted{bytes.Repeat([]byte("x"), maxFileSize+1), good.key, ""}, "huge.pem: larger than a megabyte"},
	} {
		source := c.put(t, directory, name)
		_, err := New(filesConfig(source), slog.New(slog.DiscardHandler))
		if err == nil || !strings.HasPrefix(err.Error(), "certificates.files[0]: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	missing := configs.CertificateFile{Certificate: directory + "/none.pem", Key: directory + "/none.key"}
	_, err := New(filesConfig(missing, good.put(t, directory, "good"), missing), slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "certificates.files[0]") || !strings.Contains(err.Error(), "certificates.files[2]") {
		t.Errorf("not every mistake is told: %v", err)
	}
}

func TestFutureFile(t *testing.T) {
	t.Parallel()
	future := mint(t, time.Now().Add(72*time.Hour), "matrix.example.com")
	m := newTestManager(t, filesConfig(future.put(t, t.TempDir(), "a")), brisk)
	if c := find(m, "matrix.example.com"); c.State != Failed || !strings.HasPrefix(c.Error, "not valid before") {
		t.Errorf("%+v", c)
	}
}

func TestNames(t *testing.T) {
	for in, want := range map[string]string{
		"Matrix.Example.COM.": "matrix.example.com", "[::1]": "::1", "::ffff:127.0.0.1": "127.0.0.1",
		"fe80::1%eth0": "fe80::1", "": "", "*.Example.com": "*.example.com",
	} {
		if got := canonical(in); got != want {
			t.Errorf("canonical(%q) = %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{"a.b.c": "*.b.c", "localhost": "", "": "", "*.b.c": "*.b.c"} {
		if got := wildcard(in); got != want {
			t.Errorf("wildcard(%q) = %q, want %q", in, got, want)
		}
	}
	if serial, err := newSerial(); err != nil || serial.Cmp(new(big.Int).Lsh(big.NewInt(1), 127)) >= 0 {
		t.Errorf("%v %v", serial, err)
	}
}
