package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// newTellingBackend tells of an event, and of what it is given after that, until
// that is closed.
func newTellingBackend(t *testing.T, name string) (b *backend, tell chan string) {
	t.Helper()
	b, tell = newBackend(t, name), make(chan string)
	ended := make(chan bool)
	t.Cleanup(func() { close(ended) })
	b.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
		io.WriteString(w, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
		for {
			select {
			case text, more := <-tell:
				if !more {
					return false
				}
				io.WriteString(w, text)
			case <-ended:
				return false
			}
		}
	})
	return b, tell
}

// listen asks for events, and returns after the first.
func (f *front) listen(t *testing.T, path string) *http.Response {
	t.Helper()
	resp, err := f.client(f.https, true).Get(site + path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	expectBytes(t, "the first event", resp.Body, "data: 1\n\n")
	return resp
}

// routesTo is a list of routes under a site, each from a path to an upstream.
func routesTo(pairs ...string) string {
	text := "    routes:\n"
	for i := 0; i < len(pairs); i += 2 {
		text += fmt.Sprintf("      - { name: r%s, path_prefix: /%s, upstreams: [%q] }\n", pairs[i], pairs[i], pairs[i+1])
	}
	return text
}

// TestReloadDisturbsNobody: a reload ends WebSockets and event streams whose route or
// upstream it takes away, and nothing else; whatever has an end of its own comes to
// it, wherever it was.
func TestReloadDisturbsNobody(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		main := newBackend(t, "main")
		app, fromApp := newSocketBackend(t, "app", listenLocally(t))
		old, fromOld := newSocketBackend(t, "old", listenLocally(t))
		moved, fromMoved := newSocketBackend(t, "moved", listenLocally(t))
		news, tell := newTellingBackend(t, "news")
		oldNews, _ := newTellingBackend(t, "old news")
		added := newBackend(t, "added")
		polls := map[string]chan chan string{}
		var workers []*backend
		for _, name := range []string{"kept", "gone"} {
			worker, parked := newBackend(t, name), make(chan chan string, 100)
			worker.answers(func(w net.Conn, _ *bufio.Reader, s seen) bool {
				release := make(chan string)
				parked <- release
				<-release
				return worker.sayName(w, nil, s)
			})
			workers, polls[name] = append(workers, worker), parked
		}
		sites := func(timeouts string, one, two *backend, routes ...string) string {
			return "timeouts: { " + timeouts + " }\n" + fmt.Sprintf("sites:\n  - server_name: example.com\n    synapse: { main: %q, workers: { sync: [%q, %q] } }\n",
				main.url(), one.url(), two.url()) + fmt.Sprintf("    ntfy: { upstream: %q }\n", app.url()) + routesTo(routes...)
		}
		f := e.front(t, sites("grace: 100ms", workers[0], workers[1],
			"news", news.url(), "old", old.url(), "oldnews", oldNews.url(), "moved", moved.url()), true)

		client, down := f.upgraded()
		appEnd := <-fromApp
		oldClient, oldDown := f.upgradedAt("matrix.example.com", "/old/ws")
		oldEnd := <-fromOld
		movedClient, movedDown := f.upgradedAt("matrix.example.com", "/moved/ws")
		movedEnd := <-fromMoved
		listening, oldListening := f.listen(t, "/news"), f.listen(t, "/oldnews")
		answers := make(chan string)
		asked := 0
		for len(polls["kept"]) == 0 || len(polls["gone"]) == 0 { // until each worker has a user
			before := len(polls["kept"]) + len(polls["gone"])
			token := fmt.Sprintf("Bearer syt_%s_abcdefghijklmnopqrst_0aBcDe", strings.Repeat("YWFh", asked+1))
			go func() {
				_, text := do(t, f.client(f.https, true), "GET", site+"/_matrix/client/v3/sync?timeout=30000&since=s1", nil, "Authorization", token)
				answers <- text
			}()
			asked++
			eventually(t, "a poll is parked", func() bool { return len(polls["kept"])+len(polls["gone"]) > before })
		}
		wanted := map[string]int{"kept": len(polls["kept"]), "gone": len(polls["gone"])}

		// Other timeouts make every upstream a new one, which is nobody's business.
		now := sites("grace: 100ms, connect: 4s", workers[0], added, "news", news.url(), "moved", app.url())
		if err := f.proxy.Apply(f.load(now), nil); err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			client net.Conn
			down   *bufio.Reader
			far    farEnd
		}{"a route that is gone": {oldClient, oldDown, oldEnd}, "another upstream": {movedClient, movedDown, movedEnd}} {
			expectBytes(t, name, c.down, string(serverBye))
			c.client.Write(clientBye)
			expectEnd(t, name, c.down, "")
			expectEnd(t, name, c.far.r, string(clientBye))
			c.far.c.Close()
		}
		expectEnd(t, "events of a route that is gone", oldListening.Body, "")

		client.Write(clientText)
		expectBytes(t, "the WebSocket, up", appEnd.r, string(clientText))
		appEnd.c.Write(serverText)
		expectBytes(t, "the WebSocket, down", down, string(serverText))
		tell <- "data: 2\n\n"
		expectBytes(t, "the events", listening.Body, "data: 2\n\n")
		for _, parked := range polls {
			for len(parked) > 0 {
				close(<-parked)
			}
		}
		got := map[string]int{}
		for range asked {
			got[<-answers]++
		}
		if got["kept"] != wanted["kept"] || got["gone"] != wanted["gone"] {
			t.Errorf("the polls were answered by %v, not %v", got, wanted)
		}
		if resp, _ := do(t, f.client(f.https, true), "GET", site+"/old/ws", nil); resp.StatusCode != 404 {
			t.Errorf("the route that is gone answers %s", resp.Status)
		}
		eventually(t, "what ended is logged", func() bool { return strings.Count(f.log.String(), whyGone) == 3 })
	})
}

// TestReloadForgives: what a reload took away and the next one brings back goes on.
func TestReloadForgives(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		main := newBackend(t, "main")
		app, ends := newSocketBackend(t, "app", listenLocally(t))
		sites := func(grace string, routes ...string) string {
			return "timeouts: { grace: " + grace + " }\n" + oneSite(main, routesTo(routes...))
		}
		f := e.front(t, sites("1h", "a", app.url(), "b", app.url()), true)
		_, downA := f.upgradedAt("matrix.example.com", "/a/ws")
		endA := <-ends
		_, downB := f.upgradedAt("matrix.example.com", "/b/ws")
		<-ends
		for _, text := range []string{sites("1h", "c", app.url()), sites("0s", "a", app.url())} {
			if err := f.proxy.Apply(f.load(text), nil); err != nil {
				t.Fatal(err)
			}
		}
		expectBytes(t, "what stays away", downB, string(serverBye))
		endA.c.Write(serverText)
		expectBytes(t, "what comes back", downA, string(serverText))
	})
}

// TestReloadMeetsLateWebSocket: a WebSocket that was asked for before a reload and
// begins long after it ends all the same.
func TestReloadMeetsLateWebSocket(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		main, slow := newBackend(t, "main"), newBackend(t, "slow")
		app, _ := newSocketBackend(t, "app", listenLocally(t))
		asked, upgrade := make(chan bool, 1), make(chan bool)
		slow.answers(func(w net.Conn, r *bufio.Reader, _ seen) bool {
			asked <- true
			<-upgrade
			io.WriteString(w, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			io.Copy(io.Discard, r)
			return false
		})
		sites := func(grace string, routes ...string) string {
			return "timeouts: { grace: " + grace + " }\n" + oneSite(main, routesTo(routes...))
		}
		f := e.front(t, sites("1h", "slow", slow.url(), "app", app.url()), true)
		_, down := f.upgradedAt("matrix.example.com", "/app/ws")
		late := make(chan *bufio.Reader, 1)
		go func() {
			_, r := f.upgradedAt("matrix.example.com", "/slow/ws")
			late <- r
		}()
		<-asked
		if err := f.proxy.Apply(f.load(sites("50ms", "other", app.url())), nil); err != nil {
			t.Fatal(err)
		}
		expectBytes(t, "the reload is over", down, string(serverBye))
		upgrade <- true
		expectBytes(t, "the late one", <-late, string(serverBye))
	})
}

// TestReloadKeepsUpstreams: an upstream that the new configuration names as well is
// the same one, with its connections, its health and its requests.
func TestReloadKeepsUpstreams(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		main, one, two := newBackend(t, "main"), newBackend(t, "one"), newBackend(t, "two")
		sites := func(upstreams ...string) string {
			return oneSite(main, fmt.Sprintf("    routes: [{ name: a, path_prefix: /a, upstreams: [%s] }]\n", strings.Join(upstreams, ", ")))
		}
		f := e.front(t, sites(one.url()), true)
		c := f.client(f.https, true)
		upstream := func(b *backend) *Upstream {
			for _, p := range f.proxy.state.Load().pools {
				for _, u := range p.upstreams {
					if u.Name == b.url() {
						return u
					}
				}
			}
			return nil
		}
		do(t, c, "GET", site+"/a", nil)
		was := upstream(one)
		for _, text := range []string{sites(two.url(), one.url()), sites(one.url()), "timeouts: { stall: 5s }\n" + sites(fmt.Sprintf("{ url: %q, weight: 2 }", one.url()))} {
			if err := f.proxy.Apply(f.load(text), nil); err != nil {
				t.Fatal(err)
			}
			if now := upstream(one); now != was {
				t.Errorf("another upstream after\n%s", text)
			}
		}
		if _, text := do(t, c, "GET", site+"/a", nil); text != "one" {
			t.Errorf("%q answers", text)
		}
		if _, conns := one.count(); conns != 1 {
			t.Errorf("%d connections", conns)
		}
	})
}
