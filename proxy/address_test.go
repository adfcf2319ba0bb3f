package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vestibule/configs"
	"vestibule/routing"
)

// book is a name server that says what it is told; "" takes the name away.
type book struct {
	mu        sync.Mutex
	addresses string
	asked     int
}

func (b *book) lead(addresses string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addresses = addresses
}

func (b *book) lookup(_ context.Context, _, host string) (found []netip.Addr, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	if b.addresses == "" || host != "workers.test" {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	for _, a := range strings.Fields(b.addresses) {
		found = append(found, netip.MustParseAddr(a))
	}
	return found, nil
}

// crew is processes on one port of several addresses.
func crew(t testing.TB, addresses ...string) (port string, members []*backend) {
	t.Helper()
	for range 20 {
		members = nil
		_, port, _ = net.SplitHostPort(freeAddress(t))
		for _, a := range addresses {
			l, err := net.Listen("tcp", net.JoinHostPort(a, port))
			if err != nil {
				break
			}
			members = append(members, serveBackend(t, a, l))
		}
		if len(members) == len(addresses) {
			return port, members
		}
		for _, m := range members {
			m.listener.Close()
		}
	}
	t.Fatal("no port is free on all addresses")
	return "", nil
}

// newNamedFront serves a site whose class sync is the name workers.test.
func newNamedFront(t testing.TB, main *backend, port string, b *book, probed bool) *front {
	t.Helper()
	f := &front{t: t, lookup: b.lookup, probed: probed}
	f.open(f.load(workers(main, "sync", "http://workers.test:"+port)))
	return f
}

// TestSeveralAddresses: each address of a name is a process of its own, to which
// users stick; while one is down its users, and no others, are with the rest.
func TestSeveralAddresses(t *testing.T) {
	main, b := newBackend(t, "main"), &book{addresses: "127.0.5.1 127.0.5.2 127.0.5.3"}
	port, members := crew(t, strings.Fields(b.addresses)...)
	f := newNamedFront(t, main, port, b, false)
	const users = 60
	who := func() (names [users]string) {
		for user := range users {
			names[user], _ = syncAs(t, f, user)
		}
		return names
	}
	before, counts := who(), map[string]int{}
	for _, name := range before {
		counts[name]++
	}
	if len(counts) != 3 || before != who() {
		t.Fatalf("users are spread as %v, or move", counts)
	}
	lost := members[1]
	lost.answers(func(net.Conn, *bufio.Reader, seen) bool { return false })
	lost.listener.Close()
	for user, name := range who() {
		if name != before[user] && before[user] != lost.name || name == lost.name || name == "main" {
			t.Errorf("user %d: %s, before %s", user, name, before[user])
		}
	}
	for _, p := range f.proxy.Pools() {
		if p.Class == "sync" && (len(p.Upstreams[0].Addresses) != 3 || p.Upstreams[0].Health != "up") {
			t.Errorf("the status is %+v", p.Upstreams)
		}
	}
	l, err := net.Listen("tcp", net.JoinHostPort(lost.name, port))
	if err != nil {
		t.Fatal(err)
	}
	serveBackend(t, lost.name, l)
	for _, p := range f.proxy.state.Load().pools {
		if p.Class == "sync" {
			set := p.upstreams[0].found.Load()
			set.list[1].reached()
			set.list[1].health.returned.Store(moment(time.Now().Add(-slowReturn)))
		}
	}
	if who() != before {
		t.Error("not all users are where they were")
	}
}

// TestMaxConnsOfSeveralAddresses: connections that are idle at one address do not
// keep requests from another.
func TestMaxConnsOfSeveralAddresses(t *testing.T) {
	main, b := newBackend(t, "main"), &book{addresses: "127.0.5.6 127.0.5.7"}
	port, _ := crew(t, strings.Fields(b.addresses)...)
	f := &front{t: t, lookup: b.lookup}
	f.open(f.load(workers(main, "sync", fmt.Sprintf("{ url: %q, max_conns: 1 }", "http://workers.test:"+port))))
	start, answered := time.Now(), map[string]bool{}
	for user := range 20 {
		who, status := syncAs(t, f, user)
		if answered[who] = true; status != 200 {
			t.Errorf("user %d: %d from %q", user, status, who)
		}
	}
	if d := time.Since(start); d > 8*time.Second || len(answered) != 2 {
		t.Errorf("it took %s to be answered by %v", d, answered)
	}
}

// TestSpreadOverAddresses: what sticks to nobody does not all go to the address
// that stands first, though none has more to do than another.
func TestSpreadOverAddresses(t *testing.T) {
	main, b := newBackend(t, "main"), &book{addresses: "127.0.5.8 127.0.5.9"}
	port, members := crew(t, strings.Fields(b.addresses)...)
	f := &front{t: t, lookup: b.lookup}
	f.open(f.load(workers(main, "client_reader", "http://workers.test:"+port)))
	c := f.client(f.https, true)
	for range 40 {
		do(t, c, "GET", "https://matrix.example.com/_matrix/client/v3/publicRooms", nil)
	}
	for _, m := range members {
		if n, _ := m.count(); n < 5 {
			t.Errorf("%s answered %d of 40", m.name, n)
		}
	}
}

// TestOthersKeepTheirConnections: a process that ends over a request costs the
// others of its name nothing.
func TestOthersKeepTheirConnections(t *testing.T) {
	main, b := newBackend(t, "main"), &book{addresses: "127.0.5.10 127.0.5.11"}
	port, members := crew(t, strings.Fields(b.addresses)...)
	f := newNamedFront(t, main, port, b, false)
	users := map[string]int{}
	for user := 0; len(users) < 2; user++ {
		who, _ := syncAs(t, f, user)
		users[who] = user
	}
	ends, stays := members[0], members[1]
	_, before := stays.count()
	ends.answers(func(net.Conn, *bufio.Reader, seen) bool { return false })
	f.proxy.state.Load().pools[1].upstreams[0].found.Load().list[0].forget()
	syncAs(t, f, users[ends.name]) // over new connections
	syncAs(t, f, users[stays.name])
	if _, after := stays.count(); after != before {
		t.Errorf("%d new connections to who stays", after-before)
	}
}

// TestMovedContainer: a name that leads elsewhere is followed at once, and one
// that is gone is waited for.
func TestMovedContainer(t *testing.T) {
	main, b := newBackend(t, "main"), &book{addresses: "127.0.5.4"}
	port, members := crew(t, "127.0.5.4", "127.0.5.5")
	f := newNamedFront(t, main, port, b, false)
	if who, _ := syncAs(t, f, 1); who != "127.0.5.4" {
		t.Fatalf("%q answers", who)
	}
	members[0].answers(func(net.Conn, *bufio.Reader, seen) bool { return false })
	members[0].listener.Close()
	b.lead("")
	time.AfterFunc(300*time.Millisecond, func() { b.lead("127.0.5.5") })
	if who, status := syncAs(t, f, 1); who != "127.0.5.5" {
		t.Errorf("%d from %q", status, who)
	}
	if b.asked > 20 {
		t.Errorf("the name was looked up %d times in 300 ms", b.asked)
	}
}

// TestAttemptsAreShared: a thousand requests that wait for a process dial no more
// often than one does.
func TestAttemptsAreShared(t *testing.T) {
	main := newBackend(t, "main")
	var dials atomic.Int32
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // a process that accepts and does not speak TLS
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			dials.Add(1)
			c.Close()
		}
	}()
	f := newFront(t, workers(main, "sync", "https://"+l.Addr().String()))
	u := f.proxy.state.Load().pools[1].upstreams[0]
	start := time.Now()
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			for time.Since(start) < 200*time.Millisecond {
				c := choose(nil)
				if _, err := u.take(t.Context(), &c); err == nil {
					t.Error("a connection without TLS")
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	// Those that began together may each dial once.
	if n := dials.Load(); n > 1100 {
		t.Errorf("%d dials", n)
	}
}

// probeable is a process of Synapse: it answers /health and says what it runs.
type probeable struct {
	*backend
	status  atomic.Int32
	release atomic.Pointer[string]
}

func newProbeable(t testing.TB, name, release string) *probeable {
	p := &probeable{backend: newBackend(t, name)}
	p.status.Store(200)
	p.release.Store(&release)
	p.answers(p.answer)
	return p
}

func (p *probeable) answer(w net.Conn, r *bufio.Reader, s seen) bool {
	if !strings.HasPrefix(s.line, "GET /health ") {
		return p.sayName(w, r, s)
	}
	fmt.Fprintf(w, "HTTP/1.1 %d X\r\nServer: Synapse/%s\r\nContent-Length: 2\r\n\r\nOK", p.status.Load(), *p.release.Load())
	return true
}

// TestProbes: without a single request it is known who is up, who is not, and
// what they run.
func TestProbes(t *testing.T) {
	main, address := newProbeable(t, "main", "1.163.2"), freeAddress(t)
	f := &front{t: t, probed: true}
	f.open(f.load(workers(main.backend, "sync", "http://"+address)))
	health := func(class string) string {
		for _, p := range f.proxy.Pools() {
			if p.Class == class {
				return p.Upstreams[0].Health
			}
		}
		return "no such class"
	}
	eventually(t, "the main process is up", func() bool { return health("main") == "up" })
	eventually(t, "the worker is down", func() bool { return health("sync") == "down" })
	if s := main.last(t); s.field.Get("User-Agent") != userAgent {
		t.Errorf("the probe's head: %s", s.head)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	serveBackend(t, "sync", l)
	eventually(t, "the worker is up", func() bool { return health("sync") == "up" })
	main.status.Store(500)
	u := f.proxy.state.Load().pools[0].upstreams[0]
	for range probesToBeUnwell {
		u.probe(t.Context(), true, func() {})
	}
	if health("main") != "down" {
		t.Error("probes that are answered with an error change nothing")
	}
	if _, text := do(t, f.client(f.https, true), "GET", "https://matrix.example.com/_matrix/client/v3/pushers", nil); text != "main" {
		t.Errorf("who alone can answer is not asked: %q", text)
	}
	noticed := 0
	next := "1.164.0"
	main.status.Store(200)
	main.release.Store(&next)
	u.probe(t.Context(), true, func() { noticed++ })
	u.probe(t.Context(), true, func() { noticed++ })
	if health("main") != "up" || noticed != 1 {
		t.Errorf("%s, and a new release was noticed %d times", health("main"), noticed)
	}
}

// TestProbesOfAddresses: one address that is down is probed at the pace of what is
// down, and the others of its name are not.
func TestProbesOfAddresses(t *testing.T) {
	main, b := newBackend(t, "main"), &book{addresses: "127.0.5.12 127.0.5.13"}
	port, members := crew(t, strings.Fields(b.addresses)...)
	f := newNamedFront(t, main, port, b, true)
	eventually(t, "both are probed", func() bool {
		n, _ := members[0].count()
		m, _ := members[1].count()
		return n > 0 && m > 0
	})
	_, before := members[1].count()
	members[0].listener.Close()
	set := f.proxy.state.Load().pools[1].upstreams[0].found.Load()
	set.list[0].refused(errTest, 0) // as by a request
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.5.12", port))
	if err != nil {
		t.Fatal(err)
	}
	serveBackend(t, "again", l)
	start := time.Now()
	eventually(t, "it is found to be back", func() bool { return !set.list[0].down(time.Now()) })
	if d := time.Since(start); d > probeEvery/2 {
		t.Errorf("that took %s", d)
	}
	if _, after := members[1].count(); after > before {
		t.Errorf("%d more probes of who is well", after-before)
	}
}

// TestAwaySince: an absence of the name that is over does not count into one of the
// process.
func TestAwaySince(t *testing.T) {
	u := namedUpstream(t, &nameServer{answer: leads("127.0.5.14")}, "1", time.Second)
	u.keep([]string{"127.0.5.14:1"})
	now := time.Now()
	a := u.found.Load().list[0]
	a.health.refused(errTest, 0, now)
	u.named.refused(errors.New("no name"), 0, now.Add(time.Minute))
	u.named.reached(now.Add(2 * time.Minute))
	if since, err, away := u.away(); since != now || !errors.Is(err, errTest) || !away {
		t.Errorf("away since %s for %v: %v", since.Sub(now), err, away)
	}
}

// TestProbesEnd: nobody probes what a reload took away.
func TestProbesEnd(t *testing.T) {
	main := newProbeable(t, "main", "1.163.2")
	f := &front{t: t, probed: true}
	f.open(f.load(oneSite(main.backend, "")))
	eventually(t, "the main process is probed", func() bool { n, _ := main.count(); return n > 0 })
	if err := f.proxy.Apply(f.load(oneSite(newBackend(t, "other"), "")), nil); err != nil {
		t.Fatal(err)
	}
	before, _ := main.count()
	time.Sleep(probeEveryDown * 3 / 2)
	if after, _ := main.count(); after != before {
		t.Errorf("%d probes after it was taken away", after-before)
	}
}

func TestJitter(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		d := jitter(time.Second)
		if d < 800*time.Millisecond || d >= 1200*time.Millisecond {
			t.Fatalf("a second became %s", d)
		}
		seen[strconv.FormatInt(d.Milliseconds(), 10)] = true
	}
	if len(seen) < 100 {
		t.Errorf("only %d different pauses", len(seen))
	}
}

// TestMaxConnsOfOldAddress: requests at an address that the name does not lead to any
// more count for max_conns, and others are not held for them while a process is free.
func TestMaxConnsOfOldAddress(t *testing.T) {
	port, _ := crew(t, "127.0.7.1", "127.0.7.2")
	s := &nameServer{answer: leads("127.0.7.1")}
	u := namedUpstream(t, s, port, time.Second)
	u.max = 1
	v, err := newUpstream(configs.Upstream{URL: newBackend(t, "free").url()}, upstreamID{connect: time.Second}, nil, quietLog())
	if err != nil {
		t.Fatal(err)
	}
	p := &pool{upstreams: []*Upstream{u, v}, weights: []int64{1, 1}, ranks: routing.NewRendezvous([]string{u.Name, v.Name}, nil), hold: 500 * time.Millisecond}
	key := []byte("k0")
	for i := 1; p.ranks.Rank(key, nil) != 0; i++ {
		key = fmt.Appendf(nil, "k%d", i)
	}
	held, err := p.connect(t.Context(), key, time.Now(), false) // a long poll
	if err != nil {
		t.Fatal(err)
	}
	defer held.at.release(held, false)
	s.answers(leads("127.0.7.2")) // the container is replaced, the old one finishes its polls
	time.Sleep(fresh + 100*time.Millisecond)
	if _, err := u.resolve(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, err := p.connect(t.Context(), key, time.Now(), false)
	if err != nil {
		t.Fatalf("%v (busy: %v) although a process is free", err, errors.Is(err, errMaxConns))
	}
	c.at.release(c, false)
}

// TestMachineGone: nobody is sent over the idle connections to a machine that answers
// nothing any more.
func TestMachineGone(t *testing.T) {
	main := newBackend(t, "main")
	f := newFront(t, oneSite(main, ""))
	ask := func() {
		if resp, text := do(t, f.client(f.https, true), "GET", site+"/_matrix/client/versions", nil); resp.StatusCode != 200 {
			t.Fatalf("%s %s", resp.Status, text)
		}
	}
	ask()
	for _, p := range f.proxy.state.Load().pools {
		for _, u := range p.upstreams {
			a := u.found.Load().list[0]
			a.refused(&net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}, time.Second) // as a probe finds
		}
	}
	ask()
	if _, conns := main.count(); conns != 2 {
		t.Errorf("%d connections", conns)
	}
}
