//go:build integration

package integration

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"
)

// TestOutage stops workers under way: who alone can answer is waited for, others
// are stood in for, and what cannot be done is said so that clients try again.
func TestOutage(t *testing.T) {
	typing, directory := workerFor(t, 20012), workerFor(t, 18661)
	heidi := register(t, "heidi", "HEIDI")
	room, err := heidi.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{})
	if err != nil {
		t.Fatal(err)
	}
	impatient := frontDoor{name: "impatient", address: "127.1.0.5", admin: "127.0.0.1:9183", synapse: oneOfEachLayout + ", hold: 1s"}
	patient := frontDoor{name: "patient", address: "127.1.0.6", admin: "127.0.0.1:9184", synapse: oneOfEachLayout + ", hold: 1m"}
	impatientRoots, patientRoots := doorRoots(t, secondDoor(t, impatient)), doorRoots(t, secondDoor(t, patient))
	for _, w := range []worker{typing, directory} {
		if err := lab.synapse.halt(w.Name); err != nil {
			t.Fatal(err)
		}
	}

	heidi.client.through(impatient.address, impatientRoots)
	if _, err := heidi.SearchUserDirectory(t.Context(), "heidi", 1); err != nil {
		t.Errorf("the directory without its worker: %v", err)
	}
	wantRetryable(t, heidi, room.RoomID)

	heidi.client.through(patient.address, patientRoots)
	done := make(chan error, 1)
	go func() {
		_, err := heidi.UserTyping(t.Context(), room.RoomID, true, time.Second)
		done <- err
	}()
	time.Sleep(500 * time.Millisecond)
	for _, w := range []worker{typing, directory} {
		revived, err := lab.synapse.revive(w)
		if revived != nil {
			lab.stops = append(lab.stops, revived.stop)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		t.Errorf("typing while its writer restarts: %v\n%s", err, tail(lab.synapse.logOf(typing.Name), 10))
	}
}

// workerFor is the worker that listens on a port.
func workerFor(t *testing.T, port int) worker {
	t.Helper()
	for _, w := range lab.synapse.workers {
		if w.Port == port {
			return w
		}
	}
	t.Fatalf("no worker listens on port %d", port)
	return worker{}
}

// wantRetryable types while nobody can take it: main is not the writer and would
// answer 500, so the front door must answer itself.
func wantRetryable(t *testing.T, m *member, room id.RoomID) {
	t.Helper()
	address := m.BuildClientURL("v3", "rooms", room, "typing", m.UserID)
	start := time.Now()
	response, err := m.client.do(http.MethodPut, address, "Authorization", "Bearer "+m.AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var body struct {
		Errcode string `json:"errcode"`
	}
	err = json.NewDecoder(response.Body).Decode(&body)
	if err != nil || response.StatusCode != http.StatusServiceUnavailable || body.Errcode == "" ||
		response.Header.Get("Retry-After") == "" || response.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("typing without its writer: %s %v %+v %v", response.Status, response.Header, body, err)
	}
	if waited := time.Since(start); waited < time.Second || waited > 5*time.Second {
		t.Errorf("typing without its writer took %v, with a hold of 1s", waited)
	}
}

// TestMisrouted sends media to a worker that has none, and expects the mistake
// to be counted.
func TestMisrouted(t *testing.T) {
	door := frontDoor{name: "misrouted", address: "127.1.0.7", admin: "127.0.0.1:9185",
		synapse: oneOfEachLayout + ", workers: { media: [\"http://matrix-synapse-worker-generic-0:18111\"] }"}
	v := secondDoor(t, door)
	ivan := register(t, "ivan", "IVAN")
	ivan.client.through(door.address, doorRoots(t, v))
	if _, err := ivan.GetMediaConfig(t.Context()); err == nil {
		t.Error("a worker without media answers for it")
	}
	if counted := totalMisrouted(t, v); counted != 1 {
		t.Errorf("vestibule_misrouted_total is %v, want 1", counted)
	}
}
