package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// testService is a running service before a back end.
type testService struct {
	*service
	t     *testing.T
	https string
	admin string
}

// newTestService serves one site on free addresses; more is added to the file.
func newTestService(t *testing.T, backend http.Handler, more string) *testService {
	t.Helper()
	srv := httptest.NewServer(backend)
	t.Cleanup(srv.Close)
	dir := t.TempDir()
	s := &testService{t: t, https: freeAddress(t), admin: freeAddress(t)}
	sockets, err := os.MkdirTemp("", "v")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(sockets) })
	path := filepath.Join(dir, "vestibule.yaml")
	text := fmt.Sprintf(baseConfig, sockets, s.https, freeAddress(t), freeAddress(t), s.admin, srv.URL) + more
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.service, err = newService(path, newLogs(func(*slog.HandlerOptions) slog.Handler { return slog.DiscardHandler }, io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	s.start()
	t.Cleanup(func() {
		if !s.server.Draining() {
			s.stop()
		}
	})
	if err := s.awaitReady(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	return s
}

// get asks the https entrypoint.
func (s *testService) get(target string) (int, string) {
	c := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "matrix.example.com"}}}
	defer c.CloseIdleConnections()
	req, err := http.NewRequest("GET", "https://"+s.https+target, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Host = "matrix.example.com"
	return s.fetch(&c, req)
}

// ask asks the admin entrypoint.
func (s *testService) ask(target string, fields ...string) (int, string) {
	req, err := http.NewRequest("GET", "http://"+s.admin+target, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	return s.fetch(http.DefaultClient, req)
}

func (s *testService) fetch(c *http.Client, req *http.Request) (int, string) {
	resp, err := c.Do(req)
	if err != nil {
		s.t.Error(err)
		return 0, ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Error(err)
	}
	return resp.StatusCode, string(text)
}

// TestDraining: at a stop the service is not ready any more, a request under
// way is answered, and the admin entrypoint tells so until the end.
func TestDraining(t *testing.T) {
	parked, release := make(chan bool), make(chan bool)
	s := newTestService(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		parked <- true
		<-release
		io.WriteString(w, "late")
	}), "")
	if status, text := s.ask("/readyz"); status != 200 || text != "ready\n" {
		t.Errorf("before: %d %q", status, text)
	}
	answer, stopped := make(chan string), make(chan bool)
	go func() {
		_, text := s.get("/_matrix/client/v3/sync?timeout=30000")
		answer <- text
	}()
	<-parked
	go func() {
		s.stop()
		stopped <- true
	}()
	for !s.server.Draining() {
		time.Sleep(time.Millisecond)
	}
	if status, text := s.ask("/readyz"); status != 503 || text != "stopping\n" {
		t.Errorf("draining: %d %q", status, text)
	}
	if status, _ := s.ask("/livez"); status != 200 {
		t.Errorf("draining: /livez is %d", status)
	}
	release <- true
	if text := <-answer; text != "late" {
		t.Errorf("the request under way got %q", text)
	}
	<-stopped
}

// TestNotReadyWithoutCertificate: the ports are open at once, but a site whose
// certificate is missing is not served.
func TestNotReadyWithoutCertificate(t *testing.T) {
	s := newTestService(t, http.NotFoundHandler(), "  - server_name: example.org\n    synapse: { main: \"http://127.0.0.1:1\" }\n")
	if ok, reason := s.ready("nobody.example"); ok || !strings.Contains(reason, `there is no site "nobody.example"`) {
		t.Errorf("%v %q", ok, reason)
	}
	s.certs.Manage(t.Context(), []string{"matrix.example.org"})
	if status, text := s.ask("/readyz?site=example.com"); status != 503 || !strings.Contains(text, "no valid certificate yet for matrix.example.com") {
		t.Errorf("%d %q", status, text)
	}
}

func TestAdminPages(t *testing.T) {
	s := newTestService(t, sayName("main"), "")
	if status, text := s.get("/_matrix/client/versions"); status != 200 || !strings.Contains(text, `"answered_by":"main"`) {
		t.Fatalf("%d %q", status, text)
	}
	_, page := s.ask("/status")
	for _, part := range []string{"<h1>vestibule is <span class=\"ok\">ready</span></h1>", "matrix.example.com", "example.com/main", "internal, until"} {
		if !strings.Contains(page, part) {
			t.Errorf("the status page lacks %q", part)
		}
	}
	if _, text := s.ask("/status", "Accept", "application/json"); !strings.Contains(text, `"health": "up"`) {
		t.Errorf("status as JSON: %s", text)
	}
	_, metrics := s.ask("/metrics")
	for _, line := range []string{
		`vestibule_requests_total{class="main",code="200",entrypoint="https",site="example.com",upstream="`,
		`vestibule_request_duration_seconds_count{class="main",entrypoint="https",site="example.com"} 1`,
		`vestibule_upstream_up{class="main",site="example.com",upstream="`,
		`vestibule_certificate_not_after_seconds{name="matrix.example.com"} `,
		`vestibule_certificate_next_attempt_seconds{name="matrix.example.com"} `,
		`vestibule_certificate_obtained_total{name="matrix.example.com"} 1`,
		`vestibule_certificate_renewed_total{name="matrix.example.com"} 0`,
		`vestibule_certificate_failures_total{name="matrix.example.com"} 0`,
		`vestibule_config_last_reload_successful 1`,
	} {
		if !strings.Contains(metrics, "\n"+line) {
			t.Errorf("the metrics lack %s", line)
		}
	}
	if status, _ := s.ask("/reload"); status != 404 {
		t.Errorf("/reload on the admin entrypoint: %d", status)
	}
}

// rewrite changes the file of a running service.
func (s *testService) rewrite(old, now string) {
	s.t.Helper()
	text, err := os.ReadFile(s.path)
	if err != nil || !bytes.Contains(text, []byte(old)) {
		s.t.Fatalf("%v: %s", err, text)
	}
	if err := os.WriteFile(s.path, bytes.ReplaceAll(text, []byte(old), []byte(now)), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// TestReloadKeepsCertificates: whether the open ports end TLS is settled at start, so
// a reload that says otherwise leaves them their certificates.
func TestReloadKeepsCertificates(t *testing.T) {
	s := newTestService(t, sayName("main"), "")
	s.rewrite(`"] }`, `"], tls: false }`) // on all four; those of http and admin go back
	text, _ := os.ReadFile(s.path)
	var lines []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "  http:") || strings.HasPrefix(line, "  admin:") {
			line = strings.Replace(line, ", tls: false", "", 1)
		}
		lines = append(lines, line)
	}
	if err := os.WriteFile(s.path, []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	if a := s.reload(); !a.OK || !strings.Contains(strings.Join(a.Changes, "\n"), "entrypoints.https.tls changed: restart to apply it") {
		t.Fatalf("%+v", a)
	}
	if status, body := s.get("/_matrix/client/versions"); status != 200 {
		t.Errorf("%d %s", status, body)
	}
}

// TestReloadRefusesEmptyUpstream: "" once ended the process at its first probe.
func TestReloadRefusesEmptyUpstream(t *testing.T) {
	s := newTestService(t, sayName("main"), "")
	s.rewrite(`synapse: { main: "`, `synapse: { federation: "", main: "`)
	if a := s.reload(); a.OK || !strings.Contains(a.Error, "sites[0].synapse.federation: is empty") {
		t.Errorf("%+v", a)
	}
}

// TestHealthcheckOfSavedFile: a file that is saved and not applied does not make a
// running server look dead.
func TestHealthcheckOfSavedFile(t *testing.T) {
	s := newTestService(t, http.NotFoundHandler(), "")
	for _, addresses := range []string{`"` + freeAddress(t) + `"`, ""} {
		s.rewrite(`admin: { addresses: ["`+s.admin+`"] }`, `admin: { addresses: [`+addresses+`] }`)
		var out, errs bytes.Buffer
		if status := run([]string{"healthcheck", "--config", s.path}, nil, &out, &errs); status != exitOK || out.String() != "alive\n" {
			t.Errorf("%d %q %q", status, out.String(), errs.String())
		}
		s.rewrite(`admin: { addresses: [`+addresses+`] }`, `admin: { addresses: ["`+s.admin+`"] }`)
	}
}

// TestWarningsAreLogged: who only reloads reads what validate warns about, too.
func TestWarningsAreLogged(t *testing.T) {
	s := newTestService(t, sayName("main"), "")
	var log bytes.Buffer
	s.log = slog.New(slog.NewJSONHandler(&log, nil))
	s.rewrite("entrypoints:\n", "trusted_proxies: [0.0.0.0/0]\nentrypoints:\n")
	if a := s.reload(); !a.OK || !strings.Contains(log.String(), `"warning":"`) || !strings.Contains(log.String(), "trusted_proxies") {
		t.Errorf("%+v\n%s", a, log.String())
	}
}
