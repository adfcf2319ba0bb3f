//go:build integration

package main

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The size of the crowd: parked syncs, how many of them a worker holds that is
// restarted, and WebSockets.
const (
	crowdSyncs      = 5000
	crowdRestarted  = 50
	crowdSockets    = 200
	crowdReloads    = 50
	streamsPerConn  = 100
	crowdPollMillis = 600000

	// maxParked bounds what one parked poll takes, in KiB. It is about half of that,
	// but how much garbage lies around is left to chance.
	maxParked = 96
)

// TestCrowd: thousands of long polls and WebSockets live through reloads and the
// restart of a worker without noticing; each then gets its own answer, and nothing
// is left behind. It happens twice, so that what grows shows.
func TestCrowd(t *testing.T) { eachEngine(t, tryCrowd) }

func tryCrowd(t *testing.T, engine string) {
	c := newCrowd(t, engine)
	before := c.door.census()
	for range 2 {
		c.assemble()
		c.reloadAll()
		c.dissolve()
		c.door.configure(c.text(-1))
		c.door.reload(false) // what is idle towards workers that are gone is closed
		c.door.awaitCensus(before)
		c.checkMemory()
		if t.Failed() {
			return
		}
	}
}

// crowd is everybody who takes part.
type crowd struct {
	t       *testing.T
	door    *door
	main    *place
	workers []*place // for sync; the last one is restarted
	round   int

	mu      sync.Mutex
	polls   []*poll
	wires   []*parkedWire
	sockets []*tls.Conn
}

// poll is a sync that waits: on a connection of its own, or as a stream.
type poll struct {
	id   string
	conn *tls.Conn
}

func newCrowd(t *testing.T, engine string) *crowd {
	c := &crowd{t: t, main: openPlace(t, "main")}
	for i := range 5 {
		c.workers = append(c.workers, openPlace(t, fmt.Sprintf("sync%d", i)))
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if need := uint64(2*(crowdSyncs+crowdSockets) + 1000); limit.Max < need {
		t.Skipf("needs %d open files (ulimit -Hn says %d)", need, limit.Max)
	}
	c.door = openDoor(t, engine, c.text(-1), 0)
	return c
}

// text is the configuration after so many reloads; without the workers before the
// first and after the last.
func (c *crowd) text(reload int) string {
	var b strings.Builder
	level := []string{"info", "warn"}[max(reload, 0)%2]
	if level == "warn" {
		level = "info\n  addresses: masked"
	}
	fmt.Fprintf(&b, "logging:\n  level: %s\nsites:\n  - server_name: example.com\n    synapse:\n      main: %q\n", level, c.main.url())
	if reload >= 0 {
		fmt.Fprint(&b, "      workers:\n        sync:\n")
		for i, w := range c.workers {
			weight := 12
			if i == len(c.workers)-1 {
				weight = 1
			}
			fmt.Fprintf(&b, "          - { url: %q, weight: %d }\n", w.url(), weight)
		}
		if reload%3 == 1 { // a pool that nobody here uses
			fmt.Fprintf(&b, "        user_dir: [%q, \"http://127.0.0.1:%d\"]\n", c.main.url(), 1+reload)
		}
	}
	fmt.Fprintf(&b, "    routes:\n      - { name: sockets, path_prefix: /sockets, upstreams: [%q] }\n", c.main.url())
	if reload%5 == 2 {
		fmt.Fprint(&b, "      - { name: teapot, path: /teapot, status: 418 }\n")
	}
	if reload%7 == 3 {
		fmt.Fprintf(&b, "    element: { upstream: \"http://127.0.0.1:%d\" }\n", 100+reload)
	}
	if reload%4 == 3 {
		fmt.Fprintf(&b, "  - server_name: example.org\n    synapse: { main: \"http://127.0.0.1:%d\" }\n", 200+reload)
	}
	return b.String()
}

// assemble parks everybody: half of the polls on connections of their own, the
// others as streams.
func (c *crowd) assemble() {
	c.round++
	c.door.configure(c.text(0))
	c.door.reload(false)
	ids := c.choose()
	before, _ := c.door.memory()
	each(c, ids[:crowdSyncs/2], func(id string) error { return c.park(id) })
	c.awaitHeld(crowdSyncs / 2)
	h1, _ := c.door.memory()
	var groups [][]string
	for rest := ids[crowdSyncs/2:]; len(rest) > 0; rest = rest[min(streamsPerConn, len(rest)):] {
		groups = append(groups, rest[:min(streamsPerConn, len(rest))])
	}
	each(c, groups, c.parkStreams)
	c.awaitHeld(crowdSyncs)
	h2, _ := c.door.memory()
	each(c, make([]struct{}, crowdSockets), func(struct{}) error { return c.connect() })
	c.speak()
	if c.round > 1 { // there is free memory from before
		return
	}
	each1, each2 := (h1-before)/(crowdSyncs/2), (h2-h1)/(crowdSyncs/2)
	c.t.Logf("a parked poll takes %d KiB on a connection of HTTP/1.1, %d KiB as a stream of HTTP/2", each1, each2)
	if each1 > maxParked || each2 > maxParked {
		c.t.Errorf("that is more than %d KiB", maxParked)
	}
}

// choose makes users of whom exactly so many are at the worker that is restarted.
func (c *crowd) choose() (ids []string) {
	w, err := c.door.dialWire()
	if err != nil {
		c.t.Fatal(err)
	}
	defer w.Close()
	restarted, last := 0, c.workers[len(c.workers)-1].name
	for n := 0; len(ids) < crowdSyncs; n += streamsPerConn {
		of := map[uint32]string{}
		for i := range streamsPerConn {
			id := fmt.Sprintf("user%d.%d", c.round, n+i)
			stream, err := w.request(true, "GET", "/_matrix/client/v3/sync?timeout=0&since="+id, "authorization", "Bearer "+token(id))
			if err != nil {
				c.t.Fatal(err)
			}
			of[stream] = id
		}
		answers, err := w.answers(streamsPerConn)
		if err != nil {
			c.t.Fatal(err)
		}
		for stream, name := range answers {
			room := len(ids) < crowdSyncs-(crowdRestarted-restarted)
			switch {
			case name == last && restarted < crowdRestarted:
				restarted++
			case name == last || !room:
				continue
			}
			ids = append(ids, of[stream])
		}
	}
	return ids
}

// token is one of those from which the user can be read.
func token(id string) string {
	return "syt_" + base64.RawStdEncoding.EncodeToString([]byte(id)) + "_aaaaaaaaaaaaaaaaaaaa_0aaaaa"
}

func target(id string) string {
	return fmt.Sprintf("/_matrix/client/v3/sync?timeout=%d&since=%s", crowdPollMillis, id)
}

// each does something for all of them, some at a time.
func each[T any](c *crowd, all []T, do func(T) error) {
	c.t.Helper()
	var wg sync.WaitGroup
	places := make(chan struct{}, 64)
	for _, x := range all {
		places <- struct{}{}
		wg.Go(func() {
			if err := do(x); err != nil {
				c.t.Error(err)
			}
			<-places
		})
	}
	wg.Wait()
	if c.t.Failed() {
		c.t.FailNow()
	}
}

// park sends a sync on a connection of its own.
func (c *crowd) park(id string) error {
	conn, err := c.door.dial("http/1.1")
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.polls = append(c.polls, &poll{id, conn})
	c.mu.Unlock()
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", target(id), doorHost, token(id))
	return err
}

// parkStreams sends syncs as streams of one connection.
func (c *crowd) parkStreams(ids []string) error {
	w, err := c.door.dialWire()
	if err != nil {
		return err
	}
	streams := map[uint32]string{}
	c.mu.Lock()
	c.wires = append(c.wires, &parkedWire{w, streams})
	c.mu.Unlock()
	for _, id := range ids {
		stream, err := w.request(true, "GET", target(id), "authorization", "Bearer "+token(id))
		if err != nil {
			return err
		}
		streams[stream] = id
	}
	return nil
}

// connect opens a WebSocket.
func (c *crowd) connect() error {
	conn, err := c.door.dial("http/1.1")
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.sockets = append(c.sockets, conn)
	c.mu.Unlock()
	fmt.Fprintf(conn, "GET /sockets HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", doorHost)
	status, _, err := readAnswer(bufio.NewReader(conn))
	if err == nil && status != 101 {
		err = fmt.Errorf("a WebSocket gets %d", status)
	}
	return err
}

// speak says something over each WebSocket and hears it again.
func (c *crowd) speak() {
	c.t.Helper()
	each(c, c.sockets, func(conn *tls.Conn) error {
		const word = "still there?"
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		defer conn.SetDeadline(time.Time{})
		if _, err := io.WriteString(conn, word); err != nil {
			return fmt.Errorf("a WebSocket has ended: %w", err)
		}
		heard := make([]byte, len(word))
		if _, err := io.ReadFull(conn, heard); err != nil || string(heard) != word {
			return fmt.Errorf("a WebSocket repeats %q: %w", heard, err)
		}
		return nil
	})
}

// states adds up what the workers say.
func (c *crowd) states() (sum parkingState) {
	for _, w := range c.workers {
		s := w.state()
		sum.Held += s.Held
		sum.Arrivals += s.Arrivals
	}
	return sum
}

func (c *crowd) awaitHeld(n int) {
	c.t.Helper()
	if !within(30*time.Second, func() bool { return c.states().Held == n }) {
		c.t.Fatalf("the workers hold %+v requests, and not %d", c.states(), n)
	}
}

// reloadAll goes through all configurations, and in the middle restarts a worker.
// Only what that one held is sent again, which nobody sees.
func (c *crowd) reloadAll() {
	arrivals := c.states().Arrivals
	for reload := 1; reload <= crowdReloads; reload++ {
		c.door.configure(c.text(reload))
		c.door.reload(reload%2 == 0)
		if reload == crowdReloads/2 {
			arrivals -= c.restart()
			c.awaitHeld(crowdSyncs)
		}
	}
	c.speak()
	c.awaitHeld(crowdSyncs)
	if s := c.states(); s.Arrivals != arrivals+crowdRestarted {
		c.t.Errorf("%d requests were sent again, not the %d that the worker held", s.Arrivals-arrivals, crowdRestarted)
	}
}

// restart kills the last worker and starts it again. It returns how many requests
// it knew of, which it has forgotten.
func (c *crowd) restart() (forgotten int) {
	c.t.Helper()
	last := c.workers[len(c.workers)-1]
	s := last.state()
	if s.Held != crowdRestarted {
		c.t.Errorf("%s holds %d requests", last.name, s.Held)
	}
	last.kill()
	last.start()
	return s.Arrivals
}

// dissolve lets everybody have an answer, and leave.
func (c *crowd) dissolve() {
	for _, w := range c.workers {
		w.tell("/parking/release")
	}
	each(c, c.polls, func(p *poll) error {
		defer p.conn.Close()
		p.conn.SetDeadline(time.Now().Add(30 * time.Second))
		status, text, err := readAnswer(bufio.NewReader(p.conn))
		if err != nil || status != 200 || text != p.id {
			return fmt.Errorf("%s gets %d %q: %w", p.id, status, text, err)
		}
		return nil
	})
	each(c, c.wires, (*parkedWire).leave)
	c.speak()
	for _, conn := range c.sockets {
		conn.Close()
	}
	c.polls, c.wires, c.sockets = nil, nil, nil
}

// parkedWire is a connection of HTTP/2 with the polls on its streams.
type parkedWire struct {
	*wire
	ids map[uint32]string
}

func (w *parkedWire) leave() error {
	defer w.Close()
	w.SetDeadline(time.Now().Add(30 * time.Second))
	answers, err := w.answers(len(w.ids))
	for stream, id := range w.ids {
		if answers[stream] != id {
			err = errors.Join(err, fmt.Errorf("%s gets %q", id, answers[stream]))
		}
	}
	return err
}

// checkMemory waits until memory is free again. The collector runs when memory is
// asked for, so there is some coming and going.
func (c *crowd) checkMemory() {
	c.t.Helper()
	const most, back = 500, 60 // MiB
	now, peak := c.door.memory()
	if peak>>10 > most {
		c.t.Errorf("%d MiB of memory for the crowd", peak>>10)
	}
	visitor := c.door.visitor(false, true)
	var heap float64
	free := within(30*time.Second, func() bool {
		for range 100 {
			if err := visit(visitor, strings.Repeat("x", 16<<10)); err != nil {
				c.t.Fatal(err)
			}
		}
		heap = c.door.metric("go_memstats_heap_inuse_bytes") / (1 << 20)
		return heap < back
	})
	if !free {
		c.t.Errorf("%.0f MiB of the heap stay in use", heap)
	}
	c.t.Logf("memory: %d MiB at most, %d MiB when all had left, then %.0f MiB of heap in use", peak>>10, now>>10, heap)
}
