package proxy

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

var errTest = errors.New("test")

// TestRefusedHealth: an address that refuses is passed over for a moment, or
// until it is reached; the news is told once.
func TestRefusedHealth(t *testing.T) {
	var h health
	now := time.Now()
	if !h.ready(now) || h.recent(now, redial) != nil {
		t.Error("nothing is known, and it is passed over")
	}
	if h.refused(errTest, 0, now) {
		t.Error("that a process was never there is news")
	}
	if h.ready(now.Add(cooldown-1)) || !h.ready(now.Add(cooldown)) {
		t.Error("it is passed over for another time than the cooldown")
	}
	if h.recent(now.Add(redial-1), redial) == nil || h.recent(now.Add(redial), redial) != nil {
		t.Error("attempts are not shared for as long as they should be")
	}
	if h.reached(now.Add(time.Second)) || !h.ready(now) {
		t.Error("it has started, which is no news")
	}
	if !h.refused(errTest, 3*time.Second, now) || h.refused(errTest, 3*time.Second, now) {
		t.Error("it is away, which is told once")
	}
	if h.ready(now.Add(6*time.Second-1)) || !h.ready(now.Add(6*time.Second)) {
		t.Error("a dial that took long is repeated too soon")
	}
	if !h.reached(now.Add(time.Minute)) || h.reached(now.Add(time.Minute)) || !h.ready(now) {
		t.Error("it is back, which is told once")
	}
}

// TestNeverThere: a process that does not start is told of after a while, once.
func TestNeverThere(t *testing.T) {
	var h health
	now := time.Now()
	if h.refused(errTest, 0, now) || h.refused(errTest, 0, now.Add(mayStart-1)) {
		t.Error("it is missed too early")
	}
	if !h.refused(errTest, 0, now.Add(mayStart)) || h.refused(errTest, 0, now.Add(mayStart+1)) {
		t.Error("it is missed not once")
	}
	if !h.reached(now.Add(time.Minute)) {
		t.Error("that it is there at last is no news")
	}
}

// TestSlowReturn: after an absence the keys come back one after the other, and
// each stays. After a brief one, all are there at once.
func TestSlowReturn(t *testing.T) {
	var h health
	now := time.Now()
	h.refused(errTest, 0, now)
	h.reached(now.Add(briefAbsence))
	if !h.takes(now.Add(briefAbsence), 1<<32-1) {
		t.Error("after a brief absence some keys stay away")
	}
	now = now.Add(time.Minute)
	h.refused(errTest, 0, now)
	back := now.Add(2 * briefAbsence)
	h.reached(back)
	keys := make([]uint32, 1000)
	for i := range keys {
		keys[i] = rand.Uint32()
	}
	in := make([]bool, len(keys))
	for part := time.Duration(0); part <= 10; part++ {
		at, count := back.Add(part*slowReturn/10), 0
		for i, key := range keys {
			takes := h.takes(at, key)
			if in[i] && !takes {
				t.Fatalf("key %d is taken and given back", key)
			}
			if in[i] = takes; takes {
				count++
			}
		}
		if want := int(part) * len(keys) / 10; count < want-60 || count > want+60 {
			t.Errorf("after %d tenths %d of %d keys are back", part, count, len(keys))
		}
		if !h.ready(at) {
			t.Error("it is not ready while it returns")
		}
	}
}

// TestEjection: failures in a row eject, for longer each time; one success in
// between, and nothing happens.
func TestEjection(t *testing.T) {
	var h health
	now := time.Now()
	for range 20 {
		if h.failed(errTest, now) {
			t.Fatal("ejected although others succeeded")
		}
		h.answered()
	}
	fail := func() time.Duration {
		t.Helper()
		for i := 1; i < failuresToEject; i++ {
			now = now.Add(failuresApart)
			for range 100 { // together
				if h.failed(errTest, now) {
					t.Fatalf("ejected after %d failures", i)
				}
			}
		}
		now = now.Add(failuresApart)
		if !h.failed(errTest, now) || h.ready(now) {
			t.Fatal("not ejected")
		}
		for d := time.Second; ; d += time.Second {
			if h.ready(now.Add(d)) {
				now = now.Add(d)
				return d
			}
		}
	}
	if first, second := fail(), fail(); first != firstEjection || second != 2*firstEjection {
		t.Errorf("ejected for %s, then for %s", first, second)
	}
	if word, why := h.word(now.Add(-1)); word != "down" || why != errTest.Error() {
		t.Errorf("%s: %s", word, why)
	}
	for range 40 {
		fail()
	}
	if longest := fail(); longest != longestEjection {
		t.Errorf("in the end ejected for %s", longest)
	}
	later := now.Add(2*longestEjection + 1)
	h.probed(nil, later)
	now = later
	if again := fail(); again != firstEjection {
		t.Errorf("after a good time ejected for %s", again)
	}
	now = now.Add(-time.Second)
	h.refused(errTest, 0, now)
	h.reached(now)
	if !h.takes(now, 1<<32-1) {
		t.Error("a process is ejected, or kept from its keys, for what the one before it did")
	}
}

// TestUnwell: probes that fail, and they alone, are forgiven by one that
// succeeds. A process that is busy for a moment is not sent away.
func TestUnwell(t *testing.T) {
	var h health
	now := time.Now()
	for i := 1; i < probesToBeUnwell; i++ {
		if h.probed(errTest, now) || !h.ready(now) {
			t.Fatalf("unwell after %d probes", i)
		}
	}
	if !h.probed(errTest, now) || h.ready(now) || h.probed(errTest, now) {
		t.Error("not unwell, or told twice")
	}
	if h.reached(now) || h.ready(now) {
		t.Error("well because it accepts connections")
	}
	if !h.probed(nil, now.Add(time.Minute)) || !h.ready(now) || h.takes(now.Add(time.Minute), 1<<31) {
		t.Error("well again: not ready, or everybody at once")
	}
}
