package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// process is vestibule in a process of its own, as an operator starts it.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	log   string // file
	ended chan struct{}
	err   error // after ended
}

// startProcess runs `vestibule serve` as systemd does: files are passed as the
// sockets of these names, and more goes to the environment.
func startProcess(t *testing.T, config string, names []string, files []*os.File, more ...string) *process {
	t.Helper()
	p := &process{t: t, ended: make(chan struct{})}
	log, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p.log = log.Name()
	p.cmd = exec.Command("sh", "-c", `export LISTEN_PID=$$ WATCHDOG_PID=$$; exec "$@"`, "sh", "vestibule", "serve", "--config", config)
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.ExtraFiles = log, log, files
	p.cmd.Env = append(os.Environ(), more...)
	if len(files) > 0 {
		p.cmd.Env = append(p.cmd.Env, "LISTEN_FDS="+strconv.Itoa(len(files)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill() //nolint:errcheck // it may have ended
		<-p.ended
		if t.Failed() {
			t.Logf("%s", p.said())
		}
	})
	return p
}

func (p *process) said() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Error(err)
	}
	return string(text)
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// ends expects it to end by itself, and well.
func (p *process) ends() {
	p.t.Helper()
	select {
	case <-p.ended:
		if p.err != nil {
			p.t.Errorf("vestibule ended with %v", p.err)
		}
	case <-time.After(30 * time.Second):
		p.t.Fatal("vestibule runs on")
	}
}

// until waits until something is so.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// readiness is the status of /readyz, 0 when nobody answers.
func readiness(admin string) int {
	resp, err := http.Get("http://" + admin + "/readyz")
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

// writeConfig writes a configuration of one site whose back end is main.
func writeConfig(t *testing.T, https, admin, main, more string) (path string) {
	t.Helper()
	sockets, err := os.MkdirTemp("", "v") // their paths have to be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(sockets) })
	path = filepath.Join(t.TempDir(), "vestibule.yaml")
	text := fmt.Sprintf(baseConfig, sockets, https, freeAddress(t), freeAddress(t), admin, main) + more + "logging: { access: false }\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// dialTLS is a connection to the https entrypoint that speaks one protocol.
func dialTLS(t *testing.T, address, protocol string) net.Conn {
	t.Helper()
	c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, ServerName: "matrix.example.com", NextProtos: []string{protocol}})
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(60 * time.Second))
	t.Cleanup(func() { c.Close() })
	return c
}

func ask1(c net.Conn, host, path, more string) {
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", path, host, more)
}

// frame2 is a frame of HTTP/2 (RFC 9113, section 4.1).
func frame2(kind, flags byte, stream uint32, payload []byte) []byte {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	return append(binary.BigEndian.AppendUint32(append(head, flags), stream), payload...)
}

// ask2 sends the preface of HTTP/2 and a request on stream 1.
func ask2(c net.Conn, host, path string) {
	block := []byte{0x82, 0x87} // GET, https
	for index, value := range map[byte]string{1: host, 4: path} {
		block = append(append(block, index, byte(len(value))), value...)
	}
	const settings, headers, endStreamAndHeaders = 4, 1, 5
	c.Write(bytes.Join([][]byte{[]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame2(settings, 0, 0, nil), frame2(headers, endStreamAndHeaders, 1, block)}, nil))
}

// readFrame2 returns the next frame of HTTP/2.
func readFrame2(r io.Reader) (kind, flags byte, stream uint32, payload []byte, err error) {
	head := make([]byte, 9)
	if _, err = io.ReadFull(r, head); err != nil {
		return
	}
	payload = make([]byte, binary.BigEndian.Uint32(head)>>8)
	_, err = io.ReadFull(r, payload)
	return head[3], head[4], binary.BigEndian.Uint32(head[5:]), payload, err
}

// TestStopProcess: at SIGTERM monitoring learns of it, clients are told to go, each
// in the words of its protocol, and what is under way is finished.
func TestStopProcess(t *testing.T) {
	for _, engine := range []string{"standard", "own"} {
		t.Run(engine, func(t *testing.T) { tryStopProcess(t, engine) })
	}
}

func tryStopProcess(t *testing.T, engine string) {
	parked, release := make(chan bool, 2), make(chan bool)
	main := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/slow") {
			parked <- true
			<-release
		}
		io.WriteString(w, "answered")
	}))
	defer main.Close()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		io.Copy(io.Discard, rw)
	}))
	defer app.Close()
	https, admin := freeAddress(t), freeAddress(t)
	p := startProcess(t, writeConfig(t, https, admin, main.URL, fmt.Sprintf("    ntfy: { upstream: %q }\ntimeouts: { grace: 40s }\nengine: %s\n", app.URL, engine)), nil, nil)
	until(t, "ready", func() bool { return readiness(admin) == 200 })

	const matrix = "matrix.example.com"
	idle, slow, slow2, socket := dialTLS(t, https, "http/1.1"), dialTLS(t, https, "http/1.1"), dialTLS(t, https, "h2"), dialTLS(t, https, "http/1.1")
	fromIdle, fromSlow, fromSocket := bufio.NewReader(idle), bufio.NewReader(slow), bufio.NewReader(socket)
	ask1(idle, matrix, "/_matrix/client/versions", "")
	if text := answerOf(t, fromIdle); !strings.HasSuffix(text, "answered") || strings.Contains(text, "Connection: close") {
		t.Errorf("before: %s", text)
	}
	ask1(slow, matrix, "/_matrix/client/v3/slow", "")
	ask2(slow2, matrix, "/_matrix/client/v3/slow")
	<-parked
	<-parked
	ask1(socket, "ntfy.example.com", "/ws", "Connection: Upgrade\r\nUpgrade: websocket\r\n")
	if text := answerOf(t, fromSocket); !strings.HasPrefix(text, "HTTP/1.1 101 ") {
		t.Errorf("the WebSocket: %s", text)
	}

	p.signal(syscall.SIGTERM)
	status := 200
	until(t, "not ready", func() bool {
		status = readiness(admin)
		return status != 200
	})
	if status != 503 {
		t.Errorf("/readyz answers %d", status)
	}
	bye := make([]byte, 4)
	if _, err := io.ReadFull(fromSocket, bye); err != nil || !bytes.Equal(bye, []byte{0x88, 2, 0x03, 0xe9}) {
		t.Errorf("the WebSocket gets %x, %v", bye, err)
	}
	socket.Write([]byte{0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9})
	for name, r := range map[string]io.Reader{"the WebSocket": fromSocket, "the idle connection": fromIdle} {
		if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil {
			t.Errorf("%s: %q, %v", name, rest, err)
		}
	}
	answered := false
	for last := uint32(0); last == 0; {
		kind, flags, stream, payload, err := readFrame2(slow2)
		if err != nil {
			t.Fatalf("before GOAWAY: %v", err)
		}
		if answered = answered || stream == 1 && flags&1 == 1; kind == 7 {
			last = binary.BigEndian.Uint32(payload)
			if last < 1 || binary.BigEndian.Uint32(payload[4:]) != 0 {
				t.Errorf("GOAWAY says %x", payload)
			}
		}
	}
	if answered {
		t.Error("GOAWAY came after the answer")
	}
	if c, err := net.Dial("tcp", https); err == nil {
		c.Close()
		t.Error("new connections are accepted")
	}
	close(release)
	if text := answerOf(t, fromSlow); !strings.HasPrefix(text, "HTTP/1.1 200 ") || !strings.HasSuffix(text, "answered") || !strings.Contains(text, "Connection: close") {
		t.Errorf("under way over HTTP/1.1: %s", text)
	}
	for !answered {
		kind, flags, stream, payload, err := readFrame2(slow2)
		if err != nil {
			t.Fatalf("before the answer: %v", err)
		}
		if kind == 1 && (len(payload) == 0 || payload[0] != 0x88) { // 200 (RFC 7541, appendix A)
			t.Errorf("under way over HTTP/2: %x", payload)
		}
		answered = stream == 1 && flags&1 == 1 && (kind == 0 || kind == 1)
	}
	p.ends()
	if !strings.Contains(p.said(), `"msg":"stopped"`) {
		t.Error("the log does not say that it stopped")
	}
}

// answerOf is an answer over HTTP/1.1 as text: its head, and its body of known length.
func answerOf(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%s %s\r\n", resp.Proto, resp.Status)
	if resp.Close {
		text += "Connection: close\r\n"
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return text
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return text + string(body)
}

// listenFile is a listening socket as systemd opens it, and as it is passed.
func listenFile(t *testing.T, network, address string) (net.Listener, *os.File) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.Close()
		l.Close()
	})
	return l, f
}

// freshClient opens a connection for every request.
func freshClient(address string, h2 bool) *http.Client {
	return &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		},
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		ForceAttemptHTTP2: h2,
	}}
}

// fetchFresh asks over a connection of its own.
func fetchFresh(address string, h2 bool) error {
	c := freshClient(address, h2)
	defer c.CloseIdleConnections()
	resp, err := c.Get("https://matrix.example.com/_matrix/client/versions")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != 200 || string(text) != "answered" || (resp.ProtoMajor == 2) != h2) {
		err = fmt.Errorf("%s %s: %q", resp.Proto, resp.Status, text)
	}
	return err
}

// TestRestartsLoseNothing plays systemd, which keeps the sockets open while one
// vestibule ends and the next begins: no attempt to connect fails, and no request
// on a fresh connection is lost.
func TestRestartsLoseNothing(t *testing.T) {
	for _, engine := range []string{"standard", "own"} {
		t.Run(engine, func(t *testing.T) { tryRestarts(t, engine) })
	}
}

func tryRestarts(t *testing.T, engine string) {
	main := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(20 * time.Millisecond) // so that some are under way at every stop
		io.WriteString(w, "answered")
	}))
	defer main.Close()
	one, fileOne := listenFile(t, "tcp", "127.0.0.1:0")
	two, fileTwo := listenFile(t, "tcp", "127.0.0.1:0")
	sockets, err := os.MkdirTemp("", "v")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(sockets)
	inside := filepath.Join(sockets, "internal.sock")
	_, fileInside := listenFile(t, "unix", inside)
	_, fileSpare := listenFile(t, "tcp", "127.0.0.1:0")
	admin := freeAddress(t)
	config := writeConfig(t, "fd:https", admin, main.URL, "    internal: { addresses: [\"fd:internal\"] }\ntimeouts: { grace: 40s }\nengine: "+engine+"\n")
	start := func() *process {
		return startProcess(t, config, []string{"https", "spare", "https", "internal"}, []*os.File{fileOne, fileSpare, fileTwo, fileInside})
	}

	p := start()
	until(t, "ready", func() bool { return readiness(admin) == 200 })
	var answers atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for i := range 8 {
		address := []net.Listener{one, two}[i%2].Addr().String()
		clients.Go(func() {
			for ctx.Err() == nil {
				if err := fetchFresh(address, i%4 < 2); err != nil {
					t.Errorf("lost: %v", err)
					return
				}
				answers.Add(1)
			}
		})
	}
	for range 4 {
		before := answers.Load()
		until(t, "requests are answered", func() bool { return answers.Load() > before+50 || t.Failed() })
		p.signal(syscall.SIGTERM)
		p.ends()
		waiting, err := net.Dial("tcp", one.Addr().String())
		if err != nil {
			t.Errorf("while none runs: %v", err)
		} else {
			waiting.Close()
		}
		p = start()
	}
	until(t, "ready again", func() bool { return readiness(admin) == 200 })
	cancel()
	clients.Wait()
	t.Logf("%d requests on fresh connections, none lost in 4 restarts", answers.Load())
	c := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", inside) }}}
	defer c.CloseIdleConnections()
	if resp, err := c.Get("http://matrix.example.com/_matrix/client/versions"); err != nil || resp.StatusCode != 200 {
		t.Errorf("the Unix socket after the restarts: %v %v", resp, err)
	}
	if said := p.said(); !strings.Contains(said, "systemd passes sockets that no address stands for") || !strings.Contains(said, `"names":["spare"]`) {
		t.Error("the log does not name the socket that nobody wants")
	}
	p.signal(syscall.SIGTERM)
	p.ends()
	if _, err := os.Stat(inside); err != nil {
		t.Errorf("the socket of systemd is gone: %v", err)
	}
}

// TestSocketsThatAreMissing: who starts it by hand reads what to do.
func TestSocketsThatAreMissing(t *testing.T) {
	_, file := listenFile(t, "tcp", "127.0.0.1:0")
	for _, c := range []struct {
		names []string
		files []*os.File
		want  string
	}{
		{nil, nil, "opening entrypoints.https: fd:https: systemd passed no sockets to this process (hint: let systemd start it, "},
		{[]string{"web"}, []*os.File{file}, `opening entrypoints.https: fd:https: systemd passed no socket of this name, only "web" (hint: write FileDescriptorName=https `},
	} {
		p := startProcess(t, writeConfig(t, "fd:https", freeAddress(t), "http://127.0.0.1:1", ""), c.names, c.files)
		<-p.ended
		var exit *exec.ExitError
		if !errors.As(p.err, &exit) || exit.ExitCode() != exitProblem || !strings.Contains(p.said(), c.want) {
			t.Errorf("%v, %s\nwant %s", p.err, p.said(), c.want)
		}
	}
}

// TestHealthcheckThroughControl: where only systemd knows the admin entrypoint's
// address, the control socket answers in its place.
func TestHealthcheckThroughControl(t *testing.T) {
	main := httptest.NewServer(http.NotFoundHandler())
	defer main.Close()
	l, file := listenFile(t, "tcp", "127.0.0.1:0")
	config := writeConfig(t, freeAddress(t), "fd:admin", main.URL, "")
	p := startProcess(t, config, []string{"admin"}, []*os.File{file})
	until(t, "ready", func() bool { return readiness(l.Addr().String()) == 200 })
	for args, want := range map[string]string{"": "alive\n", "--ready": "ready\n"} {
		var out, errs bytes.Buffer
		status := run(append([]string{"healthcheck", "--config", config}, strings.Fields(args)...), nil, &out, &errs)
		if status != exitOK || out.String() != want {
			t.Errorf("healthcheck %s: %d %q %q", args, status, out.String(), errs.String())
		}
	}
	p.signal(os.Interrupt)
	p.ends()
}
