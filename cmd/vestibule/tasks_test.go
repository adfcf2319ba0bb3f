package main

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

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
