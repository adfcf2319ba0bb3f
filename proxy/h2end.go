package proxy

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"time"
)

// drain implements ownConn. The client hears of it in two steps, so that no request
// which it has sent before it knew is lost (RFC 9113, section 6.8).
func (c *h2Conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leaving != h2Stays || c.ended {
		return
	}
	if c.leaving = h2Warned; c.greeted {
		c.warn()
	}
}

// warn begins the first step.
func (c *h2Conn) warn() {
	c.goAway(h2MostWindow, h2NoError)
	c.put(append(appendFrame(c.output(), 8, h2Ping, 0, 0), h2Farewells[:]...))
	c.writeSoon()
	c.timer = time.AfterFunc(h2Farewell, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.leaving == h2Warned {
			c.close()
			c.writeSoon()
		}
	})
}

// close begins the end: no stream is begun from now on.
func (c *h2Conn) close() {
	c.leaving = h2Closes
	if !c.ended {
		c.goAway(c.last, h2NoError)
	}
	if c.active == 0 {
		c.arm(time.Unix(1, 0)) // wakes the reader
	}
}

func (c *h2Conn) goAway(last uint32, code h2Code) {
	b := binary.BigEndian.AppendUint32(appendFrame(c.output(), 8, h2GoAway, 0, 0), last)
	c.put(binary.BigEndian.AppendUint32(b, uint32(code)))
}

// end ends what is under way and, if there is somebody to hear it, says why.
func (c *h2Conn) end(err error) {
	c.mu.Lock()
	c.ended = true
	if c.timer != nil {
		c.timer.Stop()
	}
	var wrong *h2Error
	said := errors.As(err, &wrong)
	switch {
	case said:
		c.goAway(c.last, wrong.code)
	case !errors.Is(err, errH2Done):
		c.die()
	}
	for _, s := range c.streams {
		s.leave(errH2Gone)
	}
	if !errors.Is(err, errH2Done) { // the last answers may still be on their way
		_ = c.nc.SetWriteDeadline(time.Now().Add(h2Farewell))
	}
	for c.active > 0 || c.writing || c.out != nil && !c.dead {
		if c.writing || c.out == nil || c.dead {
			c.quiet.Wait()
			continue
		}
		c.writing = true
		c.writeRound()
		c.writing = false
	}
	dead := c.dead
	answered := errors.Is(err, errH2Done) && time.Since(c.idle) < c.stall() // or the client took the answer, or is gone
	if c.out != nil {
		h2Outputs.takeBack(c.out)
		c.out = nil
	}
	c.mu.Unlock()
	if cw, ok := c.nc.(interface{ CloseWrite() error }); ok && !dead {
		if err := cw.CloseWrite(); err == nil || answered && timedOut(err) {
			c.linger(answered)
		}
	}
	c.in.free()
}

// linger reads what the client sent before it knew: a connection that is closed with
// something unread is reset, and the client may not see why. Nor does a reset leave it
// the rest of its last answer, so that with one it has as long as it takes of that.
func (c *h2Conn) linger(answered bool) {
	b := h2Buffers.lend()
	defer h2Buffers.takeBack(b)
	moved, unsent := time.Now(), c.unsent()
	until := moved.Add(h2Farewell)
	for left := h2ConnWindow; left > 0; {
		_ = c.nc.SetReadDeadline(until)
		n, err := c.nc.Read(*b)
		if left -= n; err == nil {
			continue
		}
		now := time.Now()
		if n := c.unsent(); n < unsent {
			moved, unsent = now, n
		}
		limit := h2Farewell
		if unsent > 0 {
			limit = c.stall()
		}
		if !timedOut(err) || !answered || now.Sub(moved) >= limit {
			return
		}
		until = now.Add(h2Farewell)
	}
}

// unsent is how many bytes the client's system has not taken.
func (c *h2Conn) unsent() int {
	if c.counted == nil {
		return 0
	}
	return c.counted.unsent()
}

// die notes that nothing can be sent any more.
func (c *h2Conn) die() {
	if !c.dead {
		c.dead = true
		c.abandon()
	}
}

// abandon closes the socket, which ends every Read and Write.
func (c *h2Conn) abandon() {
	if tc, ok := c.nc.(*tls.Conn); ok {
		tc.NetConn().Close()
		return
	}
	c.nc.Close()
}

// Close implements ownConn.
func (c *h2Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.die()
	return nil
}
