package main

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vestibule/acme"
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
