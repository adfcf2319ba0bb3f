//go:build integration

package integration

import (
	"net/http"
	"syscall"
	"testing"
	"time"
)

// TestDrain stops a front door of its own while a client waits in a sync: the
// answer must still come, monitoring must hear of it meanwhile, and the exit
// status is 0.
func TestDrain(t *testing.T) {
	door := frontDoor{name: "draining", address: "127.1.0.3", admin: "127.0.0.1:9181"}
	v := secondDoor(t, door)
	grace := register(t, "grace", "GRACE")
	if _, err := grace.sync(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	grace.client.through(door.address, doorRoots(t, v))

	answered := make(chan error, 1)
	go func() {
		_, err := grace.sync(t.Context(), 3*time.Second)
		answered <- err
	}()
	time.Sleep(time.Second)
	if err := v.child.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := readinessAfterStop(v); status != http.StatusServiceUnavailable {
		t.Errorf("/readyz answers %d while draining", status)
	}
	if err := <-answered; err != nil {
		t.Errorf("the sync under way: %v", err)
	}
	select {
	case <-v.ended:
		if v.err != nil {
			t.Errorf("vestibule ended with %v:\n%s", v.err, tail(v.log, 20))
		}
	case <-time.After(15 * time.Second):
		t.Errorf("vestibule still runs:\n%s", tail(v.log, 20))
	}
}

// readinessAfterStop is the first answer of /readyz that is not 200, 0 when the
// connection is refused first.
func readinessAfterStop(v *vestibule) int {
	for {
		response, err := http.Get("http://" + v.admin + "/readyz")
		if err != nil {
			return 0
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return response.StatusCode
		}
		time.Sleep(10 * time.Millisecond)
	}
}
