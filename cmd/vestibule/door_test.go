//go:build integration

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// built is the program as it is released, built once.
var built = sync.OnceValues(func() (program string, err error) {
	if builtDir, err = os.MkdirTemp("", "v"); err != nil {
		return "", err
	}
	program = filepath.Join(builtDir, "vestibule")
	build := exec.Command("go", "build", "-trimpath", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building vestibule: %w\n%s", err, text)
	}
	return program, nil
})

// vestibule is a command of the program, to be run.
func vestibule(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	program, err := built()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(program, args...)
	c.Stderr = os.Stderr
	return c
}

// peer is this test in another role, one of peers, to be run.
func peer(t testing.TB, role string, args ...string) *exec.Cmd {
	t.Helper()
	test, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &exec.Cmd{Path: test, Args: append([]string{role}, args...), Stderr: os.Stderr}
}

func init() { peers["parking"], peers["carrier"] = parking, carrier }

// door is the program at work, a process of its own, so that its memory, its
// files and its processor time are nobody else's.
type door struct {
	t      testing.TB
	engine string
	dir    string
	https  string // addresses
	admin  string
	child  *exec.Cmd
	client http.Client // of the admin entrypoint
}

// eachEngine runs a test for every server that may stand in front, or for ENGINE.
func eachEngine(t *testing.T, test func(t *testing.T, engine string)) {
	t.Helper()
	engines := []string{"standard", "own"}
	if only := os.Getenv("ENGINE"); only != "" {
		engines = []string{only}
	}
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) { test(t, engine) })
	}
}

// doorText is the part of a door's configuration that all have.
const doorText = `control: %[1]s/control.sock
engine: %[4]s
certificates: { issuer: internal, storage: { directory: %[1]s/storage } }
entrypoints:
  https: { addresses: [%[2]q] }
  admin: { addresses: [%[3]q] }
  http: { addresses: [] }
  federation: { addresses: [] }
`

// openDoor runs the program with an engine, and a configuration to which more
// belongs, and waits until it serves. It may open so many files, if that is not 0.
func openDoor(t testing.TB, engine, more string, files int) *door {
	t.Helper()
	dir, err := os.MkdirTemp("", "v") // sockets have short paths
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := &door{t: t, engine: engine, dir: dir, https: freeAddress(t), admin: freeAddress(t), client: http.Client{Timeout: 20 * time.Second}}
	d.configure(more)
	d.child = vestibule(t, "serve", "--config", d.config())
	if files > 0 {
		d.child = exec.Command("/bin/sh", append([]string{"-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, files)}, d.child.Args...)...)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	d.child.Stderr = log
	if err := d.child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	eventually(t, "the door serves", func() bool {
		resp, err := d.client.Get("http://" + d.admin + "/readyz")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil && resp.StatusCode == 200
	})
	return d
}

// close ends the program, which must not have ended by itself.
func (d *door) close() {
	d.client.CloseIdleConnections()
	d.child.Process.Signal(syscall.SIGTERM)
	if err := d.child.Wait(); err != nil {
		d.t.Errorf("the program ended with %v\n%s", err, d.log())
	}
}

func (d *door) config() string { return filepath.Join(d.dir, "vestibule.yaml") }

// configure writes the configuration; it is not read before a reload.
func (d *door) configure(more string) {
	d.t.Helper()
	text := fmt.Sprintf(doorText, d.dir, d.https, d.admin, d.engine) + more
	if err := os.WriteFile(d.config(), []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// reload has the program read its configuration again: by the command, or by a
// signal.
func (d *door) reload(bySignal bool) {
	d.t.Helper()
	const mark = "configuration applied"
	before := strings.Count(d.log(), mark)
	if bySignal {
		d.child.Process.Signal(syscall.SIGHUP)
	} else if text, err := vestibule(d.t, "reload", "--config", d.config()).Output(); err != nil {
		d.t.Fatalf("vestibule reload: %v\n%s", err, text)
	}
	eventually(d.t, "the configuration is applied", func() bool { return strings.Count(d.log(), mark) > before })
}

// log is what the program has written.
func (d *door) log() string {
	text, err := os.ReadFile(filepath.Join(d.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// ask asks the admin entrypoint.
func (d *door) ask(path string) string {
	d.t.Helper()
	req, err := http.NewRequest("GET", "http://"+d.admin+path, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json")
	return textOf(d.t)(d.client.Do(req))
}

// metric sums the values of a metric.
func (d *door) metric(name string) (sum float64) {
	d.t.Helper()
	found := false
	for line := range strings.Lines(d.ask("/metrics")) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		found = true
		value, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest, ' '):]), 64)
		if err != nil {
			d.t.Fatal(err)
		}
		sum += value
	}
	if !found {
		d.t.Fatalf("no metric %s", name)
	}
	return sum
}

// upstreamConnections are those that are open to upstreams, idle ones too.
func (d *door) upstreamConnections() (n int64) {
	d.t.Helper()
	var report struct {
		Pools []struct{ Upstreams []struct{ Connections int64 } }
	}
	if err := json.Unmarshal([]byte(d.ask("/status")), &report); err != nil {
		d.t.Fatal(err)
	}
	for _, p := range report.Pools {
		for _, u := range p.Upstreams {
			n += u.Connections
		}
	}
	return n
}

// census is how much of what grows there is.
type census struct{ goroutines, files float64 }

func (d *door) census() census {
	return census{d.metric("go_goroutines"), d.metric("process_open_fds")}
}

// awaitCensus waits until there is no more than before, but for a probe that may
// be under way. What is idle towards upstreams is not counted: it waits for the next
// request.
func (d *door) awaitCensus(before census) {
	d.t.Helper()
	var now census
	const probes = 6
	ok := within(30*time.Second, func() bool {
		now = d.census()
		now.files -= float64(d.upstreamConnections())
		return now.goroutines <= before.goroutines+probes && now.files <= before.files+probes
	})
	if !ok {
		d.t.Errorf("before there were %+v, now there are %+v", before, now)
	}
}

// memory is what the program has of it, in KiB: now, and at most since forgetPeak.
func (d *door) memory() (now, peak int) {
	d.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.child.Process.Pid))
	if err != nil {
		d.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		fmt.Sscanf(line, "VmRSS: %d kB", &now)
		fmt.Sscanf(line, "VmHWM: %d kB", &peak)
	}
	return now, peak
}

// forgetPeak begins memory's maximum anew (proc(5), clear_refs).
func (d *door) forgetPeak() {
	d.t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", d.child.Process.Pid), []byte("5"), 0); err != nil {
		d.t.Logf("the maximum of memory counts from the start: %v", err)
	}
}

// cpu is the processor time that the program has used.
func (d *door) cpu() time.Duration {
	d.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.child.Process.Pid))
	if err != nil {
		d.t.Fatal(err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')'):])) // from field 2, comm, on
	const perSecond = 100                                                   // sysconf(_SC_CLK_TCK), the same on every Linux
	var ticks int64
	for _, field := range fields[12:14] { // 14 and 15, utime and stime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			d.t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / perSecond
}

// doorHost is whom clients of a door ask for.
const doorHost = "matrix.example.com"

// dial opens a connection that speaks what it is told, "http/1.1" or "h2".
func (d *door) dial(protocol string) (*tls.Conn, error) {
	nc, err := net.DialTimeout("tcp", d.https, 20*time.Second)
	if err != nil {
		return nil, err
	}
	c := tls.Client(nc, &tls.Config{InsecureSkipVerify: true, ServerName: doorHost, NextProtos: []string{protocol}})
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if err := c.Handshake(); err != nil {
		nc.Close()
		return nil, err
	}
	c.SetDeadline(time.Time{})
	return c, nil
}

// visitor is an ordinary client of a door.
func (d *door) visitor(h2, keep bool) *http.Client {
	c := newVisitor(d.https, h2, keep)
	d.t.Cleanup(c.CloseIdleConnections)
	return c
}

func newVisitor(address string, h2, keep bool) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		},
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		ForceAttemptHTTP2: h2, DisableKeepAlives: !keep, DisableCompression: true,
	}}
}

// visit asks a back end for its name, with a field as large as that.
func visit(c *http.Client, field string) error {
	req, err := http.NewRequest("GET", "https://"+doorHost+"/_matrix/client/versions", nil)
	if err != nil {
		return err
	}
	req.Header.Set("X-Field", field)
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || len(text) == 0 {
		return fmt.Errorf("%s %q: %w", resp.Status, text, err)
	}
	return nil
}

// eventually waits until something is so.
func eventually(t testing.TB, what string, so func() bool) {
	t.Helper()
	if !within(30*time.Second, so) {
		t.Fatalf("never: %s", what)
	}
}

func within(limit time.Duration, so func() bool) bool {
	for deadline := time.Now().Add(limit); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// readAnswer reads an answer of HTTP/1.1.
func readAnswer(r *bufio.Reader) (status int, text string, err error) {
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}
