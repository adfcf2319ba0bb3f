package acme

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"vestibule/configs"
)

// brisk keeps the usual proportions and looks at things often.
var brisk = pace{
	life:     time.Hour,
	check:    time.Minute,
	poll:     10 * time.Millisecond,
	retry:    10 * time.Millisecond,
	retryMax: 100 * time.Millisecond,
}

func internalConfig(directory string) *configs.Config {
	return &configs.Config{
		Certificates: configs.Certificates{Issuer: "internal", Storage: configs.Storage{Directory: directory}},
		Sites: []*configs.Site{
			{ServerName: "example.com", Host: "matrix.example.com"},
			{ServerName: "example.net", Host: "matrix.example.net"},
		},
	}
}

func newTestManager(t *testing.T, cfg *configs.Config, pace pace) *Manager {
	t.Helper()
	m, err := newManager(cfg, slog.New(slog.DiscardHandler), pace)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// manage waits until every name is served.
func manage(t *testing.T, m *Manager, names ...string) {
	t.Helper()
	m.Manage(t.Context(), names)
	for _, name := range names {
		eventually(t, name+" is ready", func() bool { return m.Ready(name) })
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatal("never happened: " + what)
}

// front is a TLS server on loopback that says a word to whoever gets in.
type front struct{ address string }

func serve(t *testing.T, get func(*tls.ClientHelloInfo) (*tls.Certificate, error)) front {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: get})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.WriteString(conn, "hello")
			}()
		}
	}()
	return front{listener.Addr().String()}
}

// shake makes a whole handshake and returns the leaf the client was given. The
// certificate is verified for verify, "" for not at all, whatever sni says.
func (f front) shake(root []byte, sni, verify string) (*x509.Certificate, error) {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(root)
	conn, err := net.Dial("tcp", f.address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	client := tls.Client(conn, &tls.Config{ServerName: sni, InsecureSkipVerify: true})
	if _, err := io.ReadAll(client); err != nil {
		return nil, err
	}
	given := client.ConnectionState().PeerCertificates
	leaf, intermediates := given[0], x509.NewCertPool()
	for _, certificate := range given[1:] {
		intermediates.AddCert(certificate)
	}
	if verify != "" {
		_, err = leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: intermediates, DNSName: verify})
	}
	return leaf, err
}

// given asserts that a client is given a certificate that holds for a name.
func (f front) given(t *testing.T, root []byte, sni, name string) {
	t.Helper()
	if _, err := f.shake(root, sni, name); err != nil {
		t.Errorf("SNI %q: %v", sni, err)
	}
}

func (f front) refused(t *testing.T, sni string) {
	t.Helper()
	if leaf, err := f.shake(nil, sni, ""); err == nil {
		t.Errorf("SNI %q was given the certificate of %v", sni, leaf.DNSNames)
	}
}

func TestChoice(t *testing.T) {
	t.Parallel()
	m := newTestManager(t, internalConfig(t.TempDir()), brisk)
	manage(t, m, "matrix.example.com", "*.example.org", "localhost", "127.0.0.1", "::1")
	root := m.Root()

	server := serve(t, m.GetCertificate)
	server.given(t, root, "matrix.example.com", "matrix.example.com")
	server.given(t, root, "MATRIX.example.COM", "matrix.example.com")
	server.given(t, root, "a.example.org", "a.example.org")
	server.given(t, root, "localhost", "localhost")
	server.given(t, root, "", "127.0.0.1")                         // by address
	server.given(t, root, "b.a.example.org", "matrix.example.com") // a star is one label
	server.given(t, root, "example.edu", "matrix.example.com")     // unknown: the default

	other := serve(t, m.ForName("localhost"))
	other.given(t, root, "example.edu", "localhost")
	other.given(t, root, "a.example.org", "a.example.org")
}

func TestDefaultName(t *testing.T) {
	cfg := internalConfig("")
	for site, want := range map[string]string{"": "matrix.example.com", "example.net": "matrix.example.net", "example.edu": ""} {
		if got := DefaultName(cfg, configs.Entrypoint{DefaultSite: site}); got != want {
			t.Errorf("default_site %q: %q, want %q", site, got, want)
		}
	}
}

// A name of ours without a certificate must not be answered with another's.
func TestNotReady(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	m := newTestManager(t, internalConfig(directory), brisk)
	manage(t, m, "matrix.example.com")
	blocked := filepath.Join(directory, "certificates", "internal", "matrix.example.net")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil { // where a directory should be
		t.Fatal(err)
	}
	m.Manage(t.Context(), []string{"matrix.example.com", "matrix.example.net"})
	server := serve(t, m.GetCertificate)
	server.refused(t, "matrix.example.net")
	server.given(t, m.Root(), "matrix.example.com", "matrix.example.com")

	failed := func() bool { return find(m, "matrix.example.net").State == Failed }
	eventually(t, "the failure is told", failed)
	c := find(m, "matrix.example.net")
	if c.Error == "" || time.Until(c.NextAttempt) > time.Second || m.Ready("matrix.example.net") {
		t.Errorf("%+v", c)
	}

	if err := os.Remove(blocked); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the name is tried again", func() bool { return m.Ready("matrix.example.net") })
	if c := find(m, "matrix.example.net"); c.State != Valid {
		t.Errorf("%+v", c)
	}
	server.given(t, m.Root(), "matrix.example.net", "matrix.example.net")
}

func find(m *Manager, name string) Certificate {
	for _, c := range m.Certificates() {
		if c.Name == name {
			return c
		}
	}
	return Certificate{}
}

func TestManageAgain(t *testing.T) {
	t.Parallel()
	m := newTestManager(t, internalConfig(t.TempDir()), brisk)
	manage(t, m, "matrix.example.com", "element.example.com")
	server := serve(t, m.GetCertificate)
	before, err := server.shake(nil, "matrix.example.com", "")
	if err != nil {
		t.Fatal(err)
	}

	manage(t, m, "matrix.example.com", "auth.example.com")
	server.given(t, m.Root(), "auth.example.com", "auth.example.com")
	server.given(t, m.Root(), "element.example.com", "matrix.example.com") // unknown now
	after, err := server.shake(nil, "matrix.example.com", "")
	if err != nil || after.SerialNumber.Cmp(before.SerialNumber) != 0 {
		t.Errorf("the certificate of a name that stayed was changed (%v)", err)
	}
	if m.Ready("element.example.com") || find(m, "element.example.com").Name != "" {
		t.Error("a dropped name is still there")
	}
	eventually(t, "the dropped name is forgotten", func() bool { return m.cached("element.example.com") == nil })

	for range 20 { // a name that comes and goes faster than it is obtained
		m.Manage(t.Context(), nil)
		m.Manage(t.Context(), []string{"matrix.example.com"})
	}
	eventually(t, "the name is back", func() bool { return m.Ready("matrix.example.com") })
}

// The last act of a keeper whose name was dropped is to forget the certificate,
// so the next keeper of the name must not begin before it.
func TestSuccessorWaits(t *testing.T) {
	t.Parallel()
	m := newTestManager(t, internalConfig(t.TempDir()), brisk)
	predecessor := &keeper{done: make(chan struct{})}
	m.mu.Lock()
	m.parent = t.Context()
	m.startKeeper("successor.example.com", predecessor)
	m.mu.Unlock()
	time.Sleep(100 * time.Millisecond)
	if m.cached("successor.example.com") != nil {
		t.Error("it did not wait")
	}
	close(predecessor.done)
	eventually(t, "it begins", func() bool { return m.cached("successor.example.com") != nil })
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	m := newTestManager(t, internalConfig(t.TempDir()), brisk)
	manage(t, m, "matrix.example.com", "127.0.0.1")
	leaf, err := serve(t, m.GetCertificate).shake(m.Root(), "matrix.example.com", "matrix.example.com")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the attempt is noted", func() bool { return !find(m, "matrix.example.com").NextAttempt.IsZero() })
	list := m.Certificates()
	if len(list) != 2 || list[0].Name != "127.0.0.1" || list[1].Name != "matrix.example.com" {
		t.Fatalf("%+v", list)
	}
	c := list[1]
	if c.Issuer != "internal" || c.State != Valid || c.Error != "" || c.Serial != leaf.SerialNumber.Text(16) ||
		!c.NotAfter.Equal(leaf.NotAfter) || !c.NotBefore.Equal(leaf.NotBefore) {
		t.Errorf("%+v", c)
	}
	if left := c.NotAfter.Sub(c.NextAttempt).Round(time.Minute); left != 21*time.Minute {
		t.Errorf("renewed %v before the end of an hour", left)
	}
}

// What an operator reads of a name: that it was obtained, once.
func TestLog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	m, err := newManager(internalConfig(t.TempDir()), slog.New(slog.NewTextHandler(&out, nil)), brisk)
	if err != nil {
		t.Fatal(err)
	}
	manage(t, m, "log.example.com")
	m.Close()
	_, line, _ := strings.Cut(out.String(), " ")
	want := "level=INFO msg=\"certificate obtained\" name=log.example.com issuer=internal renewal=false\n"
	if line != want {
		t.Errorf("got  %swant %s", out.String(), want)
	}
}

// Without a certificate for the default name, unknown names are refused; and a
// name that cannot stand in a certificate says so.
func TestNoDefault(t *testing.T) {
	t.Parallel()
	m := newTestManager(t, internalConfig(t.TempDir()), brisk)
	manage(t, m, "localhost")
	server := serve(t, m.GetCertificate)
	server.refused(t, "example.edu")
	server.refused(t, "")
	server.given(t, m.Root(), "localhost", "localhost")

	m.Manage(t.Context(), []string{"localhost", "example.com/path"})
	eventually(t, "the mistake is told", func() bool {
		return strings.Contains(find(m, "example.com/path").Error, "neither a host name nor an address")
	})
}

// TestRenewal keeps shaking hands while certificates of six seconds come and go.
func TestRenewal(t *testing.T) {
	t.Parallel()
	life := 6 * time.Second
	m := newTestManager(t, internalConfig(t.TempDir()),
		pace{life: life, check: life / 25, poll: time.Second, retry: time.Second, retryMax: time.Second})
	manage(t, m, "renewal.example.com")
	server := serve(t, m.GetCertificate)

	var mu sync.Mutex
	serials := map[string]bool{}
	seen := func() int { mu.Lock(); defer mu.Unlock(); return len(serials) }
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
	defer cancel()
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for ctx.Err() == nil && seen() < 3 {
				leaf, err := server.shake(m.Root(), "renewal.example.com", "renewal.example.com")
				if err != nil {
					t.Error(err)
					cancel()
					return
				}
				mu.Lock()
				serials[leaf.SerialNumber.String()] = true
				mu.Unlock()
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	clients.Wait()
	if seen() < 3 {
		t.Errorf("saw %d certificates, want 3", seen())
	}
}

// A renewal that storage prevents is told while the certificate is still good,
// and made up for as soon as storage is back, before the certificate ends.
func TestRenewalFails(t *testing.T) {
	t.Parallel()
	life := 9 * time.Second
	directory := t.TempDir()
	m := newTestManager(t, internalConfig(directory),
		pace{life: life, check: life / 25, poll: time.Second, retry: 100 * time.Millisecond, retryMax: time.Second})
	manage(t, m, "fails.example.com")
	first := find(m, "fails.example.com").Serial
	stored := filepath.Join(directory, "certificates", "internal", "fails.example.com")
	if err := os.RemoveAll(stored); err != nil {
		t.Fatal(err)
	}
	write(t, stored, nil) // where a directory should be
	eventually(t, "the failure is told", func() bool { return find(m, "fails.example.com").Error != "" })
	if c := find(m, "fails.example.com"); c.State != Valid || c.Serial != first || time.Until(c.NextAttempt) > time.Second {
		t.Errorf("%+v", c)
	}
	if err := os.Remove(stored); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is renewed", func() bool { return find(m, "fails.example.com").Serial != first })
	eventually(t, "all is well", func() bool { return find(m, "fails.example.com").Error == "" })
	if n := len(m.cache.AllMatchingCertificates("fails.example.com")); n != 1 {
		t.Errorf("%d certificates are held for one name", n)
	}
	serve(t, m.GetCertificate).given(t, m.Root(), "fails.example.com", "fails.example.com")
}

// Two processes that share a directory share the root and the certificates.
func TestSharedStorage(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	var managers [2]*Manager
	var starts sync.WaitGroup
	for i := range managers {
		starts.Go(func() { managers[i] = newTestManager(t, internalConfig(directory), brisk) })
	}
	starts.Wait()
	if t.Failed() {
		return
	}
	names := []string{"shared.example.com", "*.shared.example.com"}
	for _, m := range managers {
		m.Manage(t.Context(), names)
	}
	for _, name := range names {
		eventually(t, name, func() bool { return managers[0].Ready(name) && managers[1].Ready(name) })
		if a, b := find(managers[0], name), find(managers[1], name); a.Serial != b.Serial {
			t.Errorf("%s: two certificates, %s and %s", name, a.Serial, b.Serial)
		}
	}
	if string(managers[0].Root()) != string(managers[1].Root()) {
		t.Error("two roots")
	}
	serve(t, managers[0].GetCertificate).given(t, managers[1].Root(), "shared.example.com", "shared.example.com")
}

func TestRestart(t *testing.T) {
	t.Parallel()
	directory := filepath.Join(t.TempDir(), "made", "here")
	first := newTestManager(t, internalConfig(directory), brisk)
	manage(t, first, "restart.example.com")
	serial, root := find(first, "restart.example.com").Serial, string(first.Root())
	first.Close()
	first.Close() // does no harm

	if info, err := os.Stat(directory); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v %v", info.Mode(), err)
	}
	exported, err := os.ReadFile(filepath.Join(directory, "root.pem"))
	if info, _ := os.Stat(filepath.Join(directory, "root.pem")); err != nil || string(exported) != root || info.Mode().Perm() != 0o644 {
		t.Errorf("root.pem: %v %v", info.Mode(), err)
	}
	second := newTestManager(t, internalConfig(directory), brisk)
	manage(t, second, "restart.example.com")
	if got := find(second, "restart.example.com").Serial; got != serial || string(second.Root()) != root {
		t.Error("a restart changed the certificate or the root")
	}
	left, err := filepath.Glob(filepath.Join(directory, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// A certificate that an earlier root signed is of no use to those who trust the
// present one.
// TestLoad: whoever connects at the very start is served what is stored.
func TestLoad(t *testing.T) {
	directory := t.TempDir()
	first := newTestManager(t, internalConfig(directory), brisk)
	manage(t, first, "matrix.example.com")
	first.Close()
	for range 5 {
		m := newTestManager(t, internalConfig(directory), brisk)
		names := []string{"Matrix.Example.com", "matrix.example.net"}
		m.Load(t.Context(), names)
		m.Manage(t.Context(), names)
		if !m.Ready("matrix.example.com") {
			t.Fatal("what is stored is not served at once")
		}
		eventually(t, "the other is obtained", func() bool { return m.Ready("matrix.example.net") })
		m.Close()
		os.RemoveAll(filepath.Join(directory, "certificates", "internal", "matrix.example.net"))
	}
}

func TestNewRoot(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	first := newTestManager(t, internalConfig(directory), brisk)
	manage(t, first, "newroot.example.com")
	first.Close()
	if err := os.Remove(filepath.Join(directory, filepath.FromSlash(authorityKey))); err != nil {
		t.Fatal(err)
	}
	second := newTestManager(t, internalConfig(directory), brisk)
	manage(t, second, "newroot.example.com")
	server := serve(t, second.GetCertificate)
	eventually(t, "the certificate is of the new root", func() bool {
		_, err := server.shake(second.Root(), "newroot.example.com", "newroot.example.com")
		return err == nil
	})
}

// A process killed while writing leaves the key of one certificate beside
// another certificate.
func TestTornPair(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(t *testing.T, directory string){
		"key of another": func(t *testing.T, directory string) {
			key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			der, _ := x509.MarshalECPrivateKey(key)
			write(t, filepath.Join(directory, "torn.example.com.key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
		},
		"empty certificate": func(t *testing.T, directory string) { write(t, filepath.Join(directory, "torn.example.com.crt"), nil) },
		"half metadata": func(t *testing.T, directory string) {
			write(t, filepath.Join(directory, "torn.example.com.json"), []byte("{"))
		},
		"no key": func(t *testing.T, directory string) {
			if err := os.Remove(filepath.Join(directory, "torn.example.com.key")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			directory := t.TempDir()
			first := newTestManager(t, internalConfig(directory), brisk)
			manage(t, first, "torn.example.com")
			first.Close()
			damage(t, filepath.Join(directory, "certificates", "internal", "torn.example.com"))
			second := newTestManager(t, internalConfig(directory), brisk)
			manage(t, second, "torn.example.com")
			serve(t, second.GetCertificate).given(t, second.Root(), "torn.example.com", "torn.example.com")
		})
	}
}

func write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedRoot(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	newTestManager(t, internalConfig(directory), brisk).Close()
	write(t, filepath.Join(directory, filepath.FromSlash(authorityKey)), []byte("nonsense"))
	_, err := New(internalConfig(directory), slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "internal/authority.pem is damaged") {
		t.Errorf("%v", err)
	}
}

func TestUnknownIssuer(t *testing.T) {
	cfg := internalConfig(t.TempDir())
	cfg.Certificates.Issuer = "zerossl"
	_, err := New(cfg, slog.New(slog.DiscardHandler))
	want := `certificates.issuer: "zerossl" is not supported (hint: write acme, internal or files)`
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}

// Before its end a root is replaced, so that no leaf outlives it.
func TestExpiringRoot(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	first := newTestManager(t, internalConfig(directory), brisk)
	first.Close()
	long := brisk
	long.life = rootLife
	second := newTestManager(t, internalConfig(directory), long)
	if string(first.Root()) == string(second.Root()) {
		t.Error("the root is kept though leaves would outlive it")
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"example.com"}},
		second.authority.key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificateRequest(request)
	if err != nil {
		t.Fatal(err)
	}
	second.authority.life = 2 * rootLife
	issued, err := second.authority.Issue(t.Context(), parsed)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(issued.Certificate)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil || !leaf.NotAfter.Equal(second.authority.certificate.NotAfter) {
		t.Errorf("leaf until %v, root until %v (%v)", leaf.NotAfter, second.authority.certificate.NotAfter, err)
	}
}

func TestRootIsOnlyForServers(t *testing.T) {
	t.Parallel()
	m := newTestManager(t, internalConfig(t.TempDir()), brisk)
	root := m.authority.certificate
	if !root.IsCA || !root.MaxPathLenZero || len(root.ExtKeyUsage) != 1 || root.ExtKeyUsage[0] != x509.ExtKeyUsageServerAuth ||
		root.SerialNumber.Cmp(big.NewInt(0)) <= 0 || time.Until(root.NotAfter) < 9*365*24*time.Hour {
		t.Errorf("%+v", root)
	}
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	cfg := internalConfig(t.TempDir())
	m := newTestManager(t, cfg, brisk)
	manage(t, m, "matrix.example.com", "matrix.example.net")
	server := serve(t, m.GetCertificate)

	changed := *cfg
	changed.Entrypoints.HTTPS.DefaultSite = "example.net"
	if err := m.Update(&changed); err != nil {
		t.Fatal(err)
	}
	server.given(t, m.Root(), "example.edu", "matrix.example.net")

	changed.Certificates.Files = []configs.CertificateFile{{Certificate: "/nowhere.pem", Key: "/nowhere.key"}}
	changed.Entrypoints.HTTPS.DefaultSite = ""
	if err := m.Update(&changed); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	server.given(t, m.Root(), "example.edu", "matrix.example.net") // as it was

	file := mint(t, tomorrow, "matrix.example.net")
	changed.Certificates.Files = []configs.CertificateFile{file.put(t, t.TempDir(), "a")}
	if err := m.Update(&changed); err != nil {
		t.Fatal(err)
	}
	if c := find(m, "matrix.example.net"); c.Issuer != "files" || c.Serial != file.serial {
		t.Errorf("%+v", c)
	}
	server.given(t, m.Root(), "example.edu", "matrix.example.com")
}

// TestListenerStops: whoever has stopped listening is told nothing any more: what they would write to is
// gone.
func TestListenerStops(t *testing.T) {
	t.Parallel()
	for range 20 { // of two listeners either may be first
		var l ledger
		told, entered, release := false, make(chan struct{}), make(chan struct{})
		stopFirst := l.listen(func(string, string) {
			close(entered)
			<-release
		})
		stop := l.listen(func(string, string) { told = true })
		stepped := make(chan struct{})
		go func() {
			l.step(host, "step")
			close(stepped)
		}()
		<-entered
		stop()
		before := told
		close(release)
		<-stepped
		stopFirst()
		if told != before {
			t.Fatal("told after it stopped listening")
		}
	}
}

// TestSpoiltWhileHeld: what is stored is spoilt while its certificate is in memory: the next renewal
// replaces it.
func TestSpoiltWhileHeld(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	m := newTestManager(t, internalConfig(directory), brisk)
	manage(t, m, "matrix.example.com")
	before := find(m, "matrix.example.com").Serial
	write(t, filepath.Join(directory, "certificates", "internal", "matrix.example.com", "matrix.example.com.json"), []byte("{"))
	if err := m.Renew(t.Context(), "matrix.example.com"); err != nil || find(m, "matrix.example.com").Serial == before {
		t.Errorf("%v, serial %s", err, find(m, "matrix.example.com").Serial)
	}
}
