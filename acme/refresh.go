package acme

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// refreshers publish zones, one refresh for all changes made shortly after each
// other: names of one site are obtained at the same time.
type refreshers struct {
	mu    sync.Mutex // never held during a request
	zones map[string]*refresh
}

// refresh is one that gathers; err is read once done is closed.
type refresh struct {
	done chan struct{}
	err  error
}

// refresh publishes what the zone holds now. It returns once that has been asked
// for, or with the error.
func (a *ovhAccount) refresh(ctx context.Context, zone string) error {
	a.fresh.mu.Lock()
	current := a.fresh.zones[zone]
	if current == nil {
		current = &refresh{done: newDone()}
		if a.fresh.zones == nil {
			a.fresh.zones = map[string]*refresh{}
		}
		a.fresh.zones[zone] = current
		go a.refreshSoon(context.WithoutCancel(ctx), zone, current)
	}
	a.fresh.mu.Unlock()
	select {
	case <-current.done:
		return current.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// refreshSoon gathers for a moment. Who comes after that has a change this
// refresh may not hold, and gets another.
func (a *ovhAccount) refreshSoon(ctx context.Context, zone string, current *refresh) {
	time.Sleep(a.pace.gather)
	a.fresh.mu.Lock()
	delete(a.fresh.zones, zone)
	a.fresh.mu.Unlock()
	current.err = a.call(ctx, http.MethodPost, zonePath(zone, "/refresh"), nil, nil)
	close(current.done)
}
