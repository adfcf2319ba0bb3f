package proxy

import (
	"net"
	"sync"
)

// intake is the listeners of a front end, until it accepts no more.
type intake struct {
	mu        sync.Mutex
	open      []net.Listener
	over      bool
	accepting sync.WaitGroup
}

// begin counts a listener until end; false when nothing is accepted any more, and
// it is closed.
func (a *intake) begin(l net.Listener) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		l.Close()
		return false
	}
	a.open = append(a.open, l)
	a.accepting.Add(1)
	return true
}

func (a *intake) end() { a.accepting.Done() }

// refuse accepts no more connections.
func (a *intake) refuse() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	for _, l := range a.open {
		l.Close()
	}
}

// refused says whether refuse was called.
func (a *intake) refused() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.over
}

// wait waits until whoever was accepted last is counted among the connections.
func (a *intake) wait() { a.accepting.Wait() }
