package proxy

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vestibule/routing"
)

// TestAccessLogKeepsLines: many add lines at once to a reader that is slow. None is
// lost or torn, each one's come in order, and what waits is bounded.
func TestAccessLogKeepsLines(t *testing.T) {
	var out slowReader
	l := newAccessLog(&out)
	const adders, lines = 8, 2000
	filler := strings.Repeat("x", 400)
	var wg sync.WaitGroup
	for n := range adders {
		wg.Go(func() {
			for i := range lines {
				l.add(fmt.Appendf(nil, "%d %d %s\n", n, i, filler))
			}
		})
	}
	wg.Wait()
	l.flush(time.Minute)
	var next [adders]int
	for line := range strings.Lines(out.text.String()) {
		var n, i int
		var rest string
		if _, err := fmt.Sscanf(line, "%d %d %s\n", &n, &i, &rest); err != nil || rest != filler || i != next[n] {
			t.Fatalf("%q (%v); line %d of %d is next", line, err, next[n], n)
		}
		next[n]++
	}
	for n, i := range next {
		if i != lines {
			t.Errorf("%d lines of %d", i, n)
		}
	}
	if most := maxGathered + len(filler) + 20; out.most > most {
		t.Errorf("%d bytes waited, of %d at most", out.most, most)
	}
	if out.writes > adders*lines/10 {
		t.Errorf("%d writes for %d lines", out.writes, adders*lines)
	}
}

// slowReader takes what is written in its own time.
type slowReader struct {
	text         bytes.Buffer
	writes, most int
}

func (r *slowReader) Write(p []byte) (int, error) {
	time.Sleep(time.Millisecond)
	r.writes++
	r.most = max(r.most, len(p))
	return r.text.Write(p)
}

// TestAccessLogThatHangs: when nobody reads the log any more, stopping does not wait
// for it, and requests do when much waits.
func TestAccessLogThatHangs(t *testing.T) {
	goes := make(chan struct{})
	l := newAccessLog(writerFunc(func(p []byte) (int, error) { <-goes; return len(p), nil }))
	l.add([]byte("first\n"))
	eventually(t, "the first is being written", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return len(l.gathered) == 0 })
	l.add(bytes.Repeat([]byte("x"), maxGathered))
	start := time.Now()
	if l.flush(10 * time.Millisecond); time.Since(start) > 5*time.Second {
		t.Errorf("flush took %v", time.Since(start))
	}
	added := make(chan struct{})
	go func() { l.add([]byte("last\n")); close(added) }()
	select {
	case <-added:
		t.Error("more than is bounded waits")
	case <-time.After(50 * time.Millisecond):
	}
	close(goes)
	<-added
	l.flush(time.Minute)
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// BenchmarkAccessLine is what writing a line down costs, and nothing else of it.
func BenchmarkAccessLine(b *testing.B) {
	f := newFront(b, oneSite(newBackend(b, "main"), ""))
	x := new(exchange)
	x.begin(f.proxy, &Request{
		Entrypoint: &Entrypoint{Name: "https", Role: routing.HTTPS}, Proto: "HTTP/2.0", Method: "GET", Host: "matrix.example.com",
		Target: "/_matrix/client/v3/rooms/%21abcdefghijklmnopqr%3Aexample.com/messages?dir=b&limit=30&from=t1-2_3", Peer: netip.MustParseAddrPort("192.0.2.17:443"),
	}, nil)
	x.record.Upstream, x.record.Status = "http://127.0.0.1:8008", 200
	buf := make([]byte, 0, 2048)
	b.ReportAllocs()
	for b.Loop() {
		buf = x.appendLine(buf[:0])
	}
	b.SetBytes(int64(len(buf)))
}

// TestAccessLogTorn: a line that was torn by a full disk spoils no other, however
// long the disk is full and whether or not lines come all the while.
func TestAccessLogTorn(t *testing.T) {
	for _, attempts := range []int{0, 1, 3} {
		var out bytes.Buffer
		tears, full := true, false
		l := newAccessLog(writerFunc(func(p []byte) (int, error) {
			if full {
				return 0, syscall.ENOSPC
			}
			if tears {
				tears, full = false, attempts > 0
				out.Write(p[:3])
				return 3, syscall.ENOSPC
			}
			return out.Write(p)
		}))
		l.add([]byte("first line\n"))
		l.flush(time.Minute)
		for range attempts {
			l.add([]byte("lost line\n"))
			l.flush(time.Minute)
		}
		full = false
		l.add([]byte("next line\n"))
		l.flush(time.Minute)
		if got := out.String(); !strings.HasSuffix(got, "\nnext line\n") {
			t.Errorf("%d attempts: %q", attempts, got)
		}
	}
}
