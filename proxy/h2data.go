package proxy

// readData takes a DATA frame, piece by piece as it comes: a slow client's body must
// not wait for the end of a frame.
func (c *h2Conn) readData(f h2Frame) error {
	left, padding, padded := f.length, 0, 0
	if f.has(h2Padded) {
		if left == 0 {
			return &h2Error{code: h2FrameSizeError, why: "no length of the padding"}
		}
		b, err := c.in.next(1)
		if err != nil {
			return err
		}
		padding, padded = int(b[0]), 1
		c.in.took(1)
		if left--; padding > left {
			return &h2Error{code: h2ProtocolError, why: "more padding than there is"}
		}
		left -= padding
	}
	if err := c.admit(f, left, padding+padded); err != nil {
		if err = c.forgive(err); err != nil { // before a byte of it is stored
			return err
		}
	}
	for left > 0 {
		b, err := c.in.some(left)
		if err != nil {
			return err
		}
		c.store(f.stream, b)
		c.in.took(len(b))
		left -= len(b)
	}
	for padding > 0 {
		b, err := c.in.some(padding)
		if err != nil {
			return err
		}
		c.in.took(len(b))
		padding -= len(b)
	}
	if f.has(h2EndStream) {
		return c.endBody(f.stream, nil)
	}
	return nil
}

// admit checks a DATA frame of n bytes and so much padding before its bytes are
// read.
func (c *h2Conn) admit(f h2Frame, n, padding int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.stream == 0 || f.stream > c.seen || f.stream%2 == 0 {
		return &h2Error{code: h2ProtocolError, why: "data of no stream"}
	}
	if c.room -= int64(f.length); c.room < 0 {
		return &h2Error{code: h2FlowControlError, why: "more than the connection's window"}
	}
	s := c.streams[f.stream]
	if s == nil || s.remote || s.ended() {
		c.owe(padding)
		if s != nil && s.mayStillSend || s == nil && c.wasCut(f.stream) {
			return c.spendLocked(1) // on its way when the stream was ended
		}
		return &h2Error{f.stream, h2StreamClosed, "data after the end"}
	}
	c.owe(padding)
	s.room -= int64(n + padding)
	s.got += int64(n)
	switch {
	case s.room < 0:
		return &h2Error{f.stream, h2FlowControlError, "more than the stream's window"}
	case s.req.Length >= 0 && s.got > s.req.Length:
		return &h2Error{f.stream, h2ProtocolError, "a body longer than declared"}
	case f.has(h2EndStream):
		return nil
	}
	if s.owe(padding) {
		c.writeSoon()
	}
	if n == 0 {
		return c.spendLocked(1)
	}
	return nil
}

// store keeps a piece of a body for whoever serves the request.
func (c *h2Conn) store(stream uint32, b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[stream]
	if s == nil || s.remote || s.ended() || s.unwanted {
		c.owe(len(b))
		return
	}
	s.unread.add(b)
	s.wakeReader()
}

// endBody ends the body of a request.
func (c *h2Conn) endBody(stream uint32, trailer Header) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[stream]
	if s == nil || s.remote || s.ended() {
		return nil
	}
	if s.req.Length >= 0 && s.got != s.req.Length {
		return &h2Error{stream, h2ProtocolError, "a body shorter than declared"}
	}
	s.remote, s.trailer = true, trailer
	s.noteEnd()
	s.wakeReader()
	return nil
}

// owe notes that n bytes of the connection's window are free again. The client
// hears of it when they are many.
func (c *h2Conn) owe(n int) {
	if c.owed += n; c.owed >= h2ConnWindow/4 && !c.ended {
		c.put(appendNumberFrame(c.output(), h2WindowUpdate, 0, uint32(c.owed)))
		c.room += int64(c.owed)
		c.owed = 0
		c.writeSoon() // the client may have nothing else to wait for
	}
}
