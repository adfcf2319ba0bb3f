package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/template"
	"time"
	"unicode"

	"vestibule/configs"
)

// demoAddresses are where the demo listens.
type demoAddresses struct{ HTTPS, Federation, HTTP, Admin string }

//go:embed demo.yaml.tmpl
var demoConfig string

func demo(c *call) int {
	fs := c.flags()
	var a demoAddresses
	fs.StringVar(&a.HTTPS, "https", "127.0.0.1:8443", "where clients connect")
	fs.StringVar(&a.Federation, "federation", "127.0.0.1:8448", "where other homeservers connect")
	fs.StringVar(&a.HTTP, "http", "127.0.0.1:8080", "where http is redirected to https")
	fs.StringVar(&a.Admin, "admin", "127.0.0.1:9180", "where status and metrics are")
	if _, status, done := c.parse(fs, 0, 0); done {
		return status
	}
	s, cleanUp, err := newDemo(a, c)
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("%w\nThe demo can listen elsewhere: give --https, --federation, --http or --admin another address, such as --http 127.0.0.1:8081", err)
	}
	if err != nil {
		return c.fail(err)
	}
	defer cleanUp()
	signals := catch()
	s.start()
	if err := s.awaitReady(30 * time.Second); err != nil {
		s.stop()
		return c.fail(err)
	}
	fmt.Fprint(c.stdout, demoTour(a, filepath.Dir(s.path), selfCommand()))
	s.obey(signals)
	return exitOK
}

// newDemo writes a configuration into a directory of its own, starts a back end
// for every class and prepares the front door before them.
func newDemo(a demoAddresses, c *call) (s *service, cleanUp func(), err error) {
	dir, err := os.MkdirTemp("", "vestibule-demo-")
	if err != nil {
		return nil, nil, err
	}
	backends := &demoBackends{urls: map[string]string{}}
	cleanUp = func() {
		backends.close()
		os.RemoveAll(dir)
	}
	defer func() {
		if err != nil {
			cleanUp()
		}
	}()
	path := filepath.Join(dir, "vestibule.yaml")
	if err := writeDemoConfig(path, a, dir, backends); err != nil {
		return nil, nil, err
	}
	s, err = newService(path, newLogs(func(o *slog.HandlerOptions) slog.Handler { return slog.NewTextHandler(c.stderr, o) }, demoRequests{c.stderr}))
	return s, cleanUp, err
}

// demoRequests shows requests as a person reads them.
type demoRequests struct{ to io.Writer }

// Write implements io.Writer: p is whole lines of the access log.
func (d demoRequests) Write(p []byte) (int, error) {
	var out bytes.Buffer
	for line := range bytes.Lines(p) {
		var r struct {
			Entrypoint, Method, Host, Path, Upstream, Error string
			Class, Route                                    string
			Status                                          int
			Seconds                                         float64
		}
		if err := json.Unmarshal(line, &r); err != nil {
			return 0, fmt.Errorf("reading a line of the access log: %w", err)
		}
		by := "class " + r.Class + " at " + r.Upstream
		if r.Upstream == "" {
			by = "vestibule itself (" + r.Route + ")"
		}
		text := fmt.Sprintf("%s: %s %s%s: %d from %s in %.1f ms", r.Entrypoint, r.Method, r.Host, r.Path, r.Status, by, r.Seconds*1000)
		if r.Error != "" {
			text += ": " + r.Error
		}
		fmt.Fprintln(&out, strings.Map(printable, text)) // a client chose some of it, and this may be a terminal
	}
	if _, err := d.to.Write(out.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}

func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return unicode.ReplacementChar
}

func writeDemoConfig(path string, a demoAddresses, dir string, backends *demoBackends) error {
	t, err := template.New("demo").Funcs(template.FuncMap{"backend": backends.start, "port": port}).Parse(demoConfig)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	err = t.Execute(&text, map[string]any{"Address": a, "Dir": dir, "Hosts": demoHosts, "Workers": demoWorkers(), "Streams": demoStreams()})
	if err != nil {
		return err
	}
	return os.WriteFile(path, text.Bytes(), 0o600)
}

// demoHosts are what the demo is called.
var demoHosts = []string{"localhost", "127.0.0.1"}

// demoWorkers are the classes under synapse.workers; sync has two processes, to
// show that a user stays on one.
func demoWorkers() []string {
	var out []string
	for _, c := range configs.WorkerClasses {
		if !strings.HasPrefix(string(c), "stream:") {
			out = append(out, string(c))
		}
	}
	return out
}

func demoStreams() []string {
	var out []string
	for _, c := range configs.WorkerClasses {
		if name, ok := strings.CutPrefix(string(c), "stream:"); ok {
			out = append(out, name)
		}
	}
	return out
}

// awaitReady waits until every name has its certificate.
func (s *service) awaitReady(limit time.Duration) error {
	for deadline := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		missing := slices.DeleteFunc(s.proxy.Config().CertificateNames(), s.certs.Ready)
		if len(missing) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the front door did not become ready: no certificate for %s", strings.Join(missing, ", "))
		}
	}
}

// demoBackends are HTTP servers that say who they are.
type demoBackends struct {
	servers []*http.Server
	urls    map[string]string // by name
}

// start returns the URL of the back end of that name, which it runs on a port
// of the system's choice if it does not run yet.
func (b *demoBackends) start(name string) (string, error) {
	if url := b.urls[name]; url != "" {
		return url, nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("starting the back end %s: %w", name, err)
	}
	srv := &http.Server{Handler: sayName(name), ReadHeaderTimeout: 10 * time.Second}
	b.servers = append(b.servers, srv)
	go srv.Serve(l) //nolint:errcheck // ends with close
	b.urls[name] = "http://" + l.Addr().String()
	return b.urls[name], nil
}

func (b *demoBackends) close() {
	for _, s := range b.servers {
		s.Close()
	}
}

// sayName answers with the back end's name and what reached it.
func sayName(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Access-Control-Allow-Origin", "*")
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		_ = e.Encode(map[string]string{ // it fails only when the asker has left
			"answered_by": name, "method": r.Method, "target": r.RequestURI, "host": r.Host,
			"client": r.Header.Get("X-Forwarded-For"), "proto": r.Header.Get("X-Forwarded-Proto"),
		})
	})
}

// selfCommand is how this program was called, for commands to paste.
func selfCommand() string {
	if strings.Contains(os.Args[0], string(filepath.Separator)+"go-build") {
		return "go run ./cmd/vestibule"
	}
	return os.Args[0]
}

// demoStep is something to try.
type demoStep struct{ title, command string }

// demoSteps lists what the tour prints.
func demoSteps(a demoAddresses, dir, self string) []demoStep {
	curl := "curl -s --cacert " + filepath.Join(dir, "storage", "root.pem") + " "
	https := "https://localhost:" + port(a.HTTPS)
	federation := "https://localhost:" + port(a.Federation)
	config := " --config " + filepath.Join(dir, "vestibule.yaml")
	sync := "'" + https + "/_matrix/client/v3/sync?since=s1&timeout=0'"
	alice := "-H 'Authorization: Bearer syt_YWxpY2U_abcdefghijklmnopqrst_0aBcDe' "
	return []demoStep{
		{"A client asks which versions the server speaks", curl + https + "/_matrix/client/versions"},
		{"alice syncs: her token names her, so she always meets the same of two processes", curl + alice + sync},
		{"bob may meet the other", curl + "-H 'Authorization: Bearer syt_Ym9i_abcdefghijklmnopqrst_1aBcDe' " + sync},
		{"A first sync is slow, so it is kept apart", curl + "'" + https + "/_matrix/client/v3/sync?timeout=0'"},
		{"A message is sent: the room's worker, and every byte of the path arrives", curl + "-X PUT -d '{}' '" + https + "/_matrix/client/v3/rooms/%21room%3alocalhost/send/m.room.message/txn%2F1'"},
		{"Another homeserver fetches the keys", curl + federation + "/_matrix/key/v2/server"},
		{"Where do clients find this server?", curl + https + "/.well-known/matrix/client"},
		{"And other homeservers?", curl + https + "/.well-known/matrix/server"},
		{"Element Web", curl + https + "/element/config.json"},
		{"Synapse's admin API is open to the addresses under admins only, here to loopback", curl + https + "/_synapse/admin/v1/server_version"},
		{"Replication never is, however it is spelt", curl + https + "/_synapse/client/%2e%2e/replication/x"},
		{"Why? explain says who answers, and who does not", self + " explain " + alice + "GET " + sync + config},
		{"How is it?", "curl -s http://" + a.Admin + "/readyz"},
	}
}

// demoTour is the text the demo prints.
func demoTour(a demoAddresses, dir, self string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nA front door is open on this machine. Its back ends only say who they are.\n"+
		"  clients      https://localhost:%s\n  homeservers  https://localhost:%s\n  status       http://%s/status\n"+
		"  its file     %s\n\nThings to try in another terminal:\n",
		port(a.HTTPS), port(a.Federation), a.Admin, filepath.Join(dir, "vestibule.yaml"))
	for _, s := range demoSteps(a, dir, self) {
		fmt.Fprintf(&b, "\n# %s\n%s\n", s.title, s.command)
	}
	b.WriteString("\nCtrl-C ends it and removes its files.\n\n")
	return b.String()
}

func port(address string) string {
	_, p, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return p
}
