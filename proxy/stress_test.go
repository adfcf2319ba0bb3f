package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// misbehave is a back end that answers everything with the caller's id, in a way
// the id chooses: whole, chunked, in pieces, late, broken, with more than was
// announced, early, or not at all.
func misbehave(w net.Conn, r *bufio.Reader, s seen) bool {
	id := s.field.Get("X-Id")
	body := strings.Repeat(id+";", 1+len(id)*int(id[len(id)-1])%97)
	counted := fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Id: %s\r\nContent-Length: %d\r\n\r\n", id, len(body))
	chunked := fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Id: %s\r\nTransfer-Encoding: chunked\r\n\r\n", id)
	chunks := fmt.Sprintf("%x\r\n%s\r\n", len(body), body)
	switch kind := s.field.Get("X-Kind"); kind {
	case "chunked":
		io.WriteString(w, chunked+chunks+"0\r\n\r\n")
	case "pieces":
		text := chunked + chunks + chunks + "0\r\n\r\n"
		for len(text) > 0 {
			n := min(len(text), 1+rand.IntN(500))
			io.WriteString(w, text[:n])
			text = text[n:]
		}
	case "until close":
		fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nX-Id: %s\r\n\r\n%s", id, body)
		return false
	case "surplus": // which the next request must not see
		io.WriteString(w, counted+body+"HTTP/1.1 200 OK\r\nX-Id: nobody\r\nContent-Length: 0\r\n\r\n")
	case "close":
		io.WriteString(w, counted+body)
		return false
	case "silence":
		return false
	case "short":
		io.WriteString(w, counted+body[:len(body)/2])
		return false
	case "half a chunk":
		io.WriteString(w, chunked+chunks[:len(chunks)/2])
		return false
	case "garbage":
		io.WriteString(w, "HTTP/1.1 200 OK\r\nX-Id : "+id+"\r\n\r\n")
		return false
	case "slow":
		time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond)
		io.WriteString(w, counted+body)
	default:
		io.WriteString(w, counted+body)
	}
	return true
}

// kinds are the ways to answer; with the broken ones an error is no surprise.
var kinds = []string{"", "", "", "chunked", "pieces", "slow", "until close", "surplus", "close", "early",
	"silence", "short", "half a chunk", "garbage"}

// caller sends requests and checks that every answer is its own.
type caller struct {
	t      *testing.T
	client *http.Client
	whole  *atomic.Int64 // answers that came whole
}

func (c *caller) call(id string, kind string) {
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	method, body := "GET", io.Reader(nil)
	switch rand.IntN(4) {
	case 0:
		method, body = "PUT", strings.NewReader(strings.Repeat(id, 10))
	case 1:
		method, body = "POST", struct{ io.Reader }{strings.NewReader(strings.Repeat(id, rand.IntN(800)))}
	}
	if kind == "early" && body != nil {
		kind = "close" // answered before the body is read
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://matrix.example.com/_matrix/client/v3/x?id="+id, body)
	if err != nil {
		c.t.Error(err)
		return
	}
	req.Header["X-Id"], req.Header["X-Kind"] = []string{id}, []string{kind}
	if kind == "close" && body != nil {
		req.Header["Expect-No-Body-Read"] = []string{"1"}
	}
	leaves := rand.IntN(50) == 0
	if leaves {
		time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, cancel)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return // the client left, or the answer was never one
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if resp.StatusCode >= 500 {
		return // an answer of our own
	}
	if got := resp.Header.Get("X-Id"); got != id {
		c.t.Errorf("%s %q: asked as %s, answered as %q", method, kind, id, got)
	}
	for part := range strings.SplitSeq(strings.TrimSuffix(string(text), ";"), ";") {
		if part != id && (err == nil || !strings.HasPrefix(id, part)) {
			c.t.Errorf("%s %q: asked as %s, the body says %q", method, kind, id, part)
			return
		}
	}
	if err == nil {
		if kind == "short" || kind == "half a chunk" {
			c.t.Errorf("%q: a broken answer looks whole", kind)
		}
		c.whole.Add(1)
	}
}

// TestAnswersReachTheirRequests is the promise of the package, under load: an
// answer reaches the request that asked for it and no other, and nothing is
// left behind.
func TestAnswersReachTheirRequests(t *testing.T) {
	requests := 20000
	if testing.Short() {
		requests = 2000
	}
	main := newBackend(t, "main")
	main.forgetful = true
	main.answers(misbehave)
	f := newFront(t, "logging: { access: false }\n"+oneSite(main, ""))
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	var whole atomic.Int64
	var next atomic.Int64
	var wg sync.WaitGroup
	var clients []*http.Client
	for worker := range 32 {
		if worker%8 == 0 { // four clients, two of them HTTP/2
			clients = append(clients, f.client(f.https, worker%16 == 0))
		}
		c := &caller{t: t, client: clients[worker/8], whole: &whole}
		wg.Go(func() {
			for {
				i := int(next.Add(1))
				if i > requests || t.Failed() {
					return
				}
				c.call(fmt.Sprintf("id%d", i), kinds[rand.IntN(len(kinds))])
			}
		})
	}
	wg.Wait()
	if n := whole.Load(); n < int64(requests)/2 {
		t.Errorf("only %d of %d answers came whole", n, requests)
	}
	for _, c := range clients {
		c.CloseIdleConnections()
	}
	eventually(t, "nothing is under way", func() bool { return f.requests() == 0 && gauge(t, f, "vestibule_requests_in_flight") == 0 })
	f.proxy.Close()
	eventually(t, "all goroutines have ended", func() bool { return runtime.NumGoroutine() <= goroutines })
	eventually(t, "all connections are closed", func() bool { return openFiles(t) <= files })
	for _, p := range f.proxy.Pools() {
		if u := p.Upstreams[0]; u.Connections != 0 {
			t.Errorf("%d connections to %s are counted", u.Connections, p.Name)
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

// TestReloadsLeaveNothing: fifty reloads under load close what they replace and
// disturb nobody.
func TestReloadsLeaveNothing(t *testing.T) {
	one, two := newBackend(t, "one"), newBackend(t, "two")
	one.forgetful, two.forgetful = true, true
	slow := func(b *backend) func(net.Conn, *bufio.Reader, seen) bool {
		return func(w net.Conn, _ *bufio.Reader, s seen) bool {
			time.Sleep(time.Duration(rand.IntN(10)) * time.Millisecond)
			return b.sayName(w, nil, s)
		}
	}
	one.answers(slow(one))
	two.answers(slow(two))
	f := newFront(t, oneSite(one, ""))
	sites := []string{oneSite(two, ""), oneSite(one, "")}
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var answered atomic.Int64
	c := f.client(f.https, true)
	for range 16 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if resp, text := do(t, c, "GET", "https://matrix.example.com/_matrix/client/versions", nil); resp.StatusCode != 200 {
					t.Errorf("%s %q", resp.Status, text)
					return
				}
				answered.Add(1)
			}
		})
	}
	for i := range 50 {
		before := answered.Load()
		if err := f.proxy.Apply(f.load(sites[i%2]), nil); err != nil {
			t.Error(err)
		}
		eventually(t, "requests go on", func() bool { return answered.Load() > before+20 })
	}
	cancel()
	wg.Wait()
	c.CloseIdleConnections()
	f.proxy.Close()
	eventually(t, "all connections are closed", func() bool { return openFiles(t) <= files })
	eventually(t, "all goroutines have ended", func() bool { return runtime.NumGoroutine() <= goroutines })
}
