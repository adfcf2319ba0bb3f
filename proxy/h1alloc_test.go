//go:build !race && !invariants

package proxy

import "testing"

// TestH1Allocations: a request on a kept connection leaves nothing behind for the
// collector, from its first byte to the last of its answer. Over TLS, crypto/tls
// makes something for each record that is read, here and in the client.
func TestH1Allocations(t *testing.T) {
	for secure, most := range map[bool]float64{false: 0, true: 2} {
		ask := engine{name: "own", start: startServer}.kept(t, secure)
		if n := testing.AllocsPerRun(500, ask); n > most {
			t.Errorf("secure=%v: %v allocations for a request", secure, n)
		}
	}
}
