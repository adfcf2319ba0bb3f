package proxy

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// registrar is a process of Synapse that knows whose tokens are: of "mat_USER.N",
// USER's.
type registrar struct {
	*backend
	asked atomic.Int32
	fails atomic.Bool
}

func newRegistrar(t testing.TB, name string) *registrar {
	r := &registrar{backend: newBackend(t, name)}
	r.answers(func(w net.Conn, in *bufio.Reader, s seen) bool {
		if !strings.HasPrefix(s.line, "GET "+whoamiPath+" ") {
			return r.sayName(w, in, s)
		}
		r.asked.Add(1)
		status, body := 401, `{"errcode":"M_UNKNOWN_TOKEN","error":"?"}`
		user, _, known := strings.Cut(strings.TrimPrefix(s.field.Get("Authorization"), "Bearer mat_"), ".")
		switch {
		case r.fails.Load():
			status = 503
		case known:
			status, body = 200, fmt.Sprintf(`{"user_id":"@%s:example.com","device_id":"D"}`, user)
		}
		_, err := fmt.Fprintf(w, "HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
		return err == nil
	})
	return r
}

// crowd is a front door with three sync workers and a registrar before them.
func crowd(t testing.TB) (*front, *registrar) {
	t.Helper()
	r := newRegistrar(t, "main")
	return newFront(t, workers(r.backend, "sync", newBackend(t, "one").url(), newBackend(t, "two").url(), newBackend(t, "three").url())), r
}

// bearer asks for a sync with a token and returns who answers.
func bearer(t testing.TB, f *front, token string) string {
	t.Helper()
	resp, _ := do(t, f.client(f.https, true), "GET", "https://matrix.example.com/_matrix/client/v3/sync?since=s1", nil, "Authorization", "Bearer "+token)
	return resp.Header.Get("X-Answered-By")
}

// TestTokensOfOneUser: whatever their tokens, a user's devices meet one process,
// the same that a token of Synapse's leads to; each token is asked about once.
func TestTokensOfOneUser(t *testing.T) {
	f, r := crowd(t)
	spread := map[string]bool{}
	for n := range 12 { // or all might be with one process by chance
		name := fmt.Sprintf("user%d", n)
		own := bearer(t, f, "syt_"+base64.RawStdEncoding.EncodeToString([]byte(name))+"_abcdefghijklmnopqrst_0aBcDe")
		spread[own] = true
		for n := range 6 {
			if who := bearer(t, f, fmt.Sprintf("mat_%s.%d", name, n%3)); who != own {
				t.Errorf("%s: token %d leads to %s, the user's own to %s", name, n, who, own)
			}
		}
	}
	if n := r.asked.Load(); n != 36 {
		t.Errorf("%d questions for 36 tokens", n)
	}
	if len(spread) < 2 {
		t.Error("all users are with one process")
	}
	if n := f.counter("vestibule_whoami_total"); n != 36 {
		t.Errorf("%v questions counted", n)
	}
}

// TestWhoamiIsAskedFor: the question comes in the client's name, with the token
// alone, and only where it makes a difference.
func TestWhoamiIsAskedFor(t *testing.T) {
	f, r := crowd(t)
	c := f.client(f.https, true)
	ask := func(path string, fields ...string) {
		t.Helper()
		do(t, c, "GET", "https://matrix.example.com"+path, nil, fields...)
	}
	const sync = "/_matrix/client/v3/sync?since=s1"
	ask(sync+"&access_token=mat_eve.1", "User-Agent", "element")
	s := r.last(t)
	if s.field.Get("Authorization") != "Bearer mat_eve.1" || s.field.Get("X-Forwarded-For") != "127.0.0.1" ||
		s.field.Get("User-Agent") != "element" || s.field.Get("Host") != "matrix.example.com" {
		t.Errorf("the question: %s %s", s.line, s.head)
	}
	before := r.asked.Load()
	ask(sync)
	ask(sync, "Authorization", "Bearer syt_YWxpY2U_abcdefghijklmnopqrst_0aBcDe")
	ask(sync+"&user_id=@ghost:example.com", "Authorization", "Bearer as_token")
	ask("/_matrix/client/v3/devices", "Authorization", "Bearer mat_eve.2") // one process does it
	ask(sync + "&access_token=mat_eve.3%0d%0aX-Forwarded-For:%201.2.3.4")
	ask(sync + "&access_token=" + strings.Repeat("x", 300))
	if n := r.asked.Load() - before; n != 0 {
		t.Errorf("%d questions that nobody needed, the last: %s", n, r.last(t).head)
	}
}

// TestUnknownTokens: made up tokens cost one question each, and none for a minute;
// nor does a Synapse that cannot answer hold anybody up.
func TestUnknownTokens(t *testing.T) {
	f, r := crowd(t)
	first := bearer(t, f, "mat_nobody")
	for range 10 {
		if who := bearer(t, f, "mat_nobody"); who != first {
			t.Errorf("%s, then %s", first, who)
		}
	}
	if n := r.asked.Load(); n != 1 {
		t.Errorf("%d questions about one unknown token", n)
	}
	r.fails.Store(true)
	for n := range 3 * breakAfter {
		if bearer(t, f, fmt.Sprintf("mat_frank.%d", n)) == "" {
			t.Error("no answer without whoami")
		}
	}
	if n := r.asked.Load() - 1; n != breakAfter {
		t.Errorf("%d questions to who fails them", n)
	}
}

// TestOneQuestion: who asks while a question is under way waits for its answer.
func TestOneQuestion(t *testing.T) {
	w := newWhoami(NewMetrics(prometheus.NewRegistry()))
	var asked atomic.Int32
	release := make(chan bool)
	ask := func() asker {
		return func(context.Context) (int, string, error) {
			asked.Add(1)
			<-release
			return 200, "alice", nil
		}
	}
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if got := w.localpart(t.Context(), "example.com", []byte("mat_1"), ask); string(got) != "alice" {
				t.Errorf("%q", got)
			}
		})
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	if got := w.localpart(gone, "example.com", []byte("mat_1"), ask); got != nil {
		t.Errorf("who has left is told %q", got)
	}
	close(release)
	wg.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	if got := w.localpart(t.Context(), "example.net", []byte("mat_1"), says("bob")); string(got) != "bob" {
		t.Errorf("the token of another site is %q's", got)
	}
}

// TestWhoamiIsBounded: answers are forgotten before they fill the memory, those
// in use last.
func TestWhoamiIsBounded(t *testing.T) {
	w := newWhoami(NewMetrics(prometheus.NewRegistry()))
	asked := 0
	ask := func() asker { asked++; return says("x")() }
	for n := range 3 * whoamiKept {
		w.localpart(t.Context(), "example.com", fmt.Appendf(nil, "mat_%d", n), ask)
		if n%1000 == 0 {
			w.localpart(t.Context(), "example.com", []byte("mat_used"), ask)
		}
	}
	if len(w.now)+len(w.was) > 2*whoamiKept {
		t.Errorf("%d answers are kept", len(w.now)+len(w.was))
	}
	if asked != 3*whoamiKept+1 {
		t.Errorf("asked %d times about %d tokens: what is in use was forgotten", asked, 3*whoamiKept+1)
	}
}

// TestWhoamiFlood: while Synapse hangs, tokens that somebody makes up, and does not
// wait for, cost no more than so many questions, and nothing of another site's.
func TestWhoamiFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWhoami(NewMetrics(prometheus.NewRegistry()))
		hang := func() asker {
			return func(ctx context.Context) (int, string, error) { <-ctx.Done(); return 0, "", ctx.Err() }
		}
		gone, leave := context.WithCancel(t.Context())
		leave()
		before := runtime.NumGoroutine()
		for n := range 20 * whoamiPending {
			w.localpart(gone, "example.com", fmt.Appendf(nil, "mat_%d", n), hang)
		}
		if n := runtime.NumGoroutine() - before; n > whoamiPending {
			t.Errorf("%d goroutines", n)
		}
		start := time.Now()
		if got := w.localpart(t.Context(), "example.net", []byte("mat_1"), says("bob")); string(got) != "bob" || time.Since(start) > 0 {
			t.Errorf("another site's user is %q after %s", got, time.Since(start))
		}
		time.Sleep(whoamiDeadline)
		synctest.Wait()
		if q := w.sites["example.com"]; q.pending != 0 || q.lets(time.Now()) {
			t.Errorf("%d questions are under way; the next is asked: %v", q.pending, q.lets(time.Now()))
		}
	})
}

func TestBreaker(t *testing.T) {
	b, now := &breaker{}, time.Now()
	for range breakAfter {
		if !b.lets(now) {
			t.Fatal("broken too early")
		}
		b.failed(now)
	}
	if b.lets(now.Add(breakFor - 1)) {
		t.Error("not broken")
	}
	later := now.Add(breakFor)
	if !b.lets(later) || b.lets(later) {
		t.Error("after a break not one, but none or more are let through")
	}
	b.succeeded()
	for range 2 {
		if !b.lets(later) {
			t.Error("still broken")
		}
	}
}

// TestWhoIsReads: what Synapse may answer, and what nobody should.
func TestWhoIsReads(t *testing.T) {
	b := newBackend(t, "main")
	f := newFront(t, oneSite(b, ""))
	is := func(status int, body, localpart string, failed bool) {
		t.Helper()
		b.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
			fmt.Fprintf(w, "HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
			return true
		})
		c := choose(nil)
		conn, err := f.proxy.state.Load().pools[0].upstreams[0].take(t.Context(), &c)
		if err != nil {
			t.Fatal(err)
		}
		_, got, err := whoIs(t.Context(), conn, []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
		if got != localpart || (err != nil) != failed {
			t.Errorf("%d %q: %q, %v", status, body, got, err)
		}
	}
	is(200, `{"user_id":"@alice:example.com"}`, "alice", false)
	is(401, `{"errcode":"M_UNKNOWN_TOKEN"}`, "", false)
	is(403, `{}`, "", false)
	is(429, `{}`, "", true)
	is(500, `{}`, "", true)
	for _, body := range []string{``, `{`, `[]`, `{}`, `{"user_id":""}`, `{"user_id":":"}`, `{"user_id":"alice:x"}`, `{"user_id":"@:x"}`,
		`{"user_id":"@alice"}`, `{"user_id":"@` + strings.Repeat("a", 300) + `:x"}`, `{"user_id":7}`} {
		is(200, body, "", true)
	}
}

// says is an asker that is told who it is.
func says(localpart string) func() asker {
	return func() asker { return func(context.Context) (int, string, error) { return 200, localpart, nil } }
}
