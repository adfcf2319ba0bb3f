//go:build invariants

package proxy

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// violation is what a test's onViolation panics with.
type violation string

// expectViolation runs something that breaks an invariant. These tests cannot run
// in parallel with others, which would end the process.
func expectViolation(t *testing.T, want string, do func()) {
	t.Helper()
	t.Run(want, func(t *testing.T) {
		was := onViolation
		onViolation = func(text string) { panic(violation(text)) }
		defer func() {
			onViolation = was
			text, ok := recover().(violation)
			if !ok || !strings.Contains(string(text), want) {
				t.Errorf("got %q, want %q", text, want)
			}
		}()
		do()
	})
}

// exchanged is a connection that has carried these bytes for an exchange.
func exchanged(t *testing.T, sent, received string) *conn {
	t.Helper()
	c, server := pipeConn(t)
	c.SetDeadline(time.Time{})
	c.watchBegun(&exchange{})
	go func() {
		io.CopyN(io.Discard, server, int64(len(sent)))
		io.WriteString(server, received)
	}()
	if sent != "" { // or a pipe waits for ever
		if _, err := io.WriteString(c, sent); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.CopyN(io.Discard, c, int64(len(received))); err != nil {
		t.Fatal(err)
	}
	return c
}

const get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

func TestConnectionInvariants(t *testing.T) {
	whole := func() *conn { return exchanged(t, get, ok2) }
	expectViolation(t, "a connection goes back that is idle", func() {
		c := whole()
		c.at.give(c)
		c.at.give(c)
	})
	expectViolation(t, "a connection goes back that is closed", func() {
		c := whole()
		c.close()
		c.at.give(c)
	})
	expectViolation(t, "a connection is taken that is held", func() {
		c := whole()
		c.at.idle = append(c.at.idle, c)
		c.at.pop()
	})
	expectViolation(t, "somebody reads on a connection that is idle", func() {
		c := whole()
		c.at.give(c)
		c.watchRead(nil)
	})
	expectViolation(t, "somebody writes on a connection that is idle", func() {
		c := whole()
		c.at.give(c)
		c.Write([]byte("x"))
	})
	expectViolation(t, "somebody begins an exchange on a connection that is idle", func() {
		c := whole()
		c.at.give(c)
		c.watchBegun(&exchange{})
	})
	expectViolation(t, "is closed twice", func() {
		c := whole()
		c.close()
		c.closed = false
		c.close()
	})
	expectViolation(t, "a connection goes back that is cut", func() {
		c := whole()
		c.cut()
		c.at.give(c)
	})
	expectViolation(t, "a deadline, for reading (true)", func() {
		c := whole()
		c.setReadDeadline(time.Now().Add(time.Hour))
		c.at.give(c)
	})
	expectViolation(t, "or writing (true)", func() {
		c := whole()
		c.SetWriteDeadline(time.Now().Add(time.Hour))
		c.at.give(c)
	})
	expectViolation(t, "a clock that runs (true)", func() {
		c := whole()
		c.expect(time.Hour)
		c.at.give(c)
	})
	expectViolation(t, "bytes in its buffer", func() {
		c, server := pipeConn(t)
		go io.WriteString(server, "xx")
		c.r.Read(make([]byte, 1))
		c.at.give(c)
	})
	expectViolation(t, "begins on a connection with 1 bytes", func() {
		c, server := pipeConn(t)
		go io.WriteString(server, "xx")
		c.r.Read(make([]byte, 1))
		c.watchBegun(&exchange{})
	})
}

// TestExchangeInvariants: a second reading of what went over a connection agrees
// with the table of ends.
func TestExchangeInvariants(t *testing.T) {
	request := func(e *exchangeEnd) string {
		method := cmp.Or(e.method, "GET")
		if e.body == "" {
			return method + " / HTTP/1.1\r\nHost: x\r\n\r\n"
		}
		return fmt.Sprintf("%s / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", method, len(e.body), e.body)
	}
	for _, e := range ordinary {
		if err := wholeExchange(&transcript{text: []byte(request(&e))}, &transcript{text: []byte(e.answer)}); err != nil {
			t.Errorf("%s: %v", e.name, err)
		}
	}
	for _, e := range odd {
		if e.lateEnd || e.body == endlessly {
			continue // which is nothing that was read
		}
		expectViolation(t, "whose exchange did not end", func() {
			c := exchanged(t, request(&e), e.answer+e.late)
			c.at.give(c)
		})
	}
	for _, sent := range []string{"", get[:len(get)-2], get + "x", "PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab", "PUT / HTTP/1.1\r\nContent-Length: 1\r\n\r\nab",
		"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n", "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nx"} {
		expectViolation(t, "the request", func() {
			c := exchanged(t, sent, ok2)
			c.at.give(c)
		})
	}
}

func TestCounterInvariants(t *testing.T) {
	counted := func(inflight, open, upstream int64) func() {
		return func() {
			c := exchanged(t, get, ok2)
			c.at.inflight.Store(inflight)
			c.at.up.busy.Store(1)
			c.at.open.Store(open)
			c.at.up.open.Store(upstream)
			c.at.release(c, false)
		}
	}
	expectViolation(t, "requests under way: -1 are counted", counted(0, 1, 1))
	expectViolation(t, "connections to an address: -1 are counted", counted(1, 0, 1))
	expectViolation(t, "connections to an upstream: -1 are counted", counted(1, 1, 0))
	expectViolation(t, "requests that are stood in for: -1 are counted", func() {
		x := &exchange{standsIn: &pool{standIns: new(atomic.Int64)}}
		x.standDown()
	})
	expectViolation(t, "requests that passed a turnstile: -1 are counted", func() { new(turnstile).leave() })
}

// begun is an exchange whose answer goes nowhere.
func begun(method string) (*exchange, Responder) {
	x := &exchange{req: &Request{Method: method}}
	return x, x.watchBegun(discard{})
}

func TestAnswerInvariants(t *testing.T) {
	for want, do := range map[string]func(w Responder){
		"a head, with its head sent: true":                  func(w Responder) { w.Head(200, nil, 0); w.Head(200, nil, 0) },
		"a head, with its head sent: false":                 func(w Responder) { w.Head(103, nil, 0) },
		"an interim answer, with its head sent: true":       func(w Responder) { w.Head(200, nil, 0); w.Inform(103, nil) },
		"an interim answer, with its head sent: false":      func(w Responder) { w.Inform(200, nil) },
		"4 bytes of a body, with its head sent: false":      func(w Responder) { w.Write([]byte("body")) },
		"1 bytes of a body, with its head sent: true":       func(w Responder) { w.Head(200, nil, 4); w.Write([]byte("body")); w.Write([]byte("y")) },
		"2 bytes of a body, with its head sent: true":       func(w Responder) { w.Head(204, nil, -1); w.Write([]byte("bo")) },
		"3 bytes of a body, with its head sent: true":       func(w Responder) { w.Head(200, nil, 3); w.Abort(); w.Write([]byte("bod")) },
		"a flush, with its head sent: false":                func(w Responder) { w.Flush() },
		"a trailer, with its head sent: true":               func(w Responder) { w.Head(200, nil, 0); w.Trailer(nil) },
		"an upgrade, with its head sent: true":              func(w Responder) { w.Head(200, nil, 0); w.Switch(nil) },
		"its end, with its head sent: false":                func(w Responder) { w.(*watchedResponder).end() },
		"its end, with its head sent: true":                 func(w Responder) { w.Head(200, nil, 4); w.Write([]byte("bod")); w.(*watchedResponder).end() },
		"an abort, with its head sent: true, its end: true": func(w Responder) { w.Head(200, nil, 0); w.(*watchedResponder).end(); w.Abort() },
	} {
		expectViolation(t, want, func() {
			_, w := begun("GET")
			do(w)
		})
	}
	expectViolation(t, "of a body", func() {
		_, w := begun("HEAD")
		w.Head(200, nil, 4)
		w.Write([]byte("body"))
	})
}

func TestUseInvariants(t *testing.T) {
	expectViolation(t, "given out again", func() { x, _ := begun("GET"); x.watchBegun(discard{}) })
	expectViolation(t, "goes back twice", func() {
		x, w := begun("GET")
		w.Abort()
		x.watchEnded()
		x.watch.w = w.(*watchedResponder)
		x.watch.w.ended = false
		x.watchEnded()
	})
	expectViolation(t, "in use: true, carries a body over a connection that is held, last by exchange 7", func() {
		x, _ := begun("GET")
		c, _ := pipeConn(t)
		c.watch.holder.Store(7)
		x.watchHolds(c)
	})
	expectViolation(t, "in use: false, carries a body", func() { c, _ := pipeConn(t); new(exchange).watchHolds(c) })
	expectViolation(t, "the body of a request is read after it went back", func() {
		c := new(carried)
		c.watchLent()
		c.watchReturned()
		c.req.Body.Read(nil)
	})
	expectViolation(t, "a request goes back twice", func() { new(carried).watchReturned() })
	expectViolation(t, "a request is given out again", func() { c := new(carried); c.watchLent(); c.watchLent() })
	expectViolation(t, "a buffer goes back twice", func() {
		b := copyBuffers.lend()
		watchReturned(b)
		watchReturned(b)
	})
	expectViolation(t, "a buffer is lent twice", func() { b := new([]byte); watchLent(b); watchLent(b) })
	expectViolation(t, "a buffer was written to after it went back", func() {
		b := newBuffers(0, 10).lend()
		watchReturned(b)
		copy((*b)[:cap(*b)], "late")
		watchLent(b)
	})
}

// discard is a Responder whose client does not care.
type discard struct{ Responder }

func (discard) Inform(int, Header)            {}
func (discard) Head(int, Header, int64)       {}
func (discard) Write(p []byte) (int, error)   { return len(p), nil }
func (discard) Flush() error                  { return nil }
func (discard) Trailer(Header)                {}
func (discard) Abort()                        {}
func (discard) Switch(Header) (Tunnel, error) { return nil, nil }
