//go:build integration

package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"maunium.net/go/mautrix"
)

// TestKillEachWorker ends each worker in turn, and starts it again, while users do
// all that workers are for. Those behind a front door that waits notice nothing.
// Those behind one that does not are answered by whoever can, and where nobody can
// they are told to try again.
func TestKillEachWorker(t *testing.T) {
	patient := frontDoor{name: "waits", address: "127.1.0.20", admin: "127.0.0.1:9190", synapse: oneOfEachLayout + ", hold: 1m"}
	impatient := frontDoor{name: "waits-not", address: "127.1.0.21", admin: "127.0.0.1:9191", synapse: oneOfEachLayout + ", hold: 300ms"}
	waiting, hurried := newHousehold(t, "rose", secondDoor(t, patient), patient), newHousehold(t, "max", secondDoor(t, impatient), impatient)
	for _, w := range lab.synapse.workers {
		if w.Port == 0 {
			continue // no request comes to it
		}
		t.Run(w.Name, func(t *testing.T) { killUnderLoad(t, w, waiting, hurried) })
	}
	for _, h := range []*household{waiting, hurried} {
		h.checkProcesses(t)
	}
}

// killUnderLoad ends a worker, and starts it again, while two households are busy.
func killUnderLoad(t *testing.T, w worker, waiting, hurried *household) {
	ctx, stop := context.WithCancel(t.Context())
	var busy sync.WaitGroup
	for _, h := range []*household{waiting, hurried} {
		h.begin(w)
		for _, c := range h.chores {
			busy.Go(func() { h.keepDoing(ctx, c) })
		}
	}
	time.Sleep(time.Second)
	if err := lab.synapse.halt(w.Name); err != nil {
		t.Error(err)
	}
	time.Sleep(2 * time.Second)
	revived, err := lab.synapse.revive(w)
	if revived != nil {
		lab.stops = append(lab.stops, revived.stop)
	}
	if err != nil {
		t.Error(err)
	}
	time.Sleep(time.Second)
	stop()
	busy.Wait()
	waiting.check(t, func(c *chore, a answer) bool { return a.status == http.StatusOK })
	hurried.check(t, func(c *chore, a answer) bool {
		return a.status == http.StatusOK || c.worker == w.tag() && c.alone && a.status == http.StatusServiceUnavailable && a.errcode != "" && a.retry
	})
	if hurried.refused.Load() == 0 && slices.ContainsFunc(hurried.chores, func(c *chore) bool { return c.alone && c.worker == w.tag() }) {
		t.Error("nobody was told that the worker is down: it was not noticed that it was")
	}
}

// chore is a request that one of the workers is for.
type chore struct {
	worker string // its tag
	alone  bool   // nobody else can do it
	method string
	path   func(n int) string // below /_matrix/client
	body   string             // "" for none
}

// household is a user who does all chores through a front door.
type household struct {
	*member
	name    string
	chores  []*chore
	refused atomic.Int64 // answers 503, since begin

	mu      sync.Mutex
	answers []answer // since begin
	doers   map[string]*chore
}

// answer is what came of a chore.
type answer struct {
	chore   *chore
	status  int
	errcode string
	retry   bool // it says when to try again
	err     error
	took    time.Duration
}

func newHousehold(t *testing.T, name string, v *vestibule, door frontDoor) *household {
	h := &household{member: register(t, name, "HOME"), name: name, doers: map[string]*chore{}}
	room, err := h.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{})
	if err != nil {
		t.Fatal(err)
	}
	sent, err := h.SendText(t.Context(), room.RoomID, "dinner is at eight")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.sync(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	h.client.through(door.address, doorRoots(t, v))
	at := func(port int) string { return workerFor(t, port).tag() }
	add := func(port int, alone bool, method, path, body string) {
		h.chores = append(h.chores, &chore{at(port), alone, method, func(n int) string {
			return strings.NewReplacer("ROOM", room.RoomID.String(), "USER", h.UserID.String(), "EVENT", sent.EventID.String(),
				"SINCE", h.since, "N", fmt.Sprint(n)).Replace(path)
		}, body})
	}
	add(18111, false, "GET", "/v3/joined_rooms", "")
	add(18111, false, "GET", "/v3/sync?timeout=700&since=SINCE", "")
	add(18111, false, "PUT", "/v3/rooms/ROOM/send/m.room.message/kill-N", `{"msgtype":"m.text","body":"hello"}`)
	add(18111, false, "POST", "/unstable/org.matrix.simplified_msc3575/sync?timeout=500", `{"conn_id":"kill","lists":{}}`)
	add(18111, false, "POST", "/v3/keys/query", `{"device_keys":{}}`)
	add(20012, true, "PUT", "/v3/rooms/ROOM/typing/USER", `{"typing":true,"timeout":1000}`)
	add(20013, true, "PUT", "/v3/sendToDevice/m.dummy/kill-N", `{"messages":{}}`)
	add(20014, false, "GET", "/v3/user/USER/account_data/m.push_rules", "")
	add(20014, false, "PUT", "/v3/user/USER/account_data/test.kill", `{"n":1}`)
	add(20015, true, "POST", "/v3/rooms/ROOM/receipt/m.read/EVENT", `{}`)
	add(20016, false, "GET", "/v3/presence/USER/status", "")
	add(20017, false, "GET", "/v3/pushrules/global/", "")
	add(20017, true, "PUT", "/v3/pushrules/global/content/kill", `{"pattern":"kill","actions":["notify"]}`)
	add(20018, false, "GET", "/v3/devices", "")
	add(20018, false, "POST", "/v3/keys/upload", `{}`)
	add(18551, true, "GET", "/v1/media/config", "")
	add(18661, false, "POST", "/v3/user_directory/search", `{"search_term":"rose"}`)
	return h
}

// begin forgets what was before a worker is killed.
func (h *household) begin(worker) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answers = nil
	h.refused.Store(0)
}

// keepDoing does a chore over and over until ctx ends. One that is under way then
// is finished.
func (h *household) keepDoing(ctx context.Context, c *chore) {
	for n := 0; ctx.Err() == nil; n++ {
		a := h.do(c, int(time.Now().UnixNano())+n)
		if a.status == http.StatusServiceUnavailable {
			h.refused.Add(1)
		}
		h.mu.Lock()
		h.answers = append(h.answers, a)
		h.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(250 * time.Millisecond):
		}
	}
}

func (h *household) do(c *chore, n int) (a answer) {
	a.chore = c
	start := time.Now()
	defer func() { a.took = time.Since(start) }()
	request, err := http.NewRequest(c.method, baseURL+"/_matrix/client"+c.path(n), bytes.NewReader([]byte(c.body)))
	if err != nil {
		return answer{chore: c, err: err}
	}
	request.Header.Set("Authorization", "Bearer "+h.AccessToken)
	response, err := h.client.Do(request)
	if err != nil {
		a.err = err
		return a
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	var body struct {
		Errcode string `json:"errcode"`
	}
	if response.StatusCode != http.StatusOK {
		err = json.Unmarshal(text, &body)
	}
	a.status, a.errcode, a.retry, a.err = response.StatusCode, body.Errcode, response.Header.Get("Retry-After") != "", err
	return a
}

// check asks of each answer whether it may be.
func (h *household) check(t *testing.T, may func(*chore, answer) bool) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	counts := map[int]int{}
	var longest time.Duration
	for _, a := range h.answers {
		counts[a.status]++
		longest = max(longest, a.took)
		if a.err != nil || !may(a.chore, a) {
			t.Errorf("%s: %s %s: %d %q %v, after %v", h.name, a.chore.method, a.chore.path(0), a.status, a.errcode, a.err, a.took)
		}
	}
	t.Logf("%s: %d answers %v, the slowest after %v", h.name, len(h.answers), counts, longest.Round(time.Millisecond))
}

// checkProcesses asks Synapse's logs whether what one process alone can do came to
// another.
func (h *household) checkProcesses(t *testing.T) {
	t.Helper()
	answers, err := lab.synapse.answers()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, request := range h.client.sent() {
		for _, c := range h.chores {
			path, _, _ := strings.Cut(c.path(0), "kill-")
			if !c.alone || c.method != request.Method || !strings.HasPrefix(request.URL, baseURL+"/_matrix/client"+path) {
				continue
			}
			for _, a := range answers[request.ID] {
				seen++
				if a.Process != c.worker {
					t.Errorf("%s: %s %s, which only %s can do, came to %s and got %s", h.name, request.Method, request.URL, c.worker, a.Process, a.Status)
				}
			}
		}
	}
	t.Logf("%s: %d requests that one process alone can answer came to no other", h.name, seen)
}
