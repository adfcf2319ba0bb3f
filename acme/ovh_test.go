package acme

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"vestibule/acme/ovhtest"
)

func (w *world) account(t *testing.T) *ovhAccount {
	return w.start(t).settings().entries[0].dns.account
}

// Changes made together share a refresh; one made later gets its own.
func TestSharedRefresh(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	a := w.account(t)
	var tasks sync.WaitGroup
	for range 20 {
		tasks.Go(func() {
			if err := a.refresh(t.Context(), "example.org"); err != nil {
				t.Error(err)
			}
		})
	}
	tasks.Wait()
	if n := len(w.ovh.CallsTo("POST", "/refresh")); n != 1 {
		t.Errorf("%d refreshes", n)
	}
	if err := a.refresh(t.Context(), "example.org"); err != nil || len(w.ovh.CallsTo("POST", "/refresh")) != 2 {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := a.refresh(ctx, "example.org"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

// A call that hangs holds up no other, and ends with its context.
func TestHang(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	a := w.account(t)
	w.ovh.Fault(ovhtest.Fault{Path: "/domain/zone/example.org", Delay: ovhtest.Forever, Times: ovhtest.Forever})
	var tasks sync.WaitGroup
	for range 5 {
		tasks.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			began := time.Now()
			err := a.call(ctx, http.MethodGet, "/domain/zone/example.org", nil, nil)
			if took := time.Since(began); err == nil || took > time.Second {
				t.Errorf("%v after %v", err, took)
			}
		})
	}
	if _, err := a.listZones(t.Context()); err != nil {
		t.Error(err)
	}
	tasks.Wait()
}

// The clock may hang too: libdns/ovh would wait three minutes.
func TestClockHangs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	a := w.account(t)
	w.ovh.Fault(ovhtest.Fault{Path: "/auth/time", Delay: ovhtest.Forever, Times: ovhtest.Forever})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := a.listZones(ctx); err == nil || time.Since(began) > time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

func TestRetryAfter(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "-1": 0, "120": 2 * time.Minute, "soon": 0, "99999999999": 7 * 24 * time.Hour,
		"Mon, 02 Jan 2006 15:04:05 GMT": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {value}}); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
	later := time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)
	if got := retryAfter(http.Header{"Retry-After": {later}}); got < 59*time.Minute || got > time.Hour {
		t.Errorf("%v", got)
	}
}

func TestRules(t *testing.T) {
	wanted := ovhRule{"POST", "/domain/zone/example.org/record"}
	for rule, covers := range map[ovhRule]bool{
		{"POST", "/domain/zone/example.org/record"}:   true,
		{"*", "/domain/zone/example.org/record"}:      true,
		{"POST", "/*"}:                                true,
		{"POST", "/domain/zone/*"}:                    true,
		{"GET", "/domain/zone/*"}:                     false,
		{"POST", "/domain/zone/example.org/record/*"}: false,
		{"POST", "/domain/zone/example.org"}:          false,
		{"POST", "/domain/zone/example.com/record"}:   false,
	} {
		if rule.grants(wanted) != covers {
			t.Errorf("%v: %v", rule, !covers)
		}
	}
}

// A memo shares one making, tells errors to those who wait, and forgets them.
func TestMemo(t *testing.T) {
	t.Parallel()
	var m memo[int]
	made := 0
	failing := errors.New("no")
	get := func(err error) (int, error) {
		return m.get(t.Context(), time.Second, func(context.Context) (int, time.Duration, error) {
			made++
			return made, time.Hour, err
		})
	}
	if _, err := get(failing); !errors.Is(err, failing) {
		t.Errorf("%v", err)
	}
	if value, err := get(nil); err != nil || value != 2 {
		t.Errorf("%d %v", value, err)
	}
	if value, err := get(failing); err != nil || value != 2 {
		t.Errorf("%d %v", value, err)
	}
	m.forget()
	if value, err := get(nil); err != nil || value != 3 {
		t.Errorf("%d %v", value, err)
	}
}
