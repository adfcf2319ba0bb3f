package proxy

import (
	"fmt"
	"net"
	"runtime"
	"runtime/metrics"
	"testing"
)

// TestParkedStack: a long poll that waits keeps a stack of 4 KiB, of those Go has
// the smallest that its way to the upstream fits. It is halved when the collector
// finds less than a quarter in use, so what a poll has on it while it waits must
// stay below 1,248 bytes (runtime/stack.go, shrinkstack).
func TestParkedStack(t *testing.T) {
	const polls = 500
	main, err := net.Listen("tcp", "127.0.0.1:0") // the kernel takes what comes, and nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer main.Close()
	f := engine{name: "own", start: startServer}.front(t, fmt.Sprintf("sites:\n  - server_name: example.com\n    synapse: { main: %q }\n", "http://"+main.Addr().String()), false)
	before := stacks()
	for range polls {
		c, err := net.Dial("tcp", f.https)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		fmt.Fprintf(c, "GET /_matrix/client/v3/sync?since=s1&timeout=30000 HTTP/1.1\r\nHost: matrix.example.com\r\n\r\n")
	}
	eventually(t, "all polls wait", func() bool { return gauge(t, f, "vestibule_requests_in_flight") == polls })
	each := (stacks() - before) / polls
	t.Logf("%d bytes of stack per poll", each)
	switch {
	case runtime.GOARCH != "amd64" || invariants || raceDetector:
		t.Skip("frames are larger here")
	case each > 5<<10:
		t.Errorf("a poll that waits has %d bytes of stack; want 4 KiB", each)
	}
}

// stacks is how much memory stacks have, in bytes, when the collector has halved
// those that can be.
func stacks() int64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/stacks:bytes"}}
	runtime.GC()
	metrics.Read(s)
	return int64(s[0].Value.Uint64())
}
