package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// testUpstream runs the upstream in this process.
type testUpstream struct {
	t       *testing.T
	address string
	in      io.WriteCloser
	out     *bufio.Scanner
}

func newTestUpstream(t *testing.T) *testUpstream {
	in, commands := io.Pipe()
	out, answers := io.Pipe()
	ended := make(chan error)
	go func() { ended <- serveUpstream(in, answers) }()
	u := &testUpstream{t: t, in: commands, out: bufio.NewScanner(out)}
	u.address = u.line()
	t.Cleanup(func() {
		commands.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return u
}

func (u *testUpstream) line() string {
	if !u.out.Scan() {
		u.t.Fatal("the upstream says nothing")
	}
	return u.out.Text()
}

func (u *testUpstream) ask(command string) string {
	fmt.Fprintln(u.in, command)
	return u.line()
}

// behindTLS ends TLS in front of an address and passes the bytes.
func behindTLS(t *testing.T, address string) string {
	certificate, key, err := makeCertificate()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair([]byte(certificate), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go pass(c, address)
		}
	}()
	return l.Addr().String()
}

func pass(c net.Conn, address string) {
	defer c.Close()
	up, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer up.Close()
	go io.Copy(up, c) //nolint:errcheck // ends with either connection
	io.Copy(c, up)    //nolint:errcheck // ends with either connection
}

func runLoadTest(t *testing.T, kind, address string, count int) loadReport {
	var out strings.Builder
	if err := runLoad([]string{kind, "-address", address, "-count", fmt.Sprint(count)}, &out); err != nil {
		t.Fatal(err)
	}
	var report loadReport
	if err := json.Unmarshal([]byte(out.String()), &report); err != nil {
		t.Fatal(err)
	}
	return report
}

func TestLoad(t *testing.T) {
	address := behindTLS(t, newTestUpstream(t).address)
	for kind, count := range map[string]int{"handshakes": 40, "upload": 1, "download": 2} {
		if r := runLoadTest(t, kind, address, count); r.Done != count || r.Problem != "" || r.Seconds <= 0 {
			t.Errorf("%s: %+v, not %d done", kind, r, count)
		}
	}
}

// TestParked: the polls wait until they are released, and are counted.
func TestParked(t *testing.T) {
	u := newTestUpstream(t)
	address := behindTLS(t, u.address)
	done := make(chan loadReport, 1)
	go func() { done <- runLoadTest(t, "parked", address, 40) }()
	for deadline := time.Now().Add(20 * time.Second); u.ask("parked") != "40"; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("only %s polls are parked", u.ask("parked"))
		}
	}
	select {
	case r := <-done:
		t.Fatalf("answered without being released: %+v", r)
	default:
	}
	if n := u.ask("release"); n != "40" {
		t.Errorf("%s released", n)
	}
	if r := <-done; r.Done != 40 || r.Problem != "" {
		t.Errorf("%+v", r)
	}
	if n := u.ask("parked"); n != "0" {
		t.Errorf("%s still parked", n)
	}
}

// TestLoadNotices: what is not the answer expected does not count as one.
func TestLoadNotices(t *testing.T) {
	for want, handler := range map[string]http.HandlerFunc{
		"got status 503 instead of 200":                              func(w http.ResponseWriter, _ *http.Request) { http.Error(w, small, http.StatusServiceUnavailable) },
		"got a body of 2 bytes instead of " + fmt.Sprint(len(small)): func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") },
	} {
		srv := httptest.NewTLSServer(handler)
		if r := runLoadTest(t, "handshakes", srv.Listener.Addr().String(), 3); r.Done != 0 || r.Problem != want {
			t.Errorf("%+v, not %q", r, want)
		}
		srv.Close()
	}
	if r := runLoadTest(t, "download", "127.0.0.1:1", 3); r.Done != 0 || !strings.Contains(r.Problem, "refused") {
		t.Errorf("nobody there: %+v", r)
	}
	if err := runLoad([]string{"nothing"}, io.Discard); err == nil {
		t.Error("a load nobody knows is no error")
	}
	if _, err := parseLoad([]byte(`{"Done":2,"Problem":"lost"}`), 3); err == nil || err.Error() != "only 2 of 3 were answered: lost" {
		t.Error(err)
	}
}

// TestUpstream: it looks like Synapse to a proxy that asks after it.
func TestUpstream(t *testing.T) {
	u := newTestUpstream(t)
	for target, want := range map[string]string{
		"/health":                        "OK",
		"/_matrix/federation/v1/version": `{"server":{"name":"Synapse","version":"1.150.0"}}`,
		"/_matrix/client/versions":       small,
		bulkTarget + "5":                 "\x00\x00\x00\x00\x00",
	} {
		resp, err := http.Get("http://" + u.address + target)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != 200 || string(text) != want || !strings.HasPrefix(resp.Header.Get("Server"), "Synapse/1.") {
			t.Errorf("%s: %s %v %q %v", target, resp.Status, resp.Header, text, err)
		}
	}
	// A body is read to its end, so that the next request begins behind it.
	for _, body := range []string{"", "x", strings.Repeat("x", 1<<20)} {
		resp, err := http.Post("http://"+u.address+uploadTarget, "application/octet-stream", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, resp.Body); n != int64(len(small)) || err != nil {
			t.Errorf("after a body of %d bytes: %d bytes, %v", len(body), n, err)
		}
		resp.Body.Close()
	}
	http.DefaultClient.CloseIdleConnections()
}
