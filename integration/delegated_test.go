//go:build integration

package integration

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"time"

	"vestibule/integration/mastest"
)

// delegated is hs4.test, which starts when the first test asks for it.
func delegated(t *testing.T) *homeserver {
	t.Helper()
	if lab.delegated != nil {
		return lab.delegated
	}
	h := hs4()
	lab.step("starting %s, %d processes", h.name, 1+len(h.workers))
	start := time.Now()
	if err := lab.found(h); err != nil {
		t.Fatal(err)
	}
	lab.step("it is ready after %.1fs", time.Since(start).Seconds())
	lab.delegated = h
	return h
}

// base is the URL of the homeserver's API.
func (h *homeserver) base() string { return "https://matrix." + h.name }

// knock is a request, and what is to become of it.
type knock struct {
	method, target string
	body           string
	to             string // "mas" or "synapse"; "" for nobody behind the front door
}

// knockAt sends requests to a base URL and asks of each who got it, in the logs
// of Synapse and of the stand-in for MAS.
func (h *homeserver) knockAt(t *testing.T, c *client, base string, knocks []knock, headers ...string) {
	t.Helper()
	first := len(c.sent())
	for _, k := range knocks {
		response, err := c.send(k.method, base+k.target, k.body, headers...)
		if err != nil {
			t.Fatalf("%s %s: %v", k.method, k.target, err)
		}
		response.Body.Close()
	}
	requests := c.sent()[first:]
	var wanted []string
	for i, k := range knocks {
		if k.to == "synapse" {
			wanted = append(wanted, requests[i].ID)
		}
	}
	answers, err := h.synapse.awaitAnswers(wanted)
	if err != nil {
		t.Fatal(err)
	}
	for i, k := range knocks {
		k.check(t, base, requests[i], answers[requests[i].ID], h.seenByMAS(requests[i].ID))
	}
}

func (k knock) check(t *testing.T, base string, request sent, synapse []logged, mas []mastest.Seen) {
	t.Helper()
	got := len(synapse) == 0 && len(mas) == 0
	switch k.to {
	case "synapse":
		// What a worker does not know, the main process is asked too.
		got = len(mas) == 0 && len(synapse) > 0 && !slices.ContainsFunc(synapse, func(l logged) bool {
			return l.Target != k.target || l.Method != k.method
		})
	case "mas":
		got = len(synapse) == 0 && len(mas) == 1 && mas[0].Target == masPrefix+k.target && mas[0].Method == k.method &&
			mas[0].Status == request.Status
	}
	if !got {
		t.Errorf("%s %s%s got %d: it was for %q, but Synapse logged %+v, and MAS %+v", k.method, base, k.target, request.Status, k.to, synapse, mas)
	}
	if k.to == "" && !refusal(request.Status) {
		t.Errorf("%s %s%s got %d", k.method, base, k.target, request.Status)
	}
}

// seenByMAS are the requests with a number that came to the stand-in.
func (h *homeserver) seenByMAS(number string) []mastest.Seen {
	return slices.DeleteFunc(h.mas.Seen(), func(s mastest.Seen) bool { return s.Header.Get(idHeader) != number })
}

// getJSON reads a document that must be there.
func getJSON(t *testing.T, c *client, address string) map[string]any {
	t.Helper()
	response, err := c.do(http.MethodGet, address)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	document := map[string]any{}
	if err := json.NewDecoder(response.Body).Decode(&document); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", address, response.Status, err)
	}
	return document
}
