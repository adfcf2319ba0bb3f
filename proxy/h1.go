package proxy

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"
)

// What an h1Conn is at.
const (
	h1Fresh  = iota // its first request has not begun
	h1Idle          // between two requests
	h1Active        // there is a request, or a part of one
	h1Ending        // it takes no more
)

// h1Conn is a client's connection that speaks HTTP/1.1: one goroutine reads a request,
// has it carried and sends the answer, and then the next. Between two of them it
// holds no buffer.
type h1Conn struct {
	presence
	own    *own
	nc     net.Conn // TLS, or the socket
	socket *socket
	in     h1Input
	peer   netip.AddrPort
	state  atomic.Int32
	// draining has the connection end with the request under way.
	draining atomic.Bool
	first    bool      // no request has begun
	armed    time.Time // when the deadline between two requests was set; zero when it was not
	turn     *h1Turn   // the request under way
	watch    watched
	goneFunc func(func()) func() bool
	stopFunc func() bool
}

func newH1(o *own, nc net.Conn, s *socket) *h1Conn {
	c := &h1Conn{own: o, nc: nc, socket: s, in: h1Input{nc: nc, socket: s}, peer: peerOf(s.RemoteAddr()), first: true}
	c.goneFunc, c.stopFunc = c.afterGone, c.callOff
	c.watch.c = c
	return c
}

// peerOf is an address without what an address in the log has no use for; invalid
// for a Unix socket.
func peerOf(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

// afterGone is Request.AfterGone.
func (c *h1Conn) afterGone(f func()) (stop func() bool) {
	c.presence.afterGone(f)
	return c.stopFunc
}

// serve implements ownConn.
func (c *h1Conn) serve() {
	c.setDeadline(after(c.own.head))
	for c.wait() && c.next() {
	}
}

func (c *h1Conn) setDeadline(t time.Time) { _ = c.socket.SetReadDeadline(t) }

// wait waits for a request's first byte; false when the connection has to end.
func (c *h1Conn) wait() bool {
	waiting := c.state.Load()
	if c.in.empty() && c.in.inside {
		c.decrypt()
	}
	if waiting != h1Fresh {
		c.windIdle()
		waiting = h1Idle
		c.state.Store(waiting)
		c.socket.rest()
		if c.draining.Load() {
			return c.bye()
		}
	}
	if err := c.in.wait(); err != nil || !c.state.CompareAndSwap(waiting, h1Active) {
		return c.bye()
	}
	return c.socket.work() || c.bye()
}

// decrypt is that of its input.
func (c *h1Conn) decrypt() (ended bool) {
	c.armed = time.Time{}
	return c.in.decrypt()
}

// listen is called when a request has come whole: as long as TLS may hold something
// that is decrypted, nobody can tell from the socket whether the client leaves.
func (c *h1Conn) listen() {
	if c.in.inside && c.in.empty() && c.decrypt() {
		c.leave()
	}
}

// windIdle sets the deadline between two requests, unless the one that is set will
// do.
func (c *h1Conn) windIdle() {
	now := time.Now()
	switch {
	case c.own.idle <= 0:
		c.setDeadline(time.Time{})
	case c.armed.IsZero() || now.Sub(c.armed) > c.own.idle/8:
		c.setDeadline(now.Add(c.own.idle + c.own.idle/8))
		c.armed = now
	}
}

// bye ends a connection on which there is nothing under way.
func (c *h1Conn) bye() bool {
	_ = c.nc.Close()
	return false
}

// drain implements ownConn. A connection on which nothing has been asked yet is
// given the time to.
func (c *h1Conn) drain() {
	c.draining.Store(true)
	if c.state.Load() == h1Fresh {
		time.AfterFunc(freshGrace, func() { c.end(h1Fresh) })
	}
	c.end(h1Idle)
}

// freshGrace is how long a connection may take to its first request while the
// server stops.
const freshGrace = 5 * time.Second

// end wakes a connection that waits for a request.
func (c *h1Conn) end(waiting int32) {
	if c.state.CompareAndSwap(waiting, h1Ending) {
		c.setDeadline(time.Unix(1, 0))
	}
}

// Close implements ownConn.
func (c *h1Conn) Close() error {
	c.leave()
	watch.forget(&c.watch)
	return c.socket.Close()
}

// next carries one request; false when the connection has ended.
func (c *h1Conn) next() (again bool) {
	t := turns.Get().(*h1Turn)
	t.begin(c)
	if err := c.readHead(&t.head); err != nil {
		again = c.refuse(&t.head, err)
	} else {
		t.receive()
		watch.begin(&c.watch)
		c.own.proxy.Serve(&t.req, t)
		watch.end(&c.watch)
		again = t.finish()
	}
	c.in.free()
	c.turn = nil
	t.end()
	return again
}

// readHead reads a request's head.
//
//go:noinline
func (c *h1Conn) readHead(h *h1Head) error {
	wound := c.first // timeouts.head counts from the connection's beginning
	c.first = false
	whole := !c.in.empty() || c.socket.whole()
	for {
		done, err := h.read(c.in.peek())
		switch {
		case err != nil:
			return err
		case h.at > c.own.maxHead || !done && c.in.w-c.in.r >= c.own.maxHead:
			return errLargeHead
		case done:
			c.in.keep(h.at)
			return nil
		}
		if whole = whole && c.in.empty(); !whole && !wound {
			wound = true
			c.setDeadline(after(c.own.head))
			c.armed = time.Time{}
		}
		was := c.in.buf
		if err := c.in.more(); err != nil {
			return c.cutHead(h, err)
		}
		if was != nil && c.in.buf != was {
			h.begin() // its strings are where it was
		}
	}
}

// cutHead is what becomes of a head that does not come whole. An empty line behind the
// request before is none.
func (c *h1Conn) cutHead(h *h1Head, err error) error {
	if timedOut(err) && !c.in.empty() && (h.lined || len(c.in.peek()) > h.at) {
		return errSlowHead
	}
	return err
}

// refuse answers a head that is no request, and ends the connection.
func (c *h1Conn) refuse(h *h1Head, err error) bool {
	var r *h1Refusal
	if !errors.As(err, &r) {
		return c.bye()
	}
	c.own.log.Debug("connection", "detail", "request refused: "+r.text, "status", r.status, "client", c.own.proxy.shown(c.peer))
	if _, err := c.nc.Write(r.answer(h.bodyless)); err != nil {
		return c.bye()
	}
	return c.linger()
}

// answer is what a client gets whose head is refused. A web client shows the error
// instead of a "CORS error".
func (r *h1Refusal) answer(bodyless bool) []byte {
	body := `{"errcode":"` + r.errcode + `","error":"` + r.text + `"}`
	b := append([]byte(nil), statusLine(r.status)...)
	b = appendField(b, "Content-Type", "application/json")
	for _, f := range corsFields {
		b = appendField(b, f.Name, f.Value)
	}
	b = appendDate(b)
	b = appendField(b, "Content-Length", strconv.Itoa(len(body)))
	b = append(b, "Connection: close\r\n\r\n"...)
	if bodyless {
		return b
	}
	return append(b, body...)
}

// linger ends the connection after the last answer, so that the client gets it.
func (c *h1Conn) linger() bool {
	c.state.Store(h1Ending)
	c.in.release()
	if tc, ok := c.nc.(*tls.Conn); ok {
		_ = tc.CloseWrite()
	}
	c.socket.linger(lingerBody)
	_ = c.socket.Close()
	return false
}
