package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// gone is the URL of a process that refuses connections.
func gone(t testing.TB) string { return "http://" + freeAddress(t) }

// TestStandIns: while a class is down its requests go to the next that can
// answer, in the row's order, and in the end to the main process.
func TestStandIns(t *testing.T) {
	main, generic := newBackend(t, "main"), newBackend(t, "generic")
	site := "sites:\n  - server_name: example.com\n    synapse: { main: %q, hold: 100ms, workers: { initial_sync: [%q], sync: [%q], generic: [%q], streams: { typing: [%q] } } }\n"
	f := newFront(t, fmt.Sprintf(site, main.url(), gone(t), gone(t), generic.url(), gone(t)))
	c := f.client(f.https, true)
	is := func(method, path, who string, status int) *http.Response {
		t.Helper()
		resp, text := do(t, c, method, "https://matrix.example.com/_matrix/client/v3/"+path, nil)
		if resp.StatusCode != status || status == 200 && text != who {
			t.Errorf("%s: %s %q, want %d from %s", path, resp.Status, text, status, who)
		}
		return resp
	}
	is("GET", "sync", "generic", 200)
	is("GET", "sync?since=s1", "generic", 200)
	if n := f.counter("vestibule_stand_ins_total"); n != 2 {
		t.Errorf("%v stand-ins counted", n)
	}
	resp := is("PUT", "rooms/!a/typing/@b:example.com", "", 503)
	if resp.Header.Get("Retry-After") == "" || resp.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("typing without its writer: %v", resp.Header)
	}
	is("OPTIONS", "rooms/!a/typing/@b:example.com", "main", 200)
	generic.answers(func(net.Conn, *bufio.Reader, seen) bool { return false })
	generic.listener.Close()
	f.proxy.state.Load().pools[0].upstreams[0].found.Load().list[0].forget()
	is("GET", "sync?since=s1", "main", 200)
	if n, _ := main.count(); n != 2 {
		t.Errorf("the main process got %d requests", n)
	}
}

// TestNobodyWaitsForLong: a process that has been away for longer than requests
// are held costs them nothing, where somebody stands in; where nobody does, each
// waits, for it may come back any moment.
func TestNobodyWaitsForLong(t *testing.T) {
	main := newBackend(t, "main")
	f := newFront(t, fmt.Sprintf("sites:\n  - server_name: example.com\n    synapse: { main: %q, hold: 2s, workers: { user_dir: [%q], streams: { typing: [%q] } } }\n",
		main.url(), gone(t), gone(t)))
	c := f.client(f.https, true)
	took := func(method, path string) time.Duration {
		start := time.Now()
		do(t, c, method, "https://matrix.example.com/_matrix/client/v3/"+path, nil)
		return time.Since(start)
	}
	if d := took("POST", "user_directory/search"); d < 2*time.Second {
		t.Errorf("the first request was held for %s only", d)
	}
	if d := took("POST", "user_directory/search"); d > time.Second {
		t.Errorf("the second was held for %s", d)
	}
	took("PUT", "rooms/!a/typing/@b:example.com")
	if d := took("PUT", "rooms/!a/typing/@b:example.com"); d < 2*time.Second {
		t.Errorf("what nobody else can answer was held for %s only", d)
	}
}

// TestReturnIsNoticed: the class has its requests again once its process is
// back.
func TestReturnIsNoticed(t *testing.T) {
	main, address := newBackend(t, "main"), freeAddress(t)
	f := newFront(t, fmt.Sprintf("sites:\n  - server_name: example.com\n    synapse: { main: %q, hold: 0s, workers: { user_dir: [%q] } }\n", main.url(), "http://"+address))
	c := f.client(f.https, true)
	ask := func() string {
		_, text := do(t, c, "POST", "https://matrix.example.com/_matrix/client/v3/user_directory/search", nil)
		return text
	}
	if who := ask(); who != "main" {
		t.Fatalf("%q stands in", who)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	serveBackend(t, "user_dir", l)
	eventually(t, "the worker is asked again", func() bool { return ask() == "user_dir" })
}

// TestMainIsSpared: the main process stands in for so many requests and no more;
// those over that can be tried again, and what is its own is not concerned.
func TestMainIsSpared(t *testing.T) {
	main := newBackend(t, "main")
	var waiting atomic.Int32
	release := make(chan bool)
	main.answers(func(w net.Conn, _ *bufio.Reader, s seen) bool {
		if strings.Contains(s.line, "/sync") {
			waiting.Add(1)
			<-release
		}
		return main.sayName(w, nil, s)
	})
	f := newFront(t, workers(main, "sync", gone(t)))
	f.proxy.state.Load().pools[0].hold = 0
	for _, p := range f.proxy.state.Load().pools {
		p.hold = 0
	}
	c := f.client(f.https, true)
	var wg sync.WaitGroup
	for range maxStandIns {
		wg.Go(func() {
			if resp, text := do(t, c, "GET", "https://matrix.example.com/_matrix/client/v3/sync?since=s1", nil); text != "main" {
				t.Errorf("%s %q", resp.Status, text)
			}
		})
	}
	eventually(t, "the main process stands in for all it may", func() bool { return waiting.Load() == maxStandIns })
	resp, text := do(t, c, "GET", "https://matrix.example.com/_matrix/client/v3/sync?since=s1", nil)
	if resp.StatusCode != 503 || !strings.Contains(text, "errcode") || resp.Header.Get("Retry-After") == "" {
		t.Errorf("one more: %s %q", resp.Status, text)
	}
	if _, text := do(t, c, "GET", "https://matrix.example.com/_matrix/client/v3/pushers", nil); text != "main" {
		t.Errorf("what is its own: %q", text)
	}
	close(release)
	wg.Wait()
	if _, text := do(t, c, "GET", "https://matrix.example.com/_matrix/client/v3/sync?since=s1", nil); text != "main" {
		t.Errorf("afterwards: %q", text)
	}
}

// TestKilledUnderWay: a process that ends over a request costs nothing where
// another can answer and the request may be repeated; else the client is told.
func TestKilledUnderWay(t *testing.T) {
	main, worker := newBackend(t, "main"), newBackend(t, "worker")
	worker.answers(func(net.Conn, *bufio.Reader, seen) bool {
		worker.listener.Close()
		return false
	})
	f := newFront(t, workers(main, "client_reader", worker.url()))
	for _, p := range f.proxy.state.Load().pools {
		p.hold = 50 * time.Millisecond
	}
	c := f.client(f.https, true)
	for method, path := range map[string]string{"GET": "capabilities", "POST": "keys/query"} { // either may come first
		if resp, text := do(t, c, method, "https://matrix.example.com/_matrix/client/v3/"+path, strings.NewReader("{}")); text != "main" {
			t.Errorf("%s %s: %s %q", method, path, resp.Status, text)
		}
	}
	f = newFront(t, workers(main, "client_reader", func() string {
		w := newBackend(t, "another")
		w.answers(func(net.Conn, *bufio.Reader, seen) bool { return false })
		return w.url()
	}()))
	c = f.client(f.https, true)
	resp, text := do(t, c, "POST", "https://matrix.example.com/_matrix/client/v3/keys/claim", strings.NewReader("{}"))
	if resp.StatusCode != 502 || !strings.Contains(text, "errcode") {
		t.Errorf("what may not be repeated: %s %q", resp.Status, text)
	}
}

// TestLongPollOutlivesARestart: a request older than hold is held as well when its
// process ends over it.
func TestLongPollOutlivesARestart(t *testing.T) {
	address := freeAddress(t)
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	main, end := serveBackend(t, "main", l), make(chan bool)
	main.answers(func(net.Conn, *bufio.Reader, seen) bool { <-end; return false })
	f := newFront(t, fmt.Sprintf("sites:\n  - server_name: example.com\n    synapse: { main: %q, hold: 1s }\n", "http://"+address))
	time.AfterFunc(1200*time.Millisecond, func() {
		l.Close()
		close(end)
		time.Sleep(300 * time.Millisecond)
		again, err := net.Listen("tcp", address)
		if err != nil {
			t.Error(err)
			return
		}
		serveBackend(t, "main again", again)
	})
	resp, text := do(t, f.client(f.https, true), "GET", "https://matrix.example.com/_matrix/client/v3/sync?since=s1&timeout=30000", nil)
	if text != "main again" {
		t.Errorf("%s %q", resp.Status, text)
	}
}

// TestEjected: a process that takes requests and never answers is passed over,
// for its siblings or for who stands in.
func TestEjected(t *testing.T) {
	main, silent := newBackend(t, "main"), newBackend(t, "silent")
	silent.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
		fmt.Fprint(w, "nonsense\r\n\r\n")
		return false
	})
	f := newFront(t, workers(main, "client_reader", silent.url()))
	c := f.client(f.https, true)
	ask := func() (int, string) {
		resp, text := do(t, c, "GET", "https://matrix.example.com/_matrix/client/v3/capabilities", nil)
		return resp.StatusCode, text
	}
	for range failuresToEject {
		if status, text := ask(); status != 502 {
			t.Fatalf("%d %q", status, text)
		}
		time.Sleep(failuresApart)
	}
	if status, text := ask(); text != "main" {
		t.Errorf("after that: %d %q", status, text)
	}
	if !strings.Contains(f.messages.String(), "does not answer them") {
		t.Errorf("the log does not tell: %s", f.messages)
	}
}

// TestInsecureIsDown: a process with which no connection can be secured is one that
// is down: held for when the handshake breaks off, as it does while what is behind
// a proxy restarts, and others stand in.
func TestInsecureIsDown(t *testing.T) {
	a := newAuthority(t)
	stranger := serveBackend(t, "stranger", a.listen(t, "other.internal"))
	hangsUp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hangsUp.Close()
	go func() {
		for {
			c, err := hangsUp.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	for what, is := range map[string]struct {
		listener net.Listener
		held     bool
	}{"hangs up": {hangsUp, true}, "is a stranger": {stranger.listener, false}} {
		f := newFront(t, fmt.Sprintf("sites:\n  - server_name: example.com\n    synapse: { main: %q, hold: 2s, workers: { sync: [%q] } }\n",
			newBackend(t, "main").url(), "https://"+is.listener.Addr().String()))
		start := time.Now()
		who, status := syncAs(t, f, 1)
		if d := time.Since(start); who != "main" || (d >= 2*time.Second) != is.held {
			t.Errorf("who %s: %d from %q after %s", what, status, who, d)
		}
		if who, status := syncAs(t, f, 1); who != "main" {
			t.Errorf("who %s, again: %d from %q", what, status, who)
		}
	}
}

// TestMisroutedTwice: what the main process does not know either is passed on.
func TestMisroutedTwice(t *testing.T) {
	main, worker := newBackend(t, "main"), newBackend(t, "sync")
	for _, b := range []*backend{main, worker} {
		body := `{"errcode":"M_UNRECOGNIZED","error":"` + b.name + `"}`
		b.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
			fmt.Fprintf(w, "HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			return true
		})
	}
	f := newFront(t, workers(main, "sync", worker.url()))
	c := f.client(f.https, true)
	for _, is := range []struct{ method, path, who string }{
		{"GET", "sync?since=s1", "main"},
		{"POST", "../unstable/org.matrix.simplified_msc3575/sync", "sync"}, // it may have done something
	} {
		path := strings.Replace("/_matrix/client/v3/"+is.path, "v3/../", "", 1)
		resp, text := do(t, c, is.method, "https://matrix.example.com"+path, nil)
		if resp.StatusCode != 404 || !strings.Contains(text, is.who) {
			t.Errorf("%s: %s %q", is.path, resp.Status, text)
		}
	}
	if n, _ := main.count(); n != 1 {
		t.Errorf("the main process was asked %d times", n)
	}
	if n := f.counter("vestibule_misrouted_total"); n != 2 {
		t.Errorf("%v counted", n)
	}
}

// TestMisroutedBroken: an answer that is looked into before it is passed on is
// waited for no longer than any other, and looks broken when it is.
func TestMisroutedBroken(t *testing.T) {
	main, worker := newBackend(t, "main"), newBackend(t, "sync")
	f := newFront(t, "timeouts: { sync_margin: 300ms }\n"+workers(main, "sync", worker.url()))
	for name, body := range map[string]string{
		"no end":    "Content-Length: 100\r\n\r\n{",
		"bad chunk": "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n\r\n0\r\n\r\n",
		"short":     "Content-Length: 5\r\n\r\n1234",
	} {
		worker.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
			io.WriteString(w, "HTTP/1.1 404 Not Found\r\n"+body)
			return name == "no end"
		})
		start := time.Now()
		resp, err := f.client(f.https, false).Get("https://matrix.example.com/_matrix/client/v3/sync?since=s1")
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if d := time.Since(start); err == nil || d > 3*time.Second {
			t.Errorf("%s: after %s, %v", name, d, err)
		}
	}
}

// TestNotEjected: what a client can bring about says nothing about a process: Synapse
// breaks the connection over a body that is too large (synapse/http/site.py,
// handleContentChunk), and waits for other servers for longer than timeouts.response.
func TestNotEjected(t *testing.T) {
	for name, large := range map[string]bool{"large": true, "slow": false} {
		t.Run(name, func(t *testing.T) {
			main, worker := newBackend(t, "main"), newBackend(t, "worker")
			worker.answers(func(w net.Conn, r *bufio.Reader, s seen) bool {
				switch {
				case strings.HasPrefix(s.line, "POST"):
					w.(*net.TCPConn).SetLinger(0)
					return false
				case strings.Contains(s.line, "/profile/"):
					time.Sleep(300 * time.Millisecond)
				}
				return worker.sayName(w, r, s)
			})
			f := &front{t: t, probed: true}
			f.open(f.load("timeouts: { response: 100ms }\n" + workers(main, "generic", worker.url())))
			c := f.client(f.https, true)
			for range failuresToEject + 1 {
				if !large {
					do(t, c, "GET", "https://matrix.example.com/_matrix/client/v3/profile/%40u%3Aa.example", nil)
				} else if resp, err := c.Post("https://matrix.example.com/_matrix/client/v3/search", "", io.LimitReader(zeros{}, 1<<20)); err == nil {
					resp.Body.Close()
				}
				time.Sleep(failuresApart)
			}
			if _, text := do(t, c, "GET", "https://matrix.example.com/_matrix/client/v3/publicRooms", nil); text != "worker" {
				t.Errorf("%s answers for the worker: %s", text, f.messages)
			}
		})
	}
}
