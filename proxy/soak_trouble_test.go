package proxy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"vestibule/configs"
)

// mainWorker is the process that answers what the others do not know.
const mainWorker = "main"

// The workers that are left alone, and those that are stopped. Those of which the
// name ends in 2 speak TLS.
var (
	calmWorkers = []string{mainWorker, "calm1", "calm2", "calm3"}
	wildWorkers = []string{"wild1", "wild2", "wild3", "wild4"}
)

// open starts the workers and the front door.
func (s *soak) open(e engine) {
	for _, name := range append(calmWorkers[:len(calmWorkers):len(calmWorkers)], wildWorkers...) {
		w := &worker{name: name, target: freeAddress(s.t), fail: s.fail, over: s.over}
		if strings.HasSuffix(name, "2") {
			w.tls = s.authority.server(s.t, "localhost")
			w.tls.CurvePreferences = s.tls.CurvePreferences
		}
		if err := w.start(); err != nil {
			s.t.Fatal(err)
		}
		s.workers[name] = w
	}
	s.front = e.front(s.t, s.configuration(0), true)
	s.ledger.note(s.front.proxy)
}

// close ends all of it.
func (s *soak) close() {
	eventually(s.t, "nothing is under way", func() bool { return gauge(s.t, s.front, "vestibule_requests_in_flight") == 0 })
	s.ledger.note(s.front.proxy)
	s.front.server.Stop(0)
	close(s.over)
	for _, w := range s.workers {
		if w.listener != nil {
			w.stop()
		}
		w.wg.Wait()
	}
}

// configurations move workers from one pool to another, add some and leave others
// out; an upstream with another bound is another one. Some bound uploads, or how many
// sync at once.
var configurations = []struct {
	calm, wild, reader, sync string
	upload, syncs            int // 0 for no bound
}{
	{calm: "calm1 calm2", wild: "wild1 wild2 wild3", reader: "calm3", sync: "wild1 wild2", upload: soakUpload},
	{calm: "calm2 calm3", wild: "wild2 wild4:6 wild3", reader: "calm1 calm2", sync: "wild2 wild3", syncs: 2},
	{calm: "calm3 calm1 calm2", wild: "wild4", reader: "calm3 calm1", sync: "wild4 wild1:3", upload: soakUpload, syncs: 1},
}

func (s *soak) configuration(i int) string {
	c := configurations[i]
	limits, upload := "", ""
	if c.syncs > 0 {
		limits = fmt.Sprintf("limits: { endpoints: { sync: { concurrent: %d, queue: 20ms } } }\n", c.syncs)
	}
	if c.upload > 0 {
		upload = fmt.Sprintf("max_upload: %dKiB, ", c.upload>>10)
	}
	return limits + fmt.Sprintf(`logging: { access: false }
timeouts: { head: 2m, stall: %s, sync_margin: 2s }
sites:
  - server_name: example.com
    synapse: { main: %s, hold: 300ms, %sworkers: { client_reader: [%s], sync: [%s] } }
    routes:
      - { name: calm, path_prefix: /calm, upstreams: [%s] }
      - { name: wild, path_prefix: /wild, upstreams: [%s] }
`, soakStall, s.upstreams(mainWorker), upload, s.upstreams(c.reader), s.upstreams(c.sync), s.upstreams(c.calm), s.upstreams(c.wild))
}

// upstreams writes workers as a configuration does: "name", or "name:max_conns".
// Those that speak TLS get less to do, as each of their connections costs as much as
// several requests.
func (s *soak) upstreams(names string) string {
	var out []string
	for _, name := range strings.Fields(names) {
		name, most, bounded := strings.Cut(name, ":")
		w := s.workers[name]
		more := ""
		if bounded {
			more = ", max_conns: " + most
		}
		if w.tls != nil {
			out = append(out, fmt.Sprintf("{ url: %q, ca_file: %q, server_name: localhost%s }", "https://"+w.target, s.authority.file, more))
			continue
		}
		out = append(out, fmt.Sprintf("{ url: %q, weight: 4%s }", "http://"+w.target, more))
	}
	return strings.Join(out, ", ")
}

// trouble stops workers, never all that there are for long, and starts them again.
func (s *soak) trouble(ctx context.Context) {
	for sleep(ctx, time.Duration(50+rand.IntN(300))*time.Millisecond) == nil {
		w := s.workers[wildWorkers[rand.IntN(len(wildWorkers))]]
		w.stop()
		s.stops.Add(1)
		sleep(ctx, time.Duration(rand.IntN(700))*time.Millisecond)
		if err := w.start(); err != nil {
			s.fail("starting %s again: %v", w.name, err)
			return
		}
	}
}

// reload applies one configuration after another.
func (s *soak) reload(ctx context.Context) {
	var all []*configs.Config
	for i := range configurations {
		all = append(all, s.front.load(s.configuration(i)))
	}
	for i := 1; sleep(ctx, time.Duration(20+rand.IntN(300))*time.Millisecond) == nil; i++ {
		if err := s.front.proxy.Apply(all[i%len(all)], nil); err != nil {
			s.fail("applying configuration %d: %v", i%len(all), err)
		}
		s.reloads.Add(1)
		s.ledger.note(s.front.proxy)
	}
}
