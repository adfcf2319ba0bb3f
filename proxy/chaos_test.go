package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// chaos is processes that come, go and misbehave, behind a front door that is
// reloaded meanwhile.
type chaos struct {
	t         *testing.T
	front     *front
	port      string
	processes []*process
	ledger    *ledger
}

// process is one that listens at an address, or does not.
type process struct {
	target   string
	listener net.Listener
}

func (p *process) start(t *testing.T) {
	l, err := net.Listen("tcp", p.target)
	if err != nil {
		t.Errorf("starting %s again: %v", p.target, err)
		return
	}
	p.listener = l
	b := &backend{name: p.target, listener: l, forgetful: true}
	b.answers(unruly)
	go b.accept()
}

func (p *process) stop() {
	p.listener.Close()
	p.listener = nil
}

// unruly answers in one of all ways; as Synapse it also answers probes, whose tokens
// are, and what it does not know.
func unruly(w net.Conn, r *bufio.Reader, s seen) bool {
	switch n := rand.IntN(100); {
	case strings.HasPrefix(s.line, "GET /health ") && n < 90:
		return respond(w, 200, "Server: Synapse/1.163.2\r\n", "OK")
	case strings.HasPrefix(s.line, "GET "+whoamiPath+" ") && n < 80:
		return respond(w, 200, "", fmt.Sprintf(`{"user_id":"@u%d:example.com"}`, n))
	case n < 10:
		return respond(w, 404, "", `{"errcode":"M_UNRECOGNIZED","error":"?"}`)
	case n < 13:
		time.Sleep(time.Second) // longer than the answer may take
	}
	method, _, _ := strings.Cut(s.line, " ")
	over := make(chan struct{})
	close(over)
	q := &asked{method: method, id: fmt.Sprintf("id%d", rand.IntN(1000)), status: 200, length: 2 + rand.IntN(20000)}
	for q.kind == nil || q.kind.every > 0 { // as those last too long
		q.kind = &kinds[rand.IntN(len(kinds))]
	}
	_, keep := q.reply(nil, w, r, mainWorker, over)
	return keep
}

func respond(w io.Writer, status int, fields, body string) bool {
	_, err := fmt.Fprintf(w, "HTTP/1.1 %d X\r\n%sContent-Length: %d\r\n\r\n%s", status, fields, len(body), body)
	return err == nil
}

// configuration is one of several, which share some upstreams.
func (c *chaos) configuration() string {
	at := func(i int) string { return "http://" + c.processes[i].target }
	syncs := []string{at(1), at(2), fmt.Sprintf("{ url: %q, max_conns: 4 }", at(3))}
	readers := []string{
		fmt.Sprintf("[{ url: %q, max_conns: 20 }]", "http://workers.test:"+c.port),
		fmt.Sprintf("[%q]", "http://workers.test:"+c.port),
		fmt.Sprintf("[%q]", at(1)),
	}
	return fmt.Sprintf("logging: { access: false }\ntimeouts: { response: 500ms, sync_margin: 500ms, initial_sync: 500ms }\nsites:\n  - server_name: example.com\n"+
		"    synapse: { main: %q, hold: %s, workers: { sync: [%s], client_reader: %s, streams: { typing: [%q] } } }\n",
		at(0), []string{"0s", "100ms", "300ms"}[rand.IntN(3)], strings.Join(syncs[:1+rand.IntN(3)], ", "), readers[rand.IntN(3)], at(4))
}

// operate changes something every few milliseconds until ctx ends, and in the end
// has everybody listen.
func (c *chaos) operate(ctx context.Context, s *nameServer) {
	answers := []func(context.Context) ([]netip.Addr, error){
		leads("127.0.7.1"), leads("127.0.7.1", "127.0.7.2"), leads("127.0.7.2", "127.0.7.3"), leads("127.0.7.9"), isGone, fails,
		func(ctx context.Context) ([]netip.Addr, error) { time.Sleep(50 * time.Millisecond); return fails(ctx) },
	}
	for sleep(ctx, time.Duration(rand.IntN(20))*time.Millisecond) == nil {
		switch rand.IntN(4) {
		case 0:
			if err := c.front.proxy.Apply(c.front.load(c.configuration()), nil); err != nil {
				c.t.Error(err)
			}
		case 1:
			s.answers(answers[rand.IntN(len(answers))])
		default:
			if p := c.processes[rand.IntN(len(c.processes))]; p.listener != nil {
				p.stop()
			} else {
				p.start(c.t)
			}
		}
		c.ledger.note(c.front.proxy)
	}
}

// demands sends requests of all kinds, some of which are given up.
func (c *chaos) demands(ctx context.Context, client *http.Client) {
	paths := []string{"sync?since=s1&timeout=0", "sync", "capabilities", "keys/query", "rooms/!a/typing/@b:example.com", "pushers", "rooms/!a/messages", "publicRooms"}
	for ctx.Err() == nil {
		ctx, leave := context.WithCancel(c.t.Context())
		method, body := []string{"GET", "GET", "PUT", "POST", "OPTIONS"}[rand.IntN(5)], io.Reader(nil)
		if method[0] == 'P' {
			body = strings.NewReader(strings.Repeat("x", rand.IntN(2)*20000+10))
			if rand.IntN(2) == 0 {
				body = struct{ io.Reader }{body}
			}
		}
		req, err := http.NewRequestWithContext(ctx, method, "https://matrix.example.com/_matrix/client/v3/"+paths[rand.IntN(len(paths))], body)
		if err != nil {
			c.t.Error(err)
		} else {
			req.Header.Set("Authorization", fmt.Sprintf("Bearer mat_%d", rand.IntN(3000)))
			if rand.IntN(5) == 0 {
				time.AfterFunc(time.Duration(rand.IntN(100))*time.Millisecond, leave)
			}
			if resp, err := client.Do(req); err == nil {
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		}
		leave()
	}
}

// TestChaosLeavesNothing: whatever happens to processes, names, connections,
// configurations and clients, all that is counted comes back to nothing, and
// nothing stays behind.
func TestChaosLeavesNothing(t *testing.T) {
	lasts := 8 * time.Second
	if testing.Short() {
		lasts = 2 * time.Second
	}
	c := &chaos{t: t, ledger: newLedger()}
	_, c.port, _ = net.SplitHostPort(freeAddress(t))
	for range 5 {
		c.processes = append(c.processes, &process{target: freeAddress(t)})
	}
	for _, host := range []string{"127.0.7.1", "127.0.7.2", "127.0.7.3"} {
		c.processes = append(c.processes, &process{target: net.JoinHostPort(host, c.port)})
	}
	for _, p := range c.processes {
		p.start(t)
	}
	s := &nameServer{answer: leads("127.0.7.1")}
	c.front = &front{t: t, probed: true, lookup: s.lookup}
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	c.front.open(c.front.load(c.configuration()))
	c.ledger.note(c.front.proxy)

	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	var clients []*http.Client
	var wg sync.WaitGroup
	for n := range 24 {
		if n%6 == 0 {
			clients = append(clients, c.front.client(c.front.https, n%12 == 0))
		}
		client := clients[n/6]
		wg.Go(func() { c.demands(ctx, client) })
	}
	c.operate(ctx, s)
	wg.Wait()
	for _, client := range clients {
		client.CloseIdleConnections()
	}
	eventually(t, "nothing is under way", func() bool { return gauge(t, c.front, "vestibule_requests_in_flight") == 0 })
	c.ledger.note(c.front.proxy)
	c.front.server.Stop(0)
	eventually(t, "all that is counted is nothing", func() bool { return c.ledger.counts() == "" })
	for _, p := range c.processes {
		if p.listener != nil {
			p.stop()
		}
	}
	eventually(t, "all connections are closed", func() bool { return openFiles(t) <= files })
	eventually(t, "all goroutines have ended", func() bool { return runtime.NumGoroutine() <= goroutines })
	for _, name := range []string{"vestibule_stand_ins_total", "vestibule_misrouted_total", "vestibule_whoami_total"} {
		if c.front.counter(name) == 0 {
			t.Errorf("%s is 0: the test has not tried it", name)
		}
	}
}
