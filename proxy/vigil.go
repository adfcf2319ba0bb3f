package proxy

import (
	"errors"
	"sync"
	"syscall"
	"time"
)

// vigil notices that clients leave whose requests wait for an answer. Most answers
// come at once: a connection is put into the kernel's care only when its request
// has been under way for a while, so that the others cost a few instructions.
type vigil struct {
	mu       sync.Mutex
	young    watchedList // since the last round
	old      watchedList // since the round before
	timer    *time.Timer
	running  bool
	parked   map[uint64]*watched // by what the kernel calls them
	lastID   uint64
	platform vigilPlatform
}

// watch is the vigil of the process.
var watch vigil

// vigilRound is the time between two rounds: a request is watched when it has been
// under way for one to two of them.
const vigilRound = 100 * time.Millisecond

// Where a connection stands in the vigil.
const (
	watchedNot = iota
	watchedYoung
	watchedOld
	watchedParked // its client's leaving is noticed
)

// watched is a connection as the vigil sees it; all is guarded by vigil.mu.
type watched struct {
	c          *h1Conn
	prev, next *watched
	where      uint8
	armed      bool          // the kernel will say something
	deaf       bool          // to bytes that come, for some have come
	asked      chan struct{} // closed when TLS has said whether its client has ended; nil when nobody asks it
	id         uint64
	platform   watchedPlatform
}

// watchedList is a list of connections.
type watchedList struct{ first, last *watched }

func (l *watchedList) add(w *watched) {
	w.prev, w.next = l.last, nil
	if l.last != nil {
		l.last.next = w
	} else {
		l.first = w
	}
	l.last = w
}

func (l *watchedList) remove(w *watched) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		l.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		l.last = w.prev
	}
	w.prev, w.next = nil, nil
}

// begin watches a connection until end: a request is under way on it.
func (v *vigil) begin(w *watched) {
	v.mu.Lock()
	defer v.mu.Unlock()
	w.where = watchedYoung
	v.young.add(w)
	if v.running {
		return
	}
	v.running = true
	if v.timer == nil {
		v.timer = time.AfterFunc(vigilRound, v.round)
	} else {
		v.timer.Reset(vigilRound)
	}
}

// end leaves a connection alone: it may be read from again.
func (v *vigil) end(w *watched) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if asked := w.asked; asked != nil {
		v.mu.Unlock()
		<-asked
		v.mu.Lock()
	}
	v.dismiss(w)
}

// dismiss is end, for who holds mu.
func (v *vigil) dismiss(w *watched) {
	switch w.where {
	case watchedYoung:
		v.young.remove(w)
	case watchedOld:
		v.old.remove(w)
	case watchedParked:
		v.disarm(w)
	}
	w.where = watchedNot
}

// forget is for a connection that is about to be closed.
func (v *vigil) forget(w *watched) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.dismiss(w)
	if w.id != 0 {
		delete(v.parked, w.id)
		w.id = 0
	}
}

// round has those watched that have been under way since the last one.
func (v *vigil) round() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for n := 1; v.old.first != nil; n++ {
		w := v.old.first
		v.old.remove(w)
		if w.c.turn.unread() { // who reads the body sees its end
			w.where = watchedYoung
			v.young.add(w)
			continue
		}
		w.where, w.deaf = watchedParked, false
		v.park(w)
		if n%64 == 0 { // others want to begin and to end
			v.mu.Unlock()
			v.mu.Lock()
		}
	}
	for w := v.young.first; w != nil; w = w.next {
		w.where = watchedOld
	}
	v.old, v.young = v.young, watchedList{}
	if v.running = v.old.first != nil; v.running {
		v.timer.Reset(vigilRound)
	}
}

// park looks whether the client has said something already, and has the kernel say
// when it does.
func (v *vigil) park(w *watched) {
	in := &w.c.in
	w.deaf = !in.empty() || in.inside || in.socket.buffered() > 0
	if w.id == 0 {
		v.lastID++
		w.id = v.lastID
		if v.parked == nil {
			v.parked = map[uint64]*watched{}
		}
		v.parked[w.id] = w
	}
	if in.empty() && !in.inside && in.socket.farewell(in.socket.ahead()) {
		v.ask(w, false)
		return
	}
	v.arm(w)
}

// notice is told that something happened on a connection; hung, that both of its
// directions have ended.
func (v *vigil) notice(id uint64, hung bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	w := v.parked[id]
	if w == nil {
		return
	}
	if w.armed = false; w.where != watchedParked {
		return
	}
	if hung {
		v.gone(w)
		return
	}
	if w.asked != nil {
		return // it is armed again when that is known
	}
	if !w.deaf {
		var left, ask bool
		if left, w.deaf, ask = w.c.hasLeft(); left {
			v.gone(w)
			return
		}
		if ask {
			v.ask(w, true)
			return
		}
	}
	v.arm(w)
}

// ask has TLS say whether a client has ended its side; gather, when it has to be read
// from the system first. It may have to send an alert, behind an answer that the client
// does not take: nobody but the connection itself waits for that.
func (v *vigil) ask(w *watched, gather bool) {
	asked := make(chan struct{})
	w.asked = asked
	go func() {
		left := (!gather || w.c.socket.gather() == nil) && w.c.decrypt()
		v.mu.Lock()
		defer v.mu.Unlock()
		w.asked = nil
		close(asked)
		switch {
		case w.where != watchedParked:
		case left:
			v.gone(w)
		default:
			v.arm(w)
		}
	}()
}

// gone ends the requests of a client.
func (v *vigil) gone(w *watched) {
	w.where = watchedNot
	w.c.leave()
}

// hasLeft says whether a client's side of the connection has ended, with nothing
// in it that is still to be read: net/http cannot tell an end of one side from one
// of both either. ahead says that there is something, and ask, that only TLS knows
// whether that is such an end.
func (c *h1Conn) hasLeft() (left, ahead, ask bool) {
	if c.socket.raw == nil {
		return false, false, false
	}
	var b [64]byte
	var n int
	var err error
	failed := c.socket.raw.Control(func(fd uintptr) {
		n, _, err = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	switch {
	case failed != nil:
		return true, false, false
	case err != nil: // or what was noticed is over, as that of the request before
		return !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR), false, false
	case n == 0:
		return true, false, false
	}
	return false, true, c.socket.farewell(b[:n])
}

// farewell says whether b may be what TLS says when it ends: an alert, which TLS 1.3
// hides among other records of which some are as long, so that it has to be asked
// (RFC 8446, sections 5.2 and 6.1).
func (s *socket) farewell(b []byte) bool {
	const alert, data, hidden = 21, 23, 2 + 1 + 16 // its length with its type and its tag
	if !s.secure || s.record > 0 || len(b) < recordHeader {
		return false
	}
	length := int(b[3])<<8 | int(b[4])
	return b[0] == alert || b[0] == data && length == hidden && len(b) == recordHeader+length
}

// ahead is what has been read and not handed on.
func (s *socket) ahead() []byte {
	if s.buf == nil {
		return nil
	}
	return (*s.buf)[s.r:s.w]
}
