package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vestibule/configs"
	"vestibule/routing"
)

// nameServer answers as it is told, and counts the questions.
type nameServer struct {
	mu      sync.Mutex
	answer  func(ctx context.Context) ([]netip.Addr, error)
	asked   atomic.Int32
	waiting atomic.Int32
}

func (s *nameServer) answers(how func(ctx context.Context) ([]netip.Addr, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = how
}

func (s *nameServer) lookup(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	s.asked.Add(1)
	s.waiting.Add(1)
	defer s.waiting.Add(-1)
	s.mu.Lock()
	answer := s.answer
	s.mu.Unlock()
	return answer(ctx)
}

// hangs is a name server that says nothing.
func hangs(ctx context.Context) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, &net.DNSError{Err: "i/o timeout", Name: "workers.test", IsTimeout: true, IsTemporary: true}
}

func fails(context.Context) ([]netip.Addr, error) {
	return nil, &net.DNSError{Err: "server misbehaving", Name: "workers.test", IsTemporary: true}
}

func isGone(context.Context) ([]netip.Addr, error) {
	return nil, &net.DNSError{Err: "no such host", Name: "workers.test", IsNotFound: true}
}

func leads(addresses ...string) func(context.Context) ([]netip.Addr, error) {
	var found []netip.Addr
	for _, a := range addresses {
		found = append(found, netip.MustParseAddr(a))
	}
	return func(context.Context) ([]netip.Addr, error) { return found, nil }
}

// namedUpstream is an upstream whose name a server of the test's looks up.
func namedUpstream(t testing.TB, s *nameServer, port string, connect time.Duration) *Upstream {
	t.Helper()
	u, err := newUpstream(configs.Upstream{URL: "http://workers.test:" + port}, upstreamID{connect: connect}, s.lookup, quietLog())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.retire)
	return u
}

func takeFrom(ctx context.Context, u *Upstream) (*conn, error) {
	c := choose([]byte("alice"))
	return u.take(ctx, &c)
}

// TestLookupIsShared: a name server that hangs costs a hundred requests no more
// than one, and who leaves meanwhile does not wait for it.
func TestLookupIsShared(t *testing.T) {
	s := &nameServer{answer: hangs}
	u := namedUpstream(t, s, "1", 300*time.Millisecond)
	gone, leave := context.WithCancel(t.Context())
	start := time.Now()
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if _, err := takeFrom(t.Context(), u); !absent(err) {
				t.Errorf("%v", err)
			}
		})
	}
	eventually(t, "the name is looked up", func() bool { return s.waiting.Load() > 0 })
	time.AfterFunc(50*time.Millisecond, leave)
	if _, err := takeFrom(gone, u); !errors.Is(err, context.Canceled) || time.Since(start) > 450*time.Millisecond {
		t.Errorf("who left waited for %s: %v", time.Since(start), err)
	}
	wg.Wait()
	if d, n := time.Since(start), s.asked.Load(); d > 2*time.Second || n != 1 {
		t.Errorf("%s and %d questions", d, n)
	}
}

// TestNameServerFails: that nobody can tell where a name leads is no reason to
// leave the processes that were found before.
func TestNameServerFails(t *testing.T) {
	port, _ := crew(t, "127.0.6.1")
	s := &nameServer{answer: leads("127.0.6.1")}
	u := namedUpstream(t, s, port, 2*time.Second)
	for _, is := range []struct {
		what string
		how  func(context.Context) ([]netip.Addr, error)
	}{{"at first", leads("127.0.6.1")}, {"failing", fails}, {"hanging", hangs}} {
		s.answers(is.how)
		for range 2 {
			time.Sleep(fresh + 100*time.Millisecond)
			start := time.Now()
			c, err := takeFrom(t.Context(), u)
			if err != nil {
				t.Fatalf("%s: %v", is.what, err)
			}
			c.at.release(c, false)
			if d := time.Since(start); d > time.Second {
				t.Errorf("%s: a connection took %s", is.what, d)
			}
		}
	}
	if word, why := u.health(time.Now()); word != "up" {
		t.Errorf("it is %s: %s", word, why)
	}
}

func quietLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

// TestReturnByName: a process whose name was gone meanwhile, as a container's is,
// returns as slowly as one that refused connections.
func TestReturnByName(t *testing.T) {
	port, _ := crew(t, "127.0.6.2")
	s := &nameServer{answer: leads("127.0.6.2")}
	u := namedUpstream(t, s, port, time.Second)
	last := choosing{part: 1<<32 - 1, now: time.Now(), demand: demandShare}
	take := func() error {
		u.mu.Lock()
		u.askAgain = time.Time{}
		u.mu.Unlock()
		c, err := takeFrom(t.Context(), u)
		if err == nil {
			c.at.release(c, false)
		}
		last.now = time.Now()
		return err
	}
	if err := take(); err != nil || !u.suits(&last) {
		t.Fatal("at first some keys are kept from it", err)
	}
	s.answers(isGone)
	if err := take(); !absent(err) || u.suits(&last) {
		t.Fatalf("without a name: %v", err)
	}
	time.Sleep(briefAbsence + 50*time.Millisecond)
	s.answers(leads("127.0.6.2"))
	if err := take(); err != nil || u.suits(&last) {
		t.Errorf("everybody is back at once: %v", err)
	}
}

// TestRetiredWhileAsked: what a lookup finds for an upstream that is no longer
// used keeps no connections.
func TestRetiredWhileAsked(t *testing.T) {
	port, _ := crew(t, "127.0.6.3")
	release := make(chan bool)
	s := &nameServer{answer: func(ctx context.Context) ([]netip.Addr, error) {
		<-release
		return leads("127.0.6.3")(ctx)
	}}
	u := namedUpstream(t, s, port, time.Second)
	time.AfterFunc(20*time.Millisecond, func() { u.retire(); close(release) })
	c, err := takeFrom(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	var resp response
	if _, err := c.fetch([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), &resp); err != nil || !resp.reuse {
		t.Fatal(err, resp.reuse)
	}
	c.at.release(c, true)
	if n := u.open.Load(); n != 0 {
		t.Errorf("%d connections are kept", n)
	}
}

// TestLookupsOfNothing: a container that stays away is no reason to flood a name server.
func TestLookupsOfNothing(t *testing.T) {
	s := &nameServer{answer: isGone}
	u := namedUpstream(t, s, "1", time.Second)
	p := &pool{upstreams: []*Upstream{u}, weights: []int64{1}, ranks: routing.NewRendezvous([]string{u.Name}, nil), hold: 500 * time.Millisecond}
	start := time.Now()
	var wg sync.WaitGroup
	for i := range 100 { // clients that come one after the other
		wg.Go(func() {
			time.Sleep(time.Duration(i) * 20 * time.Millisecond)
			p.connect(t.Context(), nil, time.Now(), false)
		})
	}
	wg.Wait()
	if took, n := time.Since(start), s.asked.Load(); float64(n) > took.Seconds()*5 {
		t.Errorf("%d lookups in %s", n, took)
	}
}
