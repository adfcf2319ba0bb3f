package proxy

import (
	"encoding/binary"
)

func (c *h2Conn) takePriority(f h2Frame, p []byte) error {
	switch {
	case f.stream == 0:
		return &h2Error{code: h2ProtocolError, why: "a priority of no stream"}
	case len(p) != 5:
		return &h2Error{f.stream, h2FrameSizeError, "a priority of a wrong size"}
	case binary.BigEndian.Uint32(p)&^(1<<31) == f.stream:
		return &h2Error{f.stream, h2ProtocolError, "a stream that depends on itself"}
	}
	return c.spend(1)
}

func (c *h2Conn) takeReset(f h2Frame, p []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case f.stream == 0 || f.stream > c.seen || f.stream%2 == 0:
		return &h2Error{code: h2ProtocolError, why: "a reset of no stream"}
	case len(p) != 4:
		return &h2Error{code: h2FrameSizeError, why: "a reset of a wrong size"}
	}
	if s := c.streams[f.stream]; s != nil && !s.ended() {
		s.leave(errH2Reset)
		s.remote, s.local = true, true
		return c.spendLocked(h2ResetCost)
	}
	return c.spendLocked(1)
}

func (c *h2Conn) takeSettings(f h2Frame, p []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case f.stream != 0:
		return &h2Error{code: h2ProtocolError, why: "settings of a stream"}
	case f.has(h2Ack) && len(p) != 0, len(p)%6 != 0:
		return &h2Error{code: h2FrameSizeError, why: "settings of a wrong size"}
	case f.has(h2Ack):
		return c.spendLocked(1)
	}
	if len(p) > 6*h2SettingsMost {
		return &h2Error{code: h2EnhanceYourCalm, why: "more settings than there are"}
	}
	for ; len(p) > 0; p = p[6:] {
		if err := c.set(binary.BigEndian.Uint16(p), binary.BigEndian.Uint32(p[2:])); err != nil {
			return err
		}
	}
	c.settled = true
	c.put(appendFrame(c.output(), 0, h2Settings, h2Ack, 0))
	return c.control(4)
}

// h2SettingsMost is how many settings a frame may hold: each may touch every stream.
// Seven have a meaning, and clients add one that has none.
const h2SettingsMost = 32

// set takes one setting.
func (c *h2Conn) set(id uint16, value uint32) error {
	switch id {
	case h2TableSize:
		c.enc.limit(value)
	case h2EnablePush:
		if value > 1 {
			return &h2Error{code: h2ProtocolError, why: "a setting that is neither yes nor no"}
		}
	case h2MaxFrame:
		if value < 16<<10 || value > 1<<24-1 {
			return &h2Error{code: h2ProtocolError, why: "a size of frames that is none"}
		}
	case h2InitialWindow:
		if value > h2MostWindow {
			return &h2Error{code: h2FlowControlError, why: "a window that is too large"}
		}
		more := int64(value) - c.initial
		c.initial = int64(value)
		for _, s := range c.streams {
			if s.window += more; s.window > h2MostWindow {
				return &h2Error{code: h2FlowControlError, why: "a window that is too large"}
			}
			s.wakeWriter()
		}
	}
	return nil
}

// h2MostWindow bounds a window (RFC 9113, section 6.9.1).
const h2MostWindow = 1<<31 - 1

func (c *h2Conn) takePing(f h2Frame, p []byte) error {
	switch {
	case f.stream != 0:
		return &h2Error{code: h2ProtocolError, why: "a ping of a stream"}
	case len(p) != 8:
		return &h2Error{code: h2FrameSizeError, why: "a ping of a wrong size"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.has(h2Ack) {
		if [8]byte(p) == h2Farewells && c.leaving == h2Warned {
			c.close()
		}
		return c.spendLocked(1)
	}
	c.put(append(appendFrame(c.output(), 8, h2Ping, h2Ack, 0), p...))
	return c.control(1)
}

func (c *h2Conn) takeGoAway(f h2Frame, p []byte) error {
	switch {
	case f.stream != 0:
		return &h2Error{code: h2ProtocolError, why: "a farewell of a stream"}
	case len(p) < 8:
		return &h2Error{code: h2FrameSizeError, why: "a farewell of a wrong size"}
	}
	return c.spend(10) // it will close the connection itself
}

func (c *h2Conn) takeWindowUpdate(f h2Frame, p []byte) error {
	if len(p) != 4 {
		return &h2Error{code: h2FrameSizeError, why: "a window of a wrong size"}
	}
	more := int64(binary.BigEndian.Uint32(p) &^ (1 << 31))
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.stream == 0 {
		if c.window += more; more == 0 || c.window > h2MostWindow {
			return &h2Error{0, windowFault(more), "a window that is none"}
		}
		c.moved = c.heard
		c.next()
		return c.spendLocked(1)
	}
	s := c.streams[f.stream]
	switch {
	case f.stream > c.seen || f.stream%2 == 0:
		return &h2Error{code: h2ProtocolError, why: "a window of no stream"}
	case s == nil || s.ended():
		return c.spendLocked(1) // it may have been on its way (RFC 9113, section 5.1)
	}
	if s.window += more; more == 0 || s.window > h2MostWindow {
		return &h2Error{f.stream, windowFault(more), "a window that is none"}
	}
	s.wakeWriter()
	return c.spendLocked(1)
}

func windowFault(more int64) h2Code {
	if more == 0 {
		return h2ProtocolError
	}
	return h2FlowControlError
}
