package proxy

import (
	"bufio"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// series is one line of the metrics.
type series struct {
	name   string
	labels map[string]string
	gauge  float64
}

// gather reads all metrics.
func (f *front) gather() (out []series) {
	f.t.Helper()
	families, err := f.registry.Gather()
	if err != nil {
		f.t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.Metric {
			one := series{family.GetName(), map[string]string{}, m.Gauge.GetValue()}
			for _, l := range m.Label {
				one.labels[l.GetName()] = l.GetValue()
			}
			out = append(out, one)
		}
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
	ask(0)
	first := len(f.gather())
	for i := range 50 {
		ask(i)
	}
	all := f.gather()
	if len(all) != first {
		t.Errorf("%d series, then %d", first, len(all))
	}
	known := []string{"entrypoint", "site", "class", "upstream", "code"}
	for _, one := range all {
		for label := range one.labels {
			if !slices.Contains(known, label) {
				t.Errorf("%s has a label %s", one.name, label)
			}
		}
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
		for _, one := range f.gather() {
			if one.name == "vestibule_upstream_up" && one.labels["upstream"] == b.url() {
				out = append(out, one.gauge)
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
