package acme

import (
	"context"
	"sync"
	"time"
)

// memo remembers a value for a while. Callers that come while it is made share
// the making, and each leaves when its own context ends. Errors are told to those
// who wait and not remembered.
type memo[T any] struct {
	mu     sync.Mutex // never held while the value is made
	value  T
	until  time.Time
	making *making[T]
}

// making is one try at a value; the fields are read once done is closed.
type making[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// get gives the remembered value, or has it made. make also says how long its
// value holds; it is bounded by patience and not by the caller's context, for
// others may be waiting too.
func (m *memo[T]) get(ctx context.Context, patience time.Duration, make func(context.Context) (T, time.Duration, error)) (T, error) {
	m.mu.Lock()
	if time.Now().Before(m.until) {
		defer m.mu.Unlock()
		return m.value, nil
	}
	current := m.making
	if current == nil {
		current = &making[T]{done: newDone()}
		m.making = current
		go m.make(context.WithoutCancel(ctx), patience, current, make)
	}
	m.mu.Unlock()
	select {
	case <-current.done:
		return current.value, current.err
	case <-ctx.Done():
		var zero T
		return zero, ctx.Err()
	}
}

func (m *memo[T]) make(ctx context.Context, patience time.Duration, current *making[T], make func(context.Context) (T, time.Duration, error)) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var life time.Duration
	current.value, life, current.err = make(ctx)
	m.mu.Lock()
	if current.err == nil {
		m.value, m.until = current.value, time.Now().Add(life)
	}
	m.making = nil
	m.mu.Unlock()
	close(current.done)
}

// forget has the value made anew at the next get.
func (m *memo[T]) forget() {
	m.mu.Lock()
	m.until = time.Time{}
	m.mu.Unlock()
}

func newDone() chan struct{} { return make(chan struct{}) }
