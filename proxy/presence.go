package proxy

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// presence is a client as long as it is there: the context of its requests, which
// costs nothing as long as nobody waits for it to end. The zero presence is there.
type presence struct {
	left atomic.Bool

	mu    sync.Mutex
	done  chan struct{}      // made when it is asked for
	then  func()             // of afterGone
	after map[*func()]func() // of AfterFunc
}

// Deadline implements context.Context.
func (p *presence) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value implements context.Context.
func (p *presence) Value(any) any { return nil }

// Err implements context.Context.
func (p *presence) Err() error {
	if p.left.Load() {
		return context.Canceled
	}
	return nil
}

// Done implements context.Context.
func (p *presence) Done() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done == nil {
		p.done = make(chan struct{})
		if p.left.Load() {
			close(p.done)
		}
	}
	return p.done
}

// AfterFunc has f called in a goroutine of its own when the client has left. The
// context package looks for it: contexts made of this one need no goroutine then.
func (p *presence) AfterFunc(f func()) (stop func() bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left.Load() {
		go f()
		return func() bool { return false }
	}
	if p.after == nil {
		p.after = map[*func()]func(){}
	}
	key := &f
	p.after[key] = f
	return func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		_, pending := p.after[key]
		if delete(p.after, key); len(p.after) == 0 {
			p.after = nil
		}
		return pending
	}
}

// afterGone is AfterFunc for the one who needs it most, without allocation:
// callOff is what stops it.
func (p *presence) afterGone(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left.Load() {
		go f()
		return
	}
	p.then = f
}

// callOff stops what afterGone has asked for, and says whether it could.
func (p *presence) callOff() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	pending := p.then != nil
	p.then = nil
	return pending
}

// leave notes that the client has left.
func (p *presence) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left.Swap(true) {
		return
	}
	if p.done != nil {
		close(p.done)
	}
	if p.then != nil {
		go p.then()
		p.then = nil
	}
	for _, f := range p.after {
		go f()
	}
	p.after = nil
}
