package proxy

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// errStalled is a request's body of which no byte came for timeouts.stall.
var errStalled = errors.New("no byte of it came for as long as timeouts.stall allows")

// uploadError is what became of the client's body.
func uploadError(err error) error {
	if errors.Is(err, errStalled) {
		return fmt.Errorf("%w: %w", errUpload, errStalled)
	}
	return fmt.Errorf("%w: %s", errUpload, clientError(err))
}

// stallClock is the deadline of a wait that begins anew with every byte. It is
// set again only when that is worth it, and runs out after stall at the earliest,
// an eighth later at the latest.
type stallClock struct {
	stall time.Duration // 0 for a wait without end
	armed time.Time     // zero when no deadline is set
}

// wind returns the deadline to set now; false when the one that is set will do.
func (s *stallClock) wind() (deadline time.Time, ok bool) {
	if s.stall <= 0 {
		return time.Time{}, false
	}
	now := time.Now()
	if !s.armed.IsZero() && now.Sub(s.armed) < s.stall/8 {
		return time.Time{}, false
	}
	s.armed = now
	return now.Add(s.stall + s.stall/8), true
}

// ranOut says whether stall has passed since the deadline was set.
func (s *stallClock) ranOut() bool { return !s.armed.IsZero() && time.Since(s.armed) >= s.stall }

// stop ends the waits, and says whether a deadline is set that has to be removed.
func (s *stallClock) stop() (armed bool) {
	armed = !s.armed.IsZero()
	*s = stallClock{}
	return armed
}

// endless says whether a response tells of events as they happen, so that silence
// means nothing (HTML Living Standard, "Server-sent events").
func endless(h Header) bool {
	mediaType, _ := h.Get("Content-Type")
	mediaType, _, _ = strings.Cut(mediaType, ";")
	return strings.EqualFold(trimBlanks(mediaType), "text/event-stream")
}

// expect bounds the waits of Read for a byte of the response's body.
func (c *conn) expect(stall time.Duration) { c.clock = stallClock{stall: stall} }

// expectNone ends what expect began.
func (c *conn) expectNone() {
	if c.clock.stop() {
		c.setReadDeadline(time.Time{})
	}
}

// setReadDeadline does so unless the connection was cut meanwhile.
func (c *conn) setReadDeadline(t time.Time) {
	c.SetReadDeadline(t)
	if c.isCut.Load() {
		c.SetDeadline(time.Unix(1, 0))
	}
}

// cut ends every wait on the connection, those to come as well.
func (c *conn) cut() {
	c.isCut.Store(true)
	c.SetDeadline(time.Unix(1, 0))
}
