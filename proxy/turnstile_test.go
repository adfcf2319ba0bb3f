package proxy

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vestibule/configs"
)

// TestTurnstile: first come, first served; who waited too long or left makes room.
func TestTurnstile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := &turnstile{}
		ts.set(configs.EndpointLimit{Concurrent: 1, Queue: configs.Duration(5 * time.Second)})
		if err := ts.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []int
		wait := func(ctx context.Context, i int, want error) {
			go func() {
				err := ts.enter(ctx)
				if !errors.Is(err, want) {
					t.Errorf("%d: %v, want %v", i, err, want)
				}
				mu.Lock()
				defer mu.Unlock()
				order = append(order, i)
			}()
			synctest.Wait()
		}
		left, leave := context.WithCancel(t.Context())
		wait(t.Context(), 1, nil)
		wait(left, 2, context.Canceled)
		wait(t.Context(), 3, errLimited)
		wait(t.Context(), 4, errLimited)
		leave()
		synctest.Wait()
		time.Sleep(4 * time.Second)
		ts.leave() // 1 passes
		synctest.Wait()
		wait(t.Context(), 5, nil)
		time.Sleep(time.Second) // 3 and 4 have waited for long enough
		synctest.Wait()
		mu.Lock()
		if fmt.Sprint(order[:2]) != "[2 1]" || len(order) != 4 {
			t.Errorf("they came as %v", order)
		}
		mu.Unlock()
		ts.set(configs.EndpointLimit{}) // a reload opens it
		synctest.Wait()
		if len(ts.turns) != 0 || ts.under != 2 {
			t.Errorf("%d wait, %d are under way", len(ts.turns), ts.under)
		}
	})
}

// TestEndpointLimits: as many as may are under way at once, at the back end too; one
// more waits, then is told when to come again. A reload forgets nobody, other
// endpoints and preflights are not concerned, and in the end nothing is counted.
func TestEndpointLimits(t *testing.T) {
	main := newBackend(t, "main")
	var now, most atomic.Int64
	release := make(chan struct{})
	main.answers(func(w net.Conn, r *bufio.Reader, s seen) bool {
		if s.line == "GET /_matrix/client/v3/sync HTTP/1.1" {
			most.Store(max(most.Load(), now.Add(1)))
			<-release
			now.Add(-1)
		}
		return main.sayName(w, r, s)
	})
	text := func(concurrent int, queue string) string {
		return fmt.Sprintf("limits: { endpoints: { initial_sync: { concurrent: %d, queue: %s } } }\n", concurrent, queue) + oneSite(main, "")
	}
	f := newFront(t, text(2, "100ms"))
	const url = "https://matrix.example.com/_matrix/client/v3/sync"
	var wg sync.WaitGroup
	ask := func(ctx context.Context, h2 bool) (status chan int) {
		status = make(chan int, 1)
		wg.Go(func() {
			req, _ := http.NewRequestWithContext(ctx, "GET", url, nil)
			resp, err := f.client(f.https, h2).Do(req)
			if err != nil {
				status <- 0
				return
			}
			resp.Body.Close()
			status <- resp.StatusCode
		})
		return status
	}
	under := func() (under, waiting int) {
		ts := f.proxy.caps.all[turnstileID{"example.com", configs.ClassInitialSync}]
		ts.mu.Lock()
		defer ts.mu.Unlock()
		return ts.under, len(ts.turns)
	}
	reload := func(text string) {
		t.Helper()
		if err := f.proxy.Apply(f.load(text), nil); err != nil {
			t.Fatal(err)
		}
	}
	first, second := ask(t.Context(), true), ask(t.Context(), false)
	eventually(t, "two are under way", func() bool { return now.Load() == 2 })
	for _, h2 := range []bool{false, true} {
		c := f.client(f.https, h2)
		resp, body := do(t, c, "GET", url, nil)
		var answer struct {
			Errcode string `json:"errcode"`
			Error   string `json:"error"`
			After   int    `json:"retry_after_ms"`
		}
		after, err := strconv.Atoi(resp.Header.Get("Retry-After"))
		if json.Unmarshal([]byte(body), &answer) != nil || resp.StatusCode != 429 || answer.Errcode != "M_LIMIT_EXCEEDED" ||
			err != nil || after < 1 || answer.After > after*1000 || answer.After <= (after-1)*1000 || resp.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s %v %s", resp.Status, resp.Header, body)
		}
		for _, other := range [][2]string{{"OPTIONS", url}, {"GET", url + "?since=s1"}} {
			if resp, _ := do(t, c, other[0], other[1], nil); resp.StatusCode != 200 {
				t.Errorf("%v: %s", other, resp.Status)
			}
		}
	}
	if n := f.counter("vestibule_limited_total"); n != 2 {
		t.Errorf("%v are counted", n)
	}
	reload(text(2, "15s"))
	ctx, leave := context.WithCancel(t.Context())
	third, fourth := ask(ctx, true), ask(t.Context(), true)
	eventually(t, "two wait", func() bool { _, n := under(); return n == 2 })
	leave()
	if s := <-third; s != 0 {
		t.Errorf("who left got %d", s)
	}
	eventually(t, "one waits", func() bool { _, n := under(); return n == 1 })
	if most.Load() != 2 {
		t.Errorf("%d were under way at once", most.Load())
	}
	reload(text(3, "15s"))
	eventually(t, "the fourth passes", func() bool { return now.Load() == 3 })
	reload(text(1, "10ms"))
	if s := <-ask(t.Context(), false); s != 429 {
		t.Errorf("after a reload those under way do not count: %d", s)
	}
	close(release)
	for _, s := range []chan int{first, second, fourth} {
		if got := <-s; got != 200 {
			t.Errorf("got %d", got)
		}
	}
	wg.Wait()
	eventually(t, "nothing is counted", func() bool { n, m := under(); return n == 0 && m == 0 })
}

// TestSlowBodyHoldsNoPlace: who has not sent its request yet is not under way.
func TestSlowBodyHoldsNoPlace(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		main := newBackend(t, "main")
		f := e.front(t, oneSite(main, "limits: { endpoints: { initial_sync: { concurrent: 1 } } }\n"), true)
		const path = "/_matrix/client/v3/sync"
		c := f.rawConn(f.https, "http/1.1")
		io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: matrix.example.com\r\nContent-Length: 100\r\n\r\nx")
		eventually(t, "it has come", func() bool { return gauge(t, f, "vestibule_requests_in_flight") == 1 })
		time.Sleep(50 * time.Millisecond)
		if resp, text := do(t, f.client(f.https, false), "GET", site+path, nil); resp.StatusCode != 200 {
			t.Errorf("%s %s", resp.Status, text)
		}
	})
}
