package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vestibule/configs"
)

// front is a front door under test, with back ends that say who they are.
type front struct {
	t        testing.TB
	proxy    *Proxy
	server   *Server
	registry *prometheus.Registry
	log      *lockedBuffer // of requests
	messages *lockedBuffer
	https    string // addresses
	fed      string
	http     string
	internal string
	probed   bool   // back ends are probed
	lookup   lookup // of back ends' names
}

// newFront serves the sites of a configuration; INTERNAL in the text stands for
// a free address.
func newFront(t testing.TB, sites string) *front {
	t.Helper()
	f := &front{t: t, internal: freeAddress(t)}
	f.open(f.load(sites))
	return f
}

// newFrontOn serves a configuration that was read elsewhere.
func newFrontOn(t testing.TB, cfg *configs.Config) *front {
	t.Helper()
	f := &front{t: t}
	f.open(cfg)
	return f
}

// load writes and reads a configuration with these sites.
func (f *front) load(sites string) *configs.Config {
	f.t.Helper()
	path := filepath.Join(f.t.TempDir(), "vestibule.yaml")
	text := "certificates: { issuer: internal }\n" + strings.ReplaceAll(sites, "INTERNAL", f.internal)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	cfg, problems := configs.Load(path)
	if cfg == nil {
		f.t.Fatalf("the test's configuration:\n%v\n%s", problems, text)
	}
	return cfg
}

// open serves cfg on free addresses.
func (f *front) open(cfg *configs.Config) {
	f.t.Helper()
	f.openAt(cfg, freeAddress(f.t))
}

// openAt serves cfg with this address for https and free ones for the others.
func (f *front) openAt(cfg *configs.Config, https string) {
	f.t.Helper()
	f.registry, f.log, f.messages = prometheus.NewRegistry(), &lockedBuffer{}, &lockedBuffer{}
	f.https, f.fed, f.http = https, freeAddress(f.t), freeAddress(f.t)
	if engine := os.Getenv("ENGINE"); engine != "" {
		cfg.Engine = engine
	}
	e := &cfg.Entrypoints
	e.HTTPS.Addresses, e.Federation.Addresses = []configs.Address{configs.Address(f.https)}, []configs.Address{configs.Address(f.fed)}
	e.HTTP.Addresses, e.Admin.Addresses = []configs.Address{configs.Address(f.http)}, nil
	f.proxy = New(NewMetrics(f.registry), slog.New(slog.NewJSONHandler(f.messages, nil)), f.log)
	f.proxy.unprobed = !f.probed
	if f.lookup != nil {
		f.proxy.lookup = f.lookup
	}
	if err := f.proxy.Apply(cfg, nil); err != nil {
		f.t.Fatal(err)
	}
	ls, err := Listen(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	f.server = NewServer(f.proxy, cfg, ls, newSelfSigned(f.t), http.NotFoundHandler(), slog.New(slog.NewJSONHandler(f.messages, nil)))
	f.server.Start()
	f.t.Cleanup(func() { f.server.Stop(0) })
}

// client speaks HTTP/1.1, or HTTP/2, to an address whatever the URL's host.
func (f *front) client(address string, h2 bool) *http.Client {
	tr := &http.Transport{
		DialContext:         func(context.Context, string, string) (net.Conn, error) { return net.Dial("tcp", address) },
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true},
		DisableCompression:  true,
		MaxIdleConnsPerHost: 64,
		ForceAttemptHTTP2:   h2,
	}
	f.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// do sends a request and returns the response with its whole body.
func do(t testing.TB, c *http.Client, method, url string, body io.Reader, fields ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Add(fields[i], fields[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: reading the body: %v", method, url, err)
	}
	return resp, string(text)
}

// counter sums the values of a counter.
func (f *front) counter(name string) (sum float64) {
	f.t.Helper()
	metrics, err := f.registry.Gather()
	if err != nil {
		f.t.Fatal(err)
	}
	for _, m := range metrics {
		if m.GetName() == name {
			for _, v := range m.Metric {
				sum += v.Counter.GetValue()
			}
		}
	}
	return sum
}

// rawConn is a TLS connection that speaks what it is told.
func (f *front) rawConn(address string, protocols ...string) net.Conn {
	f.t.Helper()
	c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: protocols, ServerName: "matrix.example.com"})
	if err != nil {
		f.t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(time.Minute))
	f.t.Cleanup(func() { c.Close() })
	return c
}

// plainConn is a connection without TLS.
func (f *front) plainConn(address string) net.Conn {
	f.t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		f.t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(time.Minute))
	f.t.Cleanup(func() { c.Close() })
	return c
}

// seen is a request as a back end received it.
type seen struct {
	line  string // the request line
	head  string // the fields
	body  string
	field http.Header
}

// backend is a server that reads requests byte by byte and answers with its
// name.
type backend struct {
	name     string
	listener net.Listener
	// reply, if set, writes the answer; it returns false to close the connection.
	reply func(w net.Conn, r *bufio.Reader, s seen) bool
	// forgetful keeps no requests.
	forgetful bool

	mu    sync.Mutex
	seen  []seen
	conns int
}

func newBackend(t testing.TB, name string) *backend {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveBackend(t, name, l)
}

func serveBackend(t testing.TB, name string, l net.Listener) *backend {
	b := &backend{name: name, listener: l}
	t.Cleanup(func() { l.Close() })
	go b.accept()
	return b
}

func (b *backend) accept() {
	for {
		c, err := b.listener.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		b.conns++
		b.mu.Unlock()
		go b.serve(c)
	}
}

func (b *backend) url() string { return "http://" + b.listener.Addr().String() }

func (b *backend) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		s, err := readRequest(r)
		if err != nil {
			return
		}
		b.mu.Lock()
		if !b.forgetful {
			b.seen = append(b.seen, s)
		}
		reply := b.reply
		b.mu.Unlock()
		if reply == nil {
			reply = b.sayName
		}
		if !reply(c, r, s) {
			return
		}
	}
}

func (b *backend) sayName(w net.Conn, _ *bufio.Reader, s seen) bool {
	body := b.name
	if strings.HasPrefix(s.line, "HEAD ") {
		body = ""
	}
	_, err := fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nX-Answered-By: %s\r\nContent-Length: %d\r\n\r\n%s", b.name, len(b.name), body)
	return err == nil
}

func (b *backend) answers(reply func(w net.Conn, r *bufio.Reader, s seen) bool) {
	b.mu.Lock()
	b.reply = reply
	b.mu.Unlock()
}

// last returns the last request that the back end received.
func (b *backend) last(t testing.TB) seen {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.seen) == 0 {
		t.Fatalf("%s received nothing", b.name)
	}
	return b.seen[len(b.seen)-1]
}

func (b *backend) count() (requests, conns int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.seen), b.conns
}

// readRequest reads a request with the plainest reading of its framing.
func readRequest(r *bufio.Reader) (seen, error) {
	var s seen
	line, err := r.ReadString('\n')
	if err != nil {
		return s, err
	}
	s.line = strings.TrimSuffix(line, "\r\n")
	s.field = http.Header{}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return s, err
		}
		if line == "\r\n" {
			break
		}
		s.head += line
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\r\n"), ": ")
		s.field.Add(name, value)
	}
	if s.field.Get("Expect-No-Body-Read") != "" {
		return s, nil
	}
	s.body, err = readRequestBody(r, s.field)
	return s, err
}

func readRequestBody(r *bufio.Reader, field http.Header) (string, error) {
	if field.Get("Transfer-Encoding") == "" {
		var n int
		fmt.Sscan(field.Get("Content-Length"), &n)
		body := make([]byte, n)
		_, err := io.ReadFull(r, body)
		return string(body), err
	}
	var body strings.Builder
	for {
		var size int
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		fmt.Sscanf(line, "%x", &size)
		if size == 0 {
			for line != "\r\n" {
				if line, err = r.ReadString('\n'); err != nil {
					return "", err
				}
				if line != "\r\n" {
					body.WriteString("[" + strings.TrimSpace(line) + "]")
				}
			}
			return body.String(), nil
		}
		if _, err := io.CopyN(&body, r, int64(size)); err != nil {
			return "", err
		}
		if _, err := r.Discard(2); err != nil {
			return "", err
		}
	}
}

// given are the addresses that freeAddress has returned: none twice, for it may be a
// while until one is listened on.
var given sync.Map

func freeAddress(t testing.TB) string {
	t.Helper()
	for range 1000 {
		// Below the ports that the system gives to connections, or one of those
		// could take it before it is listened on.
		address := fmt.Sprintf("127.0.0.1:%d", 10000+mathrand.IntN(20000))
		if _, twice := given.LoadOrStore(address, true); twice {
			continue
		}
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			return address
		}
	}
	t.Fatal("no free port")
	return ""
}

// selfSigned is one certificate for every name.
type selfSigned struct{ certificate tls.Certificate }

func newSelfSigned(t testing.TB) *selfSigned {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), DNSNames: []string{"*.example.com"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &selfSigned{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}
}

func (s *selfSigned) ForName(string) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &s.certificate, nil }
}

// lockedBuffer is a log that a test may read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// eventually waits until something is so.
func eventually(t testing.TB, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !so(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// openFiles counts this process's file descriptors.
func openFiles(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("needs /proc")
	}
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// cpuTime is the processor time this process has used.
func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// gauge reads a metric without labels.
func gauge(t testing.TB, f *front, name string) float64 {
	t.Helper()
	families, err := f.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.Metric[0].Gauge.GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
