package proxy

import (
	"sync"
	"sync/atomic"
	"time"
)

// cooldown is how long an address to which no connection could be made is passed
// over while there is another: at least this, and twice as long as finding it out
// took, since a machine that is gone costs each try a timeout.
const cooldown = time.Second

// redial is how soon after a failed dial the next one is made. Requests that wait
// for a process to come back share the attempts, however many they are.
const redial = 25 * time.Millisecond

// slowReturn is how long a process that was away takes to get back all that is
// its own. Its caches are empty, and everybody at once would keep it busy with
// filling them.
const slowReturn = 10 * time.Second

// briefAbsence is an absence after which a process returns at once.
const briefAbsence = time.Second

// mayStart is how long a process that was never there is not missed: all may be
// starting together.
const mayStart = 30 * time.Second

// An address is ejected when so many exchanges in a row have failed, for a time
// that doubles with each ejection up to a bound, and when so many probes have. Those
// that fail together count as one: a process that ends takes hundreds with it.
const (
	failuresToEject  = 5
	failuresApart    = 50 * time.Millisecond
	firstEjection    = 10 * time.Second
	longestEjection  = 2 * time.Minute
	probesToBeUnwell = 3
)

// health is what is known of a process from dials, exchanges and probes. What
// every request asks for is kept apart from the lock.
type health struct {
	blocked  atomic.Int64 // the moment until which it is passed over; 0 is not
	returned atomic.Int64 // the moment it came back after an absence; 0 is never
	failures atomic.Int32 // exchanges in a row

	mu        sync.Mutex
	known     bool // somebody listened, at some time
	refusing  bool // the last dial failed
	told      bool // which was news
	unwell    bool // so did the last probes
	since     time.Time
	err       error // the last failure
	refusal   error // of the last dial that failed
	failedAt  time.Time
	retryAt   time.Time // when a dial may succeed again
	probes    int       // failed probes in a row
	counted   time.Time // the last failure of an exchange
	ejections int
	ejected   time.Time // until when
}

// moment is a time that can be stored at once, in nanoseconds. It goes by the
// monotonic clock: the other one may be set back by an hour.
func moment(t time.Time) int64 { return int64(t.Sub(beginning)) }

var beginning = time.Now()

// ready says whether nothing speaks against a request.
func (h *health) ready(now time.Time) bool {
	until := h.blocked.Load()
	return until == 0 || moment(now) >= until
}

// takes is ready for a part of all keys, which grows from none to all while the
// process returns. A key is in from some moment on, and stays.
func (h *health) takes(now time.Time, key uint32) bool {
	if !h.ready(now) {
		return false
	}
	returned := h.returned.Load()
	if returned == 0 {
		return true
	}
	part := float64(moment(now)-returned) / float64(slowReturn)
	return part >= 1 || part*(1<<32) > float64(key)
}

// recent is the failure of a dial that was made less than wait ago, nil when another
// should be made.
func (h *health) recent(now time.Time, wait time.Duration) error {
	if h.blocked.Load() == 0 {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refusing && now.Sub(h.failedAt) < wait {
		return h.refusal
	}
	return nil
}

// refused notes that a dial failed, and how long that took. It says whether that
// is news: not while a process that was never there may still be starting.
func (h *health) refused(err error, took time.Duration, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.begin(now)
	h.refusing, h.err, h.refusal, h.failedAt = true, err, err, now
	h.retryAt = now.Add(max(cooldown, 2*took))
	h.block(now)
	news := !h.told && (h.known || now.Sub(h.since) >= mayStart)
	h.told = h.told || news
	return news
}

// reached notes that a dial succeeded, and says whether that is news. Who listens
// again is another process, whatever the one before did.
func (h *health) reached(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	again, news := h.refusing, h.told
	if h.refusing, h.known, h.told = false, true, false; again {
		if h.ejected.After(now) {
			h.returned.Store(0)
		}
		h.ejected, h.ejections = time.Time{}, 0
		h.failures.Store(0)
	}
	h.end(now, again)
	return news
}

// answered notes that an exchange ended as it should.
func (h *health) answered() {
	if h.failures.Load() != 0 {
		h.failures.Store(0)
	}
}

// failed notes that an exchange got no proper answer, and says whether the
// process is ejected for it.
func (h *health) failed(err error, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now.Before(h.ejected) || now.Sub(h.counted) < failuresApart {
		return false
	}
	h.counted = now
	if h.failures.Add(1) < failuresToEject {
		return false
	}
	h.failures.Store(0)
	h.err = err
	h.ejected = now.Add(min(firstEjection<<min(h.ejections, 8), longestEjection))
	h.ejections++
	h.returned.Store(moment(h.ejected))
	h.block(now)
	return true
}

// probed notes what came of a probe that reached somebody, and says whether the
// process became unwell by it, or well again.
func (h *health) probed(err error, now time.Time) (news bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known = true
	if err == nil {
		news, h.unwell, h.probes = h.unwell, false, 0
		if now.After(h.ejected.Add(longestEjection)) {
			h.ejections = 0
		}
		h.end(now, news)
		return news
	}
	if h.probes++; h.probes < probesToBeUnwell {
		return false
	}
	h.begin(now)
	news, h.unwell, h.err = !h.unwell, true, err
	h.block(now)
	return news
}

// begin remembers since when the process is away, if it was not.
func (h *health) begin(now time.Time) {
	if !h.refusing && !h.unwell {
		h.since = now
	}
}

// end lets a process return that has nothing against it any more.
func (h *health) end(now time.Time, changed bool) {
	if changed && !h.refusing && !h.unwell && now.Sub(h.since) > briefAbsence {
		h.returned.Store(moment(now))
	}
	h.block(now)
}

// block computes until when the process is passed over.
func (h *health) block(now time.Time) {
	var until time.Time
	if h.refusing {
		until = h.retryAt
	}
	if h.unwell { // until a probe succeeds, or none was made for some time
		if at := now.Add(3 * probeEvery); at.After(until) {
			until = at
		}
	}
	if h.ejected.After(until) && h.ejected.After(now) {
		until = h.ejected
	}
	if until.IsZero() {
		h.blocked.Store(0)
		return
	}
	h.blocked.Store(moment(until))
}

// away is since when nobody has listened, and why; false when somebody does.
func (h *health) away() (since time.Time, err error, away bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.since, h.refusal, h.refusing
}

// word is "up", "down" or, before anything was seen, "unknown"; with why it is
// down.
func (h *health) word(now time.Time) (word, why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.refusing || h.unwell || h.ejected.After(now):
		if h.err != nil {
			why = h.err.Error()
		}
		return "down", why
	case h.known:
		return "up", ""
	}
	return "unknown", ""
}
