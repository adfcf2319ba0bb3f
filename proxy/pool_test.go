package proxy

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"vestibule/configs"
	"vestibule/routing"
)

// workers is a site with a class of several processes.
func workers(main *backend, class string, processes ...string) string {
	return fmt.Sprintf("sites:\n  - server_name: example.com\n    synapse: { main: %q, hold: 2s, workers: { %s: [%s] } }\n",
		main.url(), class, strings.Join(processes, ", "))
}

func syncAs(t testing.TB, f *front, user int) (who string, status int) {
	t.Helper()
	resp, _ := do(t, f.client(f.https, true), "GET", "https://matrix.example.com/_matrix/client/v3/sync?since=s1", nil,
		"Authorization", fmt.Sprintf("Bearer mat_user%d", user))
	return resp.Header.Get("X-Answered-By"), resp.StatusCode
}

// TestKeysAgree: two front doors choose the same process for a user, whatever
// the order in their files.
func TestKeysAgree(t *testing.T) {
	main := newBackend(t, "main")
	var urls, reversed []string
	for _, name := range []string{"one", "two", "three"} {
		url := newBackend(t, name).url()
		urls, reversed = append(urls, url), append([]string{url}, reversed...)
	}
	a, b := newFront(t, workers(main, "sync", urls...)), newFront(t, workers(main, "sync", reversed...))
	answered := map[string]int{}
	for user := range 30 {
		first, _ := syncAs(t, a, user)
		again, _ := syncAs(t, a, user)
		other, _ := syncAs(t, b, user)
		if first != again || first != other {
			t.Errorf("user %d: %s, then %s, elsewhere %s", user, first, again, other)
		}
		answered[first]++
	}
	if len(answered) != 3 {
		t.Errorf("thirty users were spread as %v", answered)
	}
}

// TestRefusedIsPassedOver: while one process refuses connections, another of
// its pool answers, keyed or not, without a wait.
func TestRefusedIsPassedOver(t *testing.T) {
	for _, class := range []string{"sync", "client_reader"} {
		main, dead, alive := newBackend(t, "main"), newBackend(t, "dead"), newBackend(t, "alive")
		dead.listener.Close()
		f := newFront(t, workers(main, class, dead.url(), alive.url()))
		start := time.Now()
		for user := range 10 {
			var who string
			if class == "sync" {
				who, _ = syncAs(t, f, user)
			} else {
				_, who = do(t, f.client(f.https, true), "GET", "https://matrix.example.com/_matrix/client/v3/publicRooms", nil)
			}
			if who != "alive" {
				t.Errorf("%s: %q answered", class, who)
			}
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("%s: ten requests took %s", class, d)
		}
	}
}

// TestLeastBusy: what sticks to nobody goes to the process with the fewest
// requests for its weight.
func TestLeastBusy(t *testing.T) {
	main, one, two := newBackend(t, "main"), newBackend(t, "one"), newBackend(t, "two")
	release := make(chan bool)
	for _, b := range []*backend{one, two} {
		b.answers(func(w net.Conn, _ *bufio.Reader, s seen) bool {
			<-release
			return b.sayName(w, nil, s)
		})
	}
	f := newFront(t, workers(main, "client_reader", one.url(), fmt.Sprintf("{ url: %q, weight: 3 }", two.url())))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(release)
	for i := range 12 {
		wg.Go(func() {
			do(t, f.client(f.https, false), "GET", "https://matrix.example.com/_matrix/client/v3/publicRooms", nil)
		})
		eventually(t, "the request reaches a back end", func() bool {
			a, _ := one.count()
			b, _ := two.count()
			return a+b == i+1
		})
	}
	a, _ := one.count()
	b, _ := two.count()
	if a != 3 || b != 9 {
		t.Errorf("twelve requests went %d to %d; want 3 to 9", a, b)
	}
}

// TestMaxConns: a process with all its connections in use is passed over, and
// when there is no other the request waits for one, without spinning.
func TestMaxConns(t *testing.T) {
	main, one, two := newBackend(t, "main"), newBackend(t, "one"), newBackend(t, "two")
	release := make(chan bool)
	parked := func(b *backend) func(net.Conn, *bufio.Reader, seen) bool {
		return func(w net.Conn, _ *bufio.Reader, s seen) bool {
			<-release
			return b.sayName(w, nil, s)
		}
	}
	one.answers(parked(one))
	two.answers(parked(two))
	limited := func(b *backend) string { return fmt.Sprintf("{ url: %q, max_conns: 1 }", b.url()) }
	f := newFront(t, workers(main, "sync", limited(one), limited(two)))
	names := make(chan string, 3)
	ask := func(want int) {
		go func() {
			who, _ := syncAs(t, f, 1) // one user: all three have the same key
			names <- who
		}()
		eventually(t, "the request reaches a back end", func() bool {
			a, _ := one.count()
			b, _ := two.count()
			return a+b == want
		})
	}
	ask(1)
	ask(2)
	ask(2) // waits
	pl := f.proxy.state.Load().pools
	for _, p := range pl {
		for _, u := range p.upstreams {
			if n := u.open.Load(); n > 1 {
				t.Errorf("%d connections to %s", n, u.Name)
			}
		}
	}
	before := cpuTime(t)
	time.Sleep(200 * time.Millisecond)
	if used := cpuTime(t) - before; used > 100*time.Millisecond {
		t.Errorf("waiting for a connection took %s of processor time", used)
	}
	close(release)
	got := map[string]int{}
	for range 3 {
		got[<-names]++
	}
	if got["one"] == 0 || got["two"] == 0 {
		t.Errorf("answered by %v", got)
	}
}

// TestDialErrorsMove: a process whose connection cannot be secured is no reason
// to fail while another of the pool answers.
func TestDialErrorsMove(t *testing.T) {
	main, plain, alive := newBackend(t, "main"), newBackend(t, "plain"), newBackend(t, "alive")
	f := newFront(t, "timeouts: { connect: 100ms }\n"+workers(main, "sync", strings.Replace(plain.url(), "http:", "https:", 1), alive.url()))
	for user := range 10 {
		if who, status := syncAs(t, f, user); who != "alive" {
			t.Errorf("user %d: %d from %q", user, status, who)
		}
	}
}

// TestHeldAfterProbe: a process that hung is restarted while a probe waits. Who finds it
// refusing connections is held, whatever became of that probe.
func TestHeldAfterProbe(t *testing.T) {
	u, err := newUpstream(configs.Upstream{URL: "http://" + freeAddress(t)}, upstreamID{connect: time.Second}, nil, quietLog())
	if err != nil {
		t.Fatal(err)
	}
	p := &pool{upstreams: []*Upstream{u}, weights: []int64{1}, ranks: routing.NewRendezvous([]string{u.Name}, nil), hold: 300 * time.Millisecond}
	a := u.found.Load().list[0]
	for range probesToBeUnwell {
		a.probed(errTest) // it hangs
	}
	a.dial(t.Context()) // it was ended: somebody's dial is refused,
	a.probed(errTest)   // and the probe under way breaks off
	start := time.Now()
	_, err = p.connect(t.Context(), nil, start, false)
	if took := time.Since(start); !absent(err) || took < p.hold {
		status, _, _ := failure(err)
		t.Errorf("held for %s instead of %s, then %d: %v", took, p.hold, status, err)
	}
}
