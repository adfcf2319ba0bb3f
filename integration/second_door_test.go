//go:build integration

package integration

import (
	"crypto/x509"
	"testing"
)

// secondDoor runs another front door before the same Synapse, for what would
// disturb the first. It is stopped at the end of the test.
func secondDoor(t *testing.T, door frontDoor) *vestibule {
	t.Helper()
	v, err := startVestibule(lab.vestibule.binary, lab.directory, lab.logs, door)
	if v != nil {
		t.Cleanup(func() {
			if err := v.stop(); err != nil {
				t.Error(err)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// doorRoots is the front door's own CA.
func doorRoots(t *testing.T, v *vestibule) *x509.CertPool {
	t.Helper()
	roots, err := v.roots()
	if err != nil {
		t.Fatal(err)
	}
	return roots
}

// totalMisrouted is how often a worker said that it does not know an endpoint.
func totalMisrouted(t *testing.T, v *vestibule) float64 {
	t.Helper()
	counts, err := v.sample("vestibule_misrouted_total", "class")
	if err != nil {
		t.Fatal(err)
	}
	total := 0.0
	for _, count := range counts {
		total += count
	}
	return total
}
