package acme

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Stats is what became of the attempts at a name since the process began.
type Stats struct {
	Name        string
	Obtained    uint64 // first certificates
	Renewed     uint64
	Failed      uint64
	LastSuccess time.Time // zero: never
	LastFailure time.Time // zero: never
}

// ledger keeps the Stats, and how far attempts have come. The zero value is empty.
type ledger struct {
	mu        sync.Mutex
	stats     map[string]*Stats
	steps     map[string]string
	listeners map[*func(name, step string)]struct{}
}

// of is the entry of a name. The caller holds l.mu.
func (l *ledger) of(name string) *Stats {
	if l.stats == nil {
		l.stats = map[string]*Stats{}
	}
	if l.stats[name] == nil {
		l.stats[name] = &Stats{Name: name}
	}
	return l.stats[name]
}

func (l *ledger) obtained(name string, renewal bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.of(name)
	s.LastSuccess = time.Now()
	if renewal {
		s.Renewed++
	} else {
		s.Obtained++
	}
}

func (l *ledger) failed(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.of(name)
	s.LastFailure = time.Now()
	s.Failed++
}

// step notes how far the attempt at a name has come, "" when it is over, and tells
// who listens.
func (l *ledger) step(name, step string) {
	l.mu.Lock()
	if l.steps == nil {
		l.steps = map[string]string{}
	}
	l.steps[name] = step
	listeners := slices.Collect(maps.Keys(l.listeners))
	l.mu.Unlock()
	if step == "" {
		return
	}
	for _, listener := range listeners {
		(*listener)(name, step)
	}
}

func (l *ledger) stepOf(name string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.steps[name]
}

// listen calls f with every step until stop is called, and never again once stop has
// returned: a step that was under way might come later.
func (l *ledger) listen(f func(name, step string)) (stop func()) {
	var mu sync.Mutex
	over := false
	listener := func(name, step string) {
		mu.Lock()
		defer mu.Unlock()
		if !over {
			f(name, step)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listeners == nil {
		l.listeners = map[*func(name, step string)]struct{}{}
	}
	l.listeners[&listener] = struct{}{}
	return func() {
		l.mu.Lock()
		delete(l.listeners, &listener)
		l.mu.Unlock()
		mu.Lock()
		over = true
		mu.Unlock()
	}
}

// Stats lists the names that anything was tried for, sorted.
func (m *Manager) Stats() []Stats {
	m.ledger.mu.Lock()
	defer m.ledger.mu.Unlock()
	list := make([]Stats, 0, len(m.ledger.stats))
	for _, s := range m.ledger.stats {
		list = append(list, *s)
	}
	slices.SortFunc(list, func(a, b Stats) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// progress tells how far an attempt has come, to the log and to Certificates.
func (m *Manager) progress(name string) func(string) {
	return func(step string) {
		m.ledger.step(name, step)
		m.log.Info("certificate under way", "name", name, "step", step)
	}
}
