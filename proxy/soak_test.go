package proxy

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	soakRequests = flag.Int64("soak.requests", 0, "how many requests TestSoak sends to each front end (default 6000, or 2000 with -short)")
	soakSeed     = flag.Uint64("soak.seed", 0, "what determines the requests of TestSoak (default: another each time)")
)

// soakLimit is how long a client waits for anything at all. Who waits longer has
// lost its answer.
const soakLimit = 2 * time.Minute

// soak is requests of every kind at once, with clients that leave, processes that
// are stopped and configurations that come and go, of which each asks for an answer
// that can only be its own.
type soak struct {
	t        *testing.T
	seed     uint64
	requests int64
	start    time.Time
	front    *front
	// authority is that of the workers that speak TLS.
	authority *authority
	ledger    *ledger
	tls       *tls.Config
	workers   map[string]*worker
	over      chan struct{}

	next     atomic.Int64
	ended    atomic.Int64
	counts   [len(kinds)][outcomes]atomic.Int64
	statuses [600]atomic.Int64 // of our own refusals
	leavings [len(leavings)]atomic.Int64
	clean    atomic.Int64 // requests that nothing disturbed
	dials    atomic.Int64
	stops    atomic.Int64
	reloads  atomic.Int64
	failures atomic.Int64
}

// TestSoak is the promise of the package: whatever happens to clients, processes
// and configurations, an answer reaches the request that asked for it and no other,
// none is lost without a visible error, and nothing stays behind.
func TestSoak(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		goroutines, files := runtime.NumGoroutine(), openFiles(t)
		s := newSoak(t)
		s.open(e)
		t.Logf("seed %d, %d requests", s.seed, s.requests)
		s.run()
		s.report(t.Logf)
		s.close()
		eventually(t, "all that is counted is nothing", func() bool { return s.ledger.counts() == "" })
		const vigil = 1 // of our own server, for all its connections until the process ends
		eventually(t, "all connections are closed", func() bool { return openFiles(t) <= files+vigil })
		eventually(t, "all goroutines have ended", func() bool { return runtime.NumGoroutine() <= goroutines+vigil })
		s.checkCounts()
	})
}

func newSoak(t *testing.T) *soak {
	s := &soak{t: t, seed: *soakSeed, requests: *soakRequests, workers: map[string]*worker{}, over: make(chan struct{}), ledger: newLedger(), authority: newAuthority(t)}
	if s.seed == 0 {
		s.seed = rand.Uint64N(1e9) + 1
	}
	if s.requests == 0 {
		s.requests = 6000
		if testing.Short() {
			s.requests = 2000
		}
	}
	s.tls = &tls.Config{InsecureSkipVerify: true, ServerName: "matrix.example.com",
		CurvePreferences: []tls.CurveID{tls.X25519}, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	return s
}

// fail reports what must never happen. Sending ends soon after.
func (s *soak) fail(format string, args ...any) {
	if s.failures.Add(1) <= 20 {
		s.t.Errorf("seed %d: "+format, append([]any{s.seed}, args...)...)
	}
}

// lost reports an answer for which a client has waited too long, and what everybody
// waits for at that moment.
func (s *soak) lost(a *answered) {
	a.wrong("nothing came for %v", soakLimit)
	if s.failures.Load() == 0 {
		stacks := make([]byte, 1<<20)
		s.t.Logf("%s: lost\n%s", a.plan, stacks[:runtime.Stack(stacks, true)])
	}
}

// How many ask at once: over HTTP/1.1 one on each connection, over HTTP/2 several.
const (
	soakCallers1 = 40
	soakConns2   = 4
	soakStreams  = 20
)

// run sends all requests.
func (s *soak) run() {
	s.start = time.Now()
	ctx, cancel := context.WithCancel(s.t.Context())
	var callers, others sync.WaitGroup
	others.Go(func() { s.trouble(ctx) })
	others.Go(func() { s.reload(ctx) })
	if testing.Verbose() {
		others.Go(func() { s.progress(ctx) })
	}
	for range soakCallers1 {
		callers.Go(func() { s.ask(&caller1{s: s}) })
	}
	for range soakConns2 {
		client := &client2{s: s}
		for range soakStreams {
			callers.Go(func() { s.ask(&caller2{client: client}) })
		}
		defer client.close()
	}
	callers.Wait()
	cancel()
	others.Wait()
}

// caller sends one request after another.
type caller interface {
	// ask sends a request and returns what came of it; it returns when nothing more
	// comes.
	ask(p *plan) *answered
	close()
}

// ask has a caller send requests until there are none left.
func (s *soak) ask(c caller) {
	defer c.close()
	for s.failures.Load() == 0 {
		n := s.next.Add(1)
		if n > s.requests {
			return
		}
		s.judge(c.ask(newPlan(s.seed, n)))
	}
}

func (s *soak) judge(a *answered) {
	how := a.outcome()
	s.counts[a.plan.kind][how].Add(1)
	s.leavings[a.plan.leaves].Add(1)
	if a.ours && a.status < len(s.statuses) {
		s.statuses[a.status].Add(1)
	}
	if a.plan.clean() {
		s.clean.Add(1)
	}
	s.ended.Add(1)
	if len(a.failures) > 0 {
		s.fail("%s\nover %s: %s, status %d, error %v:\n%s", a.plan, a.conn, outcomeNames[how], a.status, a.err, strings.Join(a.failures, "\n"))
	}
}

// progress says every few seconds how far it is.
func (s *soak) progress(ctx context.Context) {
	const every = 5 * time.Second
	before := int64(0)
	for sleep(ctx, every) == nil {
		done := s.ended.Load()
		rate := float64(done) / time.Since(s.start).Seconds()
		left := time.Duration(float64(s.requests-done)/rate) * time.Second
		fmt.Fprintf(os.Stderr, "soak: %d of %d requests (%.0f%%), %.0f a second now, %s left; %d stops, %d reloads, %d goroutines, seed %d\n",
			done, s.requests, 100*float64(done)/float64(s.requests), float64(done-before)/every.Seconds(), left.Round(time.Second),
			s.stops.Load(), s.reloads.Load(), runtime.NumGoroutine(), s.seed)
		before = done
	}
}

// report says what came of all requests, by kind.
func (s *soak) report(say func(format string, args ...any)) {
	var text strings.Builder
	fmt.Fprintf(&text, "%d requests in %s over %d connections, %d of them undisturbed; %d stops, %d reloads\n%-16s",
		s.ended.Load(), time.Since(s.start).Round(time.Second), s.dials.Load(), s.clean.Load(), s.stops.Load(), s.reloads.Load(), "")
	for _, name := range outcomeNames {
		fmt.Fprintf(&text, "%20s", name)
	}
	for i := range kinds {
		fmt.Fprintf(&text, "\n%-16s", kinds[i].name)
		for how := range s.counts[i] {
			fmt.Fprintf(&text, "%20d", s.counts[i][how].Load())
		}
	}
	text.WriteString("\nrefused by us:")
	for status := range s.statuses {
		if n := s.statuses[status].Load(); n > 0 {
			fmt.Fprintf(&text, " %d: %d", status, n)
		}
	}
	text.WriteString("\nclients:")
	for i, what := range leavings {
		fmt.Fprintf(&text, " %s: %d,", what, s.leavings[i].Load())
	}
	say("%s", strings.TrimSuffix(text.String(), ","))
}

// checkCounts makes sure that the soak has tried what it promises.
func (s *soak) checkCounts() {
	if s.t.Failed() {
		return
	}
	if n := s.ended.Load(); n != s.requests {
		s.t.Errorf("%d of %d requests have ended", n, s.requests)
	}
	whole := int64(0)
	for i := range kinds {
		sum := int64(0)
		for how := range s.counts[i] {
			sum += s.counts[i][how].Load()
		}
		if sum == 0 && s.requests >= 2*max(kinds[i].every, 1000) {
			s.t.Errorf("no request of kind %q", kinds[i].name)
		}
		whole += s.counts[i][wholeAnswer].Load()
	}
	if whole < s.requests*3/4 {
		s.t.Errorf("only %d of %d answers came whole", whole, s.requests)
	}
	for _, status := range []int{408, 413, 429, 502, 503, 504} {
		if s.statuses[status].Load() == 0 && s.requests >= 100000 {
			s.t.Errorf("no answer %d of our own", status)
		}
	}
	if s.stops.Load() == 0 || s.reloads.Load() == 0 {
		s.t.Errorf("%d stops, %d reloads", s.stops.Load(), s.reloads.Load())
	}
	if log := s.front.messages.String(); strings.Contains(log, `"level":"ERROR"`) {
		s.t.Errorf("the log has errors: %.2000s", log[strings.Index(log, `"level":"ERROR"`)-60:])
	}
}
