//go:build integration

package integration

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// The sync workers, by their tags in the access log.
const (
	firstSync  = "matrix-synapse-worker-sync-0:28211"
	secondSync = "matrix-synapse-worker-sync-1:28212"
)

// TestOpaqueTokens has two hundred users sync with tokens that tell nothing about
// them and change every few seconds. A user's syncs are all for one worker, for
// that one alone has in memory what it told the user last. So the front door must
// find out whose a token is, once. When the worker goes away its users go to the
// other, and nobody else notices; when it is back they come back.
func TestOpaqueTokens(t *testing.T) {
	h := delegated(t)
	lab.step("making 200 users")
	asked := len(h.whoamis(t))
	c := newCrowd(t, h, 200)
	lab.step("they watch")
	c.watch(t)
	c.awaitRounds(t, 5)
	homes := c.homes(t)
	h.wantWhoamis(t, asked, c)

	victim := h.worker(t, secondSync)
	lab.step("without %s", victim.Name)
	halting := time.Now()
	if err := h.synapse.halt(victim.Name); err != nil {
		t.Fatal(err)
	}
	halted := time.Now()
	c.awaitRounds(t, 2)
	lab.step("%s comes back", victim.Name)
	reviving := time.Now()
	revived, err := h.synapse.revive(victim)
	if revived != nil {
		lab.stops = append(lab.stops, revived.stop)
	}
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	c.awaitReturn(t, homes, secondSync)
	returned := time.Now()
	lab.step("its users are back after %.1fs", returned.Sub(start).Seconds())
	c.awaitRounds(t, 1)
	c.leave()

	answers := c.logged(t)
	for _, period := range []period{
		{"before the outage", time.Time{}, halting, func(home string) []string { return []string{home} }},
		{"during the outage", halted, reviving, func(string) []string { return []string{firstSync} }},
		{"while it comes back", reviving, returned, func(home string) []string { return []string{firstSync, home} }},
		{"afterwards", returned, time.Now(), func(home string) []string { return []string{home} }},
	} {
		c.checkPeriod(t, answers, homes, period)
	}
	c.checkUnmoved(t, answers, homes)
	h.wantWhoamis(t, asked, c)
}

// worker is the one with a tag.
func (h *homeserver) worker(t *testing.T, tag string) worker {
	t.Helper()
	at := slices.IndexFunc(h.workers, func(w worker) bool { return w.tag() == tag })
	if at < 0 {
		t.Fatalf("%s has no worker %s", h.name, tag)
	}
	return h.workers[at]
}

// homes is the worker of each user, which must be one, and with each worker
// somebody must be.
func (c *crowd) homes(t *testing.T) map[*onlooker]string {
	t.Helper()
	answers := c.logged(t)
	homes := map[*onlooker]string{}
	counts := map[string]int{}
	requests, strays := 0, 0
	for _, u := range c.users {
		seen := map[string]int{}
		for _, o := range u.ended() {
			requests++
			if o.status != http.StatusOK {
				t.Errorf("%s: status %d, %v", o.id, o.status, o.err)
			}
			for _, line := range answers[o.id] {
				seen[line.Process]++
			}
		}
		if len(seen) != 1 {
			if strays++; strays <= 3 {
				t.Errorf("%s was answered by %v", u.name, seen)
			}
			continue
		}
		for process := range seen {
			homes[u] = process
			counts[process]++
		}
	}
	t.Logf("%d requests; users by worker: %v", requests, counts)
	if strays > 0 {
		t.Fatalf("%d of %d users were answered by more than one process", strays, len(c.users))
	}
	if len(counts) != 2 || counts[firstSync] < len(c.users)/4 || counts[secondSync] < len(c.users)/4 {
		t.Fatalf("users by worker: %v", counts)
	}
	return homes
}

// whoamis are the times that Synapse was asked whose a token is.
func (h *homeserver) whoamis(t *testing.T) []logged {
	t.Helper()
	answers, err := h.synapse.answers()
	if err != nil {
		t.Fatal(err)
	}
	var found []logged
	for _, lines := range answers {
		for _, line := range lines {
			if strings.Contains(line.Target, "/account/whoami") {
				found = append(found, line)
			}
		}
	}
	return found
}

// wantWhoamis fails if Synapse was asked more often than there were tokens, by
// all or about any one user. It was asked before so many times, about others.
func (h *homeserver) wantWhoamis(t *testing.T, before int, c *crowd) {
	t.Helper()
	asked := h.whoamis(t) // first: meanwhile there are more tokens
	tokens := 0
	limits := map[string]int{}
	for _, u := range c.users {
		issued := u.issued()
		limits["@"+u.name+":"+h.name] = issued
		tokens += issued
	}
	byUser := map[string]int{}
	for _, line := range asked {
		byUser[line.User]++
	}
	for _, user := range slices.Sorted(maps.Keys(limits)) {
		if byUser[user] > limits[user] {
			t.Errorf("whoami for %s: %d, with %d tokens", user, byUser[user], limits[user])
		}
	}
	total := len(asked) - before
	t.Logf("%d tokens, %d whoami, %d introspections", tokens, total, h.mas.Introspections())
	if total > tokens {
		t.Errorf("%d whoami for %d tokens", total, tokens)
	}
}

// awaitReturn waits, at most ninety seconds, until the last request of everyone whose
// worker that is was answered by it.
func (c *crowd) awaitReturn(t *testing.T, homes map[*onlooker]string, process string) {
	t.Helper()
	start := time.Now()
	for {
		time.Sleep(2 * time.Second)
		answers := c.logged(t)
		away := 0
		for u, home := range homes {
			if home == process && !u.lastAnsweredBy(answers, process, start) {
				away++
			}
		}
		if away == 0 {
			return
		}
		if time.Since(start) > 90*time.Second {
			t.Fatalf("ninety seconds after %s is back, %d of its users are elsewhere", process, away)
		}
	}
}

// lastAnsweredBy says whether the process answered what the user asked for last,
// of that which began after a time and is in Synapse's log.
func (u *onlooker) lastAnsweredBy(answers map[string][]logged, process string, after time.Time) bool {
	var last attempt
	for _, o := range u.ended() {
		if o.begun.After(after) && o.begun.After(last.begun) && len(answers[o.id]) == 1 {
			last = o
		}
	}
	return last.id != "" && answers[last.id][0].Process == process
}

// period is a part of the test, and who may answer in it: what began and ended
// within.
type period struct {
	name     string
	from, to time.Time
	allowed  func(home string) []string
}

func (c *crowd) checkPeriod(t *testing.T, answers map[string][]logged, homes map[*onlooker]string, p period) {
	t.Helper()
	requests, wrong := 0, 0
	for u, home := range homes {
		allowed := []string{firstSync}
		if home != firstSync {
			allowed = p.allowed(home)
		}
		for _, o := range u.ended() {
			if o.begun.Before(p.from) || o.ended.After(p.to) {
				continue
			}
			requests++
			lines := answers[o.id]
			if o.status == http.StatusOK && len(lines) == 1 && slices.Contains(allowed, lines[0].Process) {
				continue
			}
			if wrong++; wrong <= 5 {
				t.Errorf("%s, %s, of %s: status %d, %v, by %v", p.name, o.id, home, o.status, o.err, lines)
			}
		}
	}
	t.Logf("%s: %d requests, %d of them wrong", p.name, requests, wrong)
	if requests == 0 || wrong > 0 {
		t.Errorf("%s: %d of %d requests went wrong", p.name, wrong, requests)
	}
}

// checkUnmoved looks at all requests, those across periods too: whose worker
// stayed must have noticed nothing, and the others lose at most what was under
// way when theirs ended.
func (c *crowd) checkUnmoved(t *testing.T, answers map[string][]logged, homes map[*onlooker]string) {
	t.Helper()
	lost := map[int]int{}
	for u, home := range homes {
		for _, o := range u.ended() {
			lines := answers[o.id]
			switch {
			case home == firstSync && (o.status != http.StatusOK || len(lines) != 1 || lines[0].Process != firstSync):
				t.Errorf("%s, whose worker stayed: status %d, %v, by %v", o.id, o.status, o.err, lines)
			case o.status != http.StatusOK:
				lost[o.status]++
			}
		}
	}
	t.Logf("lost with the worker, by status: %v", lost)
}
