package proxy

import (
	"sync/atomic"
	"time"
)

// events is an answer that tells of events as they happen, for as long as somebody
// listens.
type events struct {
	c   *conn
	why atomic.Pointer[string] // it was left; nil as long as it was not
}

// tell counts the answer that comes over c among the streams until it is removed
// from them.
func (x *exchange) tell(c *conn) *stream {
	e := &events{c: c}
	st := x.asStream(e.leave, c.cut)
	x.events = e
	if !x.join(st) {
		e.leave(time.Time{}, whyStopping)
	}
	return st
}

// left is why the answer was left, "" when it was not.
func (e *events) left() string {
	if e == nil {
		return ""
	}
	if why := e.why.Load(); why != nil {
		return *why
	}
	return ""
}

// leave implements stream.
func (e *events) leave(_ time.Time, why string) {
	e.why.Store(&why)
	e.c.cut()
}
