package proxy

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	dto "github.com/prometheus/client_model/go"
)

// gather reads all metrics.
func (f *front) gather() map[string]*dto.MetricFamily {
	f.t.Helper()
	families, err := f.registry.Gather()
	if err != nil {
		f.t.Fatal(err)
	}
	out := map[string]*dto.MetricFamily{}
	for _, family := range families {
		out[family.GetName()] = family
	}
	return out
}

// TestLabelsAreBounded: whatever clients invent, the number of series depends on
// the configuration alone.
func TestLabelsAreBounded(t *testing.T) {
	main := newBackend(t, "main")
	f := newFront(t, oneSite(main, ""))
	ask := func(i int) {
		c := f.rawConn(f.https, "http/1.1")
		r := bufio.NewReader(c)
		for _, request := range []string{
			"GET /_matrix/client/v3/rooms/!r%[1]d:x/state?access_token=%[1]d HTTP/1.1\r\nHost: matrix.example.com",
			"M%[1]d /_matrix/client/v3/x%[1]d HTTP/1.1\r\nHost: matrix.example.com",
			"GET /x%[1]d HTTP/1.1\r\nHost: host%[1]d.example.com",
		} {
			fmt.Fprintf(c, request+"\r\n\r\n", i)
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close() // reads it to its end
		}
	}
	series := func() (n int) {
		for _, family := range f.gather() {
			n += len(family.Metric)
			for _, m := range family.Metric {
				for _, l := range m.Label {
					if strings.Contains("entrypoint site class upstream code", l.GetName()) {
						continue
					}
					t.Errorf("%s has a label %s", family.GetName(), l.GetName())
				}
			}
		}
		return n
	}
	ask(0)
	first := series()
	for i := range 50 {
		ask(i)
	}
	if n := series(); n != first {
		t.Errorf("%d series, then %d", first, n)
	}
}

// TestUpstreamUp: an upstream of several pools is told once, those of a former
// configuration no more, and nobody who asks meanwhile misses it.
func TestUpstreamUp(t *testing.T) {
	main, next := newBackend(t, "main"), newBackend(t, "next")
	site := strings.Replace(oneSite(main, ""), "hold: 2s", fmt.Sprintf("hold: 0s, federation: %q", main.url()), 1)
	f := newFront(t, site)
	up := func(b *backend) []float64 {
		var out []float64
		if family := f.gather()["vestibule_upstream_up"]; family != nil {
			for _, m := range family.Metric {
				for _, l := range m.Label {
					if l.GetName() == "upstream" && l.GetValue() == b.url() {
						out = append(out, m.Gauge.GetValue())
					}
				}
			}
		}
		return out
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				if got := up(main); len(got) != 1 || got[0] != 1 {
					t.Errorf("up: %v", got)
					return
				}
			}
		})
	}
	wg.Wait()
	main.listener.Close()
	do(t, f.client(f.https, false), "GET", "https://matrix.example.com/_matrix/client/versions", nil)
	if got := up(main); len(got) != 1 || got[0] != 0 {
		t.Errorf("down: %v", got)
	}
	if err := f.proxy.Apply(f.load(oneSite(next, "")), nil); err != nil {
		t.Fatal(err)
	}
	if old, now := up(main), up(next); len(old) != 0 || len(now) != 1 {
		t.Errorf("after a reload: %v and %v", old, now)
	}
}
