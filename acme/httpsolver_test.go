package acme

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"vestibule/acme/ovhtest"
	"vestibule/configs"
)

// Names of a zone without DNS rights are proven over HTTP, beside others.
func TestHTTP01(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	w := newWorld(t, worldOptions{
		ovh:    ovhtest.Options{Zones: []string{"example.org"}, ForeignZones: []string{"example.net"}},
		pebble: pebbleOptions{httpPort: listener.Addr().(*net.TCPAddr).Port},
	})
	w.ovh.SetA("matrix.example.net", "127.0.0.1")
	acme := w.cfg.Certificates.ACME
	acme.Challenges = append(acme.Challenges, configs.Challenge{HTTP01: &configs.HTTP01{}})
	acme.Challenges[0].Zone = "example.org"
	m := w.start(t)
	m.settings().entries[1].resolver.servers = w.entry().Resolvers // instead of the system's
	other := w.start(t)                                            // who shares the storage answers too
	var answered string
	go http.Serve(listener, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		answer, ok := other.AnswerHTTP01(strings.Split(r.Host, ":")[0], r.URL.Path)
		own, also := m.AnswerHTTP01("MATRIX.example.net", r.URL.Path)
		if !ok || !also || answer != own {
			http.NotFound(rw, r)
			return
		}
		answered = r.URL.Path
		io.WriteString(rw, answer)
	}))
	obtained(t, m, "matrix.example.net", host)
	if _, ok := m.AnswerHTTP01("matrix.example.net", answered); ok {
		t.Error("it still answers")
	}
	m.Manage(t.Context(), []string{"nowhere.example.net", "*.example.net"})
	reads(t, m, "nowhere.example.net", "nowhere.example.net has no address in DNS, and http01 needs one")
	reads(t, m, "*.example.net", "*.example.net is a wildcard, and http01 cannot prove control over one")
}

func TestAnswersNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	m := w.start(t)
	write(t, w.cfg.Certificates.Storage.Directory+"/secret", []byte("matrix.example.org\nsecret"))
	for _, path := range []string{
		"/", challengePath, challengePath + "../secret", challengePath + "..%2fsecret", challengePath + strings.Repeat("a", 43),
	} {
		if answer, ok := m.AnswerHTTP01(host, path); ok {
			t.Errorf("%s: %s", path, answer)
		}
	}
	if _, ok := newTestManager(t, internalConfig(t.TempDir()), brisk).AnswerHTTP01(host, challengePath+"token"); ok {
		t.Error("an internal CA asks nothing")
	}
}

// The first entry that fits is the one; a name that none fits is told.
func TestNoEntry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	w.cfg.Certificates.ACME.Challenges[0].Zone = "example.net"
	m := w.start(t)
	m.Manage(t.Context(), []string{host})
	reads(t, m, host, "no entry of certificates.acme.challenges fits matrix.example.org")
}
