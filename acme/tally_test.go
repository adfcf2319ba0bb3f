package acme

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"
)

// Whoever starts a process over and over, or reloads it, does not make it order over
// and over: authorities allow few failures. A person who asks for it does.
func TestOrdersAcrossRestarts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	p := w.pace()
	p.spent, p.spentMax = time.Hour, time.Hour
	w.ca.refuse(403, "rejectedIdentifier", "not for you", nil)
	first := w.startWith(t, p)
	first.Manage(t.Context(), []string{host})
	reads(t, first, host, "ordering the certificate: the authority says: not for you")
	first.Close()

	second := w.startWith(t, p)
	second.Manage(t.Context(), []string{host})
	c := reads(t, second, host, "the authority says: not for you; nothing is ordered before ", "(orders that failed so far: 1)",
		"(hint: this authority does not issue for the name; once it is mended, `vestibule certificates renew matrix.example.org` does not wait)")
	if wait := time.Until(c.NextAttempt); c.State != Failed || wait < 59*time.Minute || wait > time.Hour {
		t.Errorf("%+v", c)
	}
	if err := second.Update(w.cfg); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // for the order that a reload made, if it made one
	if n := w.ca.ordered(); n != 1 {
		t.Errorf("%d orders", n)
	}
	if err := second.Renew(t.Context(), host); err != nil {
		t.Fatal(err)
	}
	if c := find(second, host); c.State != Valid || c.Error != "" || time.Until(c.NextAttempt) < time.Hour {
		t.Errorf("%+v", c)
	}
	from := second.from.(*issuer)
	if _, err := second.storage.Load(t.Context(), from.tallyKey(host)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the failure is still noted: %v", err)
	}
}

// How long nothing is ordered after orders that failed, came to no end or were given up.
func TestTally(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	p := w.pace()
	p.spent, p.spentMax = usualPace.spent, usualPace.spentMax
	m := w.startWith(t, p)
	i := m.from.(*issuer)
	waits := func(want time.Duration) {
		t.Helper()
		known, err := i.tally(t.Context(), host)
		if err != nil {
			t.Fatal(err)
		}
		if wait := max(0, time.Until(known.Until)).Round(time.Minute); wait != want || (known.mayOrder(t.Context()) == nil) != (want == 0) {
			t.Errorf("%v, want %v", wait, want)
		}
	}
	begin := func() tally {
		t.Helper()
		before, err := i.tally(t.Context(), host)
		if err == nil {
			err = i.begin(t.Context(), host, before)
		}
		if err != nil {
			t.Fatal(err)
		}
		return before
	}
	begin()
	waits(0) // a machine was switched off
	begin()
	waits(4 * time.Minute) // and again
	known, err := i.tally(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}
	if err := known.mayOrder(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "the last order came to no end; nothing is ordered before ") {
		t.Errorf("%v", err)
	}
	for _, want := range []time.Duration{16 * time.Minute, 32 * time.Minute, time.Hour, time.Hour} {
		err := i.end(t.Context(), host, begin(), newFault("", "no"))
		waits(want)
		if wait := faultOf(err).wait.Round(time.Minute); wait != want {
			t.Errorf("the keeper waits %v", wait)
		}
	}
	asked := newFault("later", "no")
	asked.wait = 2 * time.Hour
	err = i.end(t.Context(), host, begin(), asked)
	waits(2 * time.Hour)
	if known, _ := i.tally(t.Context(), host); err == nil || known.Hint != "later" {
		t.Errorf("%v %+v", err, known)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	before := begin()
	if err := i.end(ctx, host, before, ctx.Err()); err == nil {
		t.Error("no error")
	}
	if after, err := i.tally(t.Context(), host); err != nil || after != before {
		t.Errorf("%+v, want %+v: %v", after, before, err)
	}
	for _, damaged := range []string{"{", `{"orders":9,"last":"9999-01-01T00:00:00Z","until":"9999-01-02T00:00:00Z"}`} {
		if err := m.storage.Store(t.Context(), i.tallyKey(host), []byte(damaged)); err != nil {
			t.Fatal(err)
		}
		waits(0)
	}
}
