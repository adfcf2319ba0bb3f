//go:build integration

package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// siege is a door that is attacked while others use it.
type siege struct {
	t    *testing.T
	door *door
	main *place
}

// attack is what a hostile client does, and what is to become of it.
type attack struct {
	name   string
	source string // where it is described, or what bounds it
	run    func(s *siege) error
}

// What the door may take during one attack.
const (
	siegeMemory = 200              // MiB, altogether
	siegeCPU    = 30 * time.Second // of processor time
)

// patience is how long an ordinary client waits for a small answer during an
// attack.
const patience = 20 * time.Second

// settings of a door that is attacked; short, so that tests are.
const siegeSettings = "timeouts: { head: 5s, idle: 3s, stall: 2s }\n"

func newSiege(t *testing.T, engine string, files int) *siege {
	t.Helper()
	s := &siege{t: t, main: openPlace(t, "main")}
	s.door = openDoor(t, engine, fmt.Sprintf("%ssites: [ { server_name: example.com, synapse: { main: %q, hold: 1s } } ]\n", siegeSettings, s.main.url()), files)
	return s
}

// endure runs an attack. Meanwhile other clients get their answers, and afterwards
// everything is as before.
func (s *siege) endure(a attack) {
	s.t.Run(a.name, func(t *testing.T) {
		s := &siege{t: t, door: s.door, main: s.main}
		s.door.t, s.main.t = t, t
		before, cpu, start := s.door.census(), s.door.cpu(), time.Now()
		requests := s.main.state().Requests
		s.door.forgetPeak()
		leave := s.visitors()
		err := a.run(s)
		took := time.Since(start)
		visits, slowest := leave()
		_, peak := s.door.memory()
		used := s.door.cpu() - cpu
		t.Logf("%s: %v, %v of processor time, %d MiB at most, %d requests at the back end; %d visits, the slowest took %v",
			a.source, took.Round(time.Millisecond), used, peak>>10, s.main.state().Requests-requests-visits, visits, slowest.Round(time.Millisecond))
		if err != nil {
			t.Error(err)
		}
		if peak>>10 > siegeMemory || used > siegeCPU {
			t.Errorf("that is too much")
		}
		s.door.awaitCensus(before)
	})
}

// visitors use the door until leave is called, which says how often, and how long
// the slowest answer took.
func (s *siege) visitors() (leave func() (visits int, slowest time.Duration)) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var visits, slowest atomic.Int64
	clients := map[string]*http.Client{"a kept connection": s.door.visitor(false, true), "new connections": s.door.visitor(false, false), "streams": s.door.visitor(true, true)}
	for by, c := range clients {
		c.Timeout = patience
		wg.Go(func() {
			for once := true; once || ctx.Err() == nil; once = false {
				start := time.Now()
				if err := visit(c, ""); err != nil {
					s.t.Errorf("somebody who uses %s: %v", by, err)
					return
				}
				visits.Add(1)
				slowest.Store(max(slowest.Load(), int64(time.Since(start)))) // roughly
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	return func() (int, time.Duration) {
		cancel()
		wg.Wait()
		for _, c := range clients {
			c.CloseIdleConnections()
		}
		return int(visits.Load()), time.Duration(slowest.Load())
	}
}

// each does something n times, some at a time, and returns the first error.
func (s *siege) each(n int, do func(i int) error) error {
	var wg sync.WaitGroup
	failed := make(chan error, n)
	places := make(chan struct{}, 32)
	for i := range n {
		places <- struct{}{}
		wg.Go(func() {
			failed <- do(i)
			<-places
		})
	}
	wg.Wait()
	return firstOf(failed)
}

// firstOf is the first error of a channel to which nobody sends any more.
func firstOf(failed chan error) error {
	close(failed)
	for err := range failed {
		if err != nil {
			return err
		}
	}
	return nil
}

// quiet waits until nothing is under way but what visitors ask.
func (s *siege) quiet() error {
	if !within(30*time.Second, func() bool { return s.door.metric("vestibule_requests_in_flight") <= 3 }) {
		return fmt.Errorf("%v requests are still under way", s.door.metric("vestibule_requests_in_flight"))
	}
	return nil
}
