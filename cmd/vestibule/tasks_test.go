package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"vestibule/acme"
	"vestibule/acme/ovhtest"
	"vestibule/configs"
)

// TestAnswerChallenges: without a server the command itself answers on the http
// entrypoint, what another process put into the storage included.
func TestAnswerChallenges(t *testing.T) {
	cfg := configs.Default()
	cfg.Certificates.Storage.Directory = t.TempDir()
	cfg.Certificates.ACME = &configs.ACME{Email: "ops@example.com", Challenges: []configs.Challenge{{HTTP01: &configs.HTTP01{}}}}
	address := freeAddress(t)
	cfg.Entrypoints.HTTP.Addresses = []configs.Address{configs.Address(address)}
	certs, err := acme.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(certs.Close)
	const token = "abcdefghijklmnopqrstuv"
	stored := filepath.Join(cfg.Certificates.Storage.Directory, "http01", token)
	if err := os.MkdirAll(filepath.Dir(stored), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stored, []byte("matrix.example.com\n"+token+".thumbprint"), 0o600); err != nil {
		t.Fatal(err)
	}
	stop, err := answerChallenges(cfg, certs)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for _, test := range []struct{ host, path, want string }{
		{"matrix.example.com", "/.well-known/acme-challenge/" + token, token + ".thumbprint"},
		{"matrix.example.com", "/.well-known/acme-challenge/other", "404 page not found\n"},
		{"example.com", "/.well-known/acme-challenge/" + token, "404 page not found\n"},
		{"matrix.example.com", "/", "404 page not found\n"},
	} {
		req, err := http.NewRequest("GET", "http://"+address+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = test.host
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(text) != test.want {
			t.Errorf("%s%s: %q, %v", test.host, test.path, text, err)
		}
	}
	if _, err := answerChallenges(cfg, certs); err == nil || !strings.Contains(err.Error(), "http01 needs this address") {
		t.Errorf("an address that is taken: %v", err)
	}
	cfg.Certificates.ACME.Challenges = nil
	stopNothing, err := answerChallenges(cfg, certs)
	if err != nil {
		t.Errorf("without http01 the address is not needed: %v", err)
	}
	stopNothing()
}

func TestWarnings(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(warnings{slog.NewTextHandler(&out, nil)}).With("a", 1).WithGroup("g")
	log.Info("an information")
	log.Error("an error")
	log.Warn("a warning")
	if got := out.String(); strings.Contains(got, "an ") || !strings.Contains(got, "a warning") {
		t.Errorf("printed:\n%s", got)
	}
}

// TestMayWrite: root does not write into the storage of another user.
func TestMayWrite(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root is kept from writing")
	}
	directory := t.TempDir()
	if err := mayWrite(directory); err != nil {
		t.Errorf("a directory of root's: %v", err)
	}
	if err := mayWrite(directory + "/none"); err != nil {
		t.Errorf("no directory: %v", err)
	}
	if err := os.Chown(directory, 65532, 65532); err != nil {
		t.Fatal(err)
	}
	err := mayWrite(directory)
	want := directory + " belongs to user 65532, who could not read what root writes there " +
		"(hint: run: setpriv --reuid=65532 --regid=65532 --clear-groups vestibule certificates …)"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestObtainSaysWhatIsMissing goes from a file as operators write it to the
// sentence they read, before the authority has been asked for anything but its
// directory.
func TestObtainSaysWhatIsMissing(t *testing.T) {
	account, err := ovhtest.New(ovhtest.Options{Zones: []string{"example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { account.Close() })
	account.AddApplication("key", "secret")
	rules := slices.DeleteFunc(ovhtest.LeastRules("example.com"), func(r ovhtest.Rule) bool { return r.Method == http.MethodDelete })
	account.AddConsumer("key", "consumer", rules...)
	var orders atomic.Int32
	authority := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/directory" {
			orders.Add(1)
			http.NotFound(w, r)
			return
		}
		writeJSON(w, map[string]string{"newNonce": "https://" + r.Host + "/nonce", "newAccount": "https://" + r.Host + "/account", "newOrder": "https://" + r.Host + "/order"})
	}))
	t.Cleanup(authority.Close)

	directory := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(directory, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("application_key", "key\n")
	write("application_secret", "secret\n")
	write("consumer_key", "consumer\n")
	write("root.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Certificate().Raw})))
	path := write("vestibule.yaml", fmt.Sprintf(`
control: %s/none.sock
certificates:
  storage: { directory: storage }
  acme:
    email: ops@example.com
    directory: %s/directory
    roots_file: root.pem
    challenges:
      - dns01:
          ovh:
            endpoint: %s
            application_key_file: application_key
            application_secret_file: application_secret
            consumer_key_file: consumer_key
          resolvers: [%q]
sites:
  - server_name: example.com
    synapse: { main: "http://synapse:8008" }
`, directory, authority.URL, account.URL, account.Resolver()))

	obtain := func() string {
		var said bytes.Buffer
		if status := run([]string{"certificates", "obtain", "--config", path}, nil, io.Discard, &said); status != exitProblem {
			t.Errorf("status %d", status)
		}
		return said.String()
	}
	if said, want := obtain(), "the OVH token lacks the right DELETE /domain/zone/example.com/record/* (hint: make a new token at "; !strings.Contains(said, want) {
		t.Errorf("%q is not in:\n%s", want, said)
	}
	account.AddApplication("key", "another")
	if said, want := obtain(), "the application secret is wrong"; !strings.Contains(said, want) {
		t.Errorf("%q is not in:\n%s", want, said)
	}
	if n := orders.Load(); n != 0 {
		t.Errorf("the authority was asked %d times", n)
	}
}

// TestRenewAlone: a certificate that is due is renewed once, not twice.
func TestRenewAlone(t *testing.T) {
	const name = "matrix.example.com"
	cfg := configs.Default()
	cfg.Certificates.Issuer = "internal"
	cfg.Certificates.Storage.Directory = t.TempDir()
	open := func() *acme.Manager {
		certs, err := acme.New(cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return certs
	}
	first := open()
	if err := first.Obtain(t.Context(), []string{name}, nil); err != nil {
		t.Fatal(err)
	}
	first.Close()
	expire(t, cfg.Certificates.Storage.Directory, name)

	certs := open()
	defer certs.Close()
	if err := renewingAlone(certs, name)(t.Context(), func(string) {}); err != nil {
		t.Fatal(err)
	}
	if stats := certs.Stats(); len(stats) != 1 || stats[0].Renewed != 1 {
		t.Errorf("%+v", stats)
	}
}

// expire replaces a stored certificate by one that ended a minute ago.
func expire(t *testing.T, directory, name string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	bundle := filepath.Join(directory, "internal", "authority.pem")
	authority, err := tls.LoadX509KeyPair(bundle, bundle)
	must(err)
	stored := filepath.Join(directory, "certificates", "internal", name, name)
	pair, err := tls.LoadX509KeyPair(stored+".crt", stored+".key")
	must(err)
	leaf := *pair.Leaf
	leaf.SerialNumber, leaf.NotBefore, leaf.NotAfter = big.NewInt(7), time.Now().Add(-25*time.Hour), time.Now().Add(-time.Minute)
	der, err := x509.CreateCertificate(rand.Reader, &leaf, authority.Leaf, pair.Leaf.PublicKey, authority.PrivateKey)
	must(err)
	must(os.WriteFile(stored+".crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
}

// TestAloneWithoutPort: names proven by DNS do not need the port that another
// program holds, whatever proves other names.
func TestAloneWithoutPort(t *testing.T) {
	held, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := configs.Default()
	cfg.Certificates.Storage.Directory = t.TempDir()
	cfg.Entrypoints.HTTP.Addresses = []configs.Address{configs.Address(held.Addr().String())}
	cfg.Certificates.ACME = &configs.ACME{Email: "ops@example.com", Challenges: []configs.Challenge{
		{Zone: "example.com", DNS01: &configs.DNS01{OVH: &configs.OVH{Endpoint: "http://127.0.0.1:9/1.0", AccessTokenFile: token}}},
		{HTTP01: &configs.HTTP01{}},
	}}
	certs, err := acme.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer certs.Close()
	reached := errors.New("reached")
	c := &call{stdout: io.Discard, stderr: io.Discard}
	do := func(context.Context, func(string)) error { return reached }
	if err := c.doAlone(t.Context(), cfg, certs, []string{"matrix.example.com"}, do); !errors.Is(err, reached) {
		t.Errorf("dns01 alone: %v", err)
	}
	if err := c.doAlone(t.Context(), cfg, certs, []string{"matrix.example.com", "example.net"}, do); err == nil || errors.Is(err, reached) {
		t.Errorf("http01 among them: %v", err)
	}
}
