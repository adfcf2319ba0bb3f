package proxy

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/http2/hpack"
)

const (
	// h2Streams is how many requests may be under way on a connection.
	h2Streams = 250
	// h2StreamWindow and h2ConnWindow bound what of requests' bodies is kept before
	// a back end takes it, in bytes.
	h2StreamWindow = 512 << 10
	h2ConnWindow   = 1 << 20
	// h2Silence is how long a client with requests under way may send nothing before
	// it is asked whether it is there: long polls of clients that vanished behind a
	// router would stay for hours. h2Answer is how long it has to answer.
	h2Silence = 60 * time.Second
	h2Answer  = 30 * time.Second
	// h2Farewell is how long a client has to see why its connection ends.
	h2Farewell = time.Second
)

// h2Conn is a client's connection over HTTP/2. One goroutine reads frames, one for
// each request serves it, and whoever has something to send and finds nobody
// writing writes what all of them have gathered.
type h2Conn struct {
	own    *own
	nc     net.Conn // *tls.Conn but for tests
	peer   netip.AddrPort
	serves func(*Request, Responder) // Proxy.Serve but for tests

	// Of the reading goroutine.
	in      h2Input
	dec     *hpack.Decoder
	head    h2Head
	settled bool // the client's first SETTINGS have come

	mu       sync.Mutex
	streams  map[uint32]*h2Stream // of requests being served
	active   int                  // requests being served, also those of streams that were reset
	last     uint32               // the highest stream begun
	seen     uint32               // the highest stream that the client spoke of
	cut      []uint32             // streams that were ended here first, the last few, in a ring
	cuts     int                  // how often cut was written
	room     int64                // what of the connection's window the client may still fill
	owed     int                  // bytes of bodies that were taken since the last WINDOW_UPDATE
	window   int64                // what may be sent on the connection
	initial  int64                // what may be sent on a new stream
	enc      h2Encoder            //
	out      *h2Output            // what waits to be written; nil when nothing does
	controls int                  // frames in out that no request asked for
	writing  bool                 // somebody writes
	queue    []*h2Stream          // who waits for room in out or in window, in turn
	turn     *h2Stream            // whom next chose
	moved    time.Time            // when the client last took something
	dead     bool                 // nothing can be written any more
	ended    bool                 // no request begins any more, and those under way are gone
	quiet    sync.Cond            // active or writing has changed, after ended
	budget   h2Budget             //
	greeted  bool                 // our SETTINGS are on their way
	leaving  h2Leaving            //
	idle     time.Time            // when active became 0
	heard    time.Time            // when something was last read
	asked    time.Time            // when a PING of ours went out that was not answered; zero when none did
	by       time.Time            // when what is being read must be complete; zero when nothing is
	armed    time.Time            // the deadline for reading
	timer    *time.Timer          // of leaving
	gather   func()               // writeAll, made once
	stall    time.Duration        // timeouts.stall when the connection began
	counted  *stallConn           // what is counted among the connections of clients; nil in tests
}

// h2Leaving is how far the end of a connection has come that drain began (RFC 9113,
// section 6.8).
type h2Leaving byte

const (
	h2Stays  h2Leaving = iota
	h2Warned           // the client was told to send no more requests
	h2Closes           // what it sends now is ignored
)

// h2Farewells mark the PING after whose answer no request can be on its way.
var h2Farewells, h2Asks = [8]byte{'f', 'a', 'r', 'e', 'w', 'e', 'l', 'l'}, [8]byte{'a', 'r', 'e', ' ', 'y', 'o', 'u', '?'}

func newH2(o *own, tc *tls.Conn) ownConn {
	c := newH2Conn(o, tc, o.proxy.Serve, o.proxy.stall())
	if s, ok := tc.NetConn().(*socket); ok {
		c.counted = s.stallConn
	}
	return c
}

func newH2Conn(o *own, nc net.Conn, serves func(*Request, Responder), stall time.Duration) *h2Conn {
	c := &h2Conn{own: o, nc: nc, serves: serves, room: h2ConnWindow, streams: map[uint32]*h2Stream{},
		window: 65535, initial: 65535, enc: newH2Encoder(), stall: stall}
	if a := nc.RemoteAddr(); a != nil {
		c.peer = peer(a.String())
	}
	c.in.c, c.quiet.L, c.gather = c, &c.mu, c.writeAll
	c.dec = hpack.NewDecoder(4096, c.field)
	c.dec.SetMaxStringLength(2 * o.maxHead)
	return c
}

var errH2Done = errors.New("the connection is at its end")

// serve implements ownConn.
func (c *h2Conn) serve() {
	c.mu.Lock()
	c.idle = time.Now()
	c.heard, c.moved = c.idle, c.idle
	c.budget = h2Budget{left: h2BudgetMost, at: c.idle}
	c.arm(c.idle.Add(c.own.head))
	c.mu.Unlock()
	err := c.in.preface()
	if err == nil {
		c.greet()
		err = c.read()
	}
	c.end(err)
}

// greet says what the client may send.
func (c *h2Conn) greet() {
	c.mu.Lock()
	defer c.mu.Unlock()
	settings := [...]struct {
		id    uint16
		value uint32
	}{{h2MaxStreams, h2Streams}, {h2InitialWindow, h2StreamWindow}, {h2MaxHeaderList, uint32(c.own.maxHead + h2HeadRoom)}}
	b := appendFrame(c.output(), 6*len(settings), h2Settings, 0, 0)
	for _, s := range settings {
		b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, s.id), s.value)
	}
	c.put(appendNumberFrame(b, h2WindowUpdate, 0, h2ConnWindow-65535))
	if c.greeted = true; c.leaving == h2Warned {
		c.warn()
	}
}

// read takes frames until the connection or the client's patience with the
// protocol ends.
func (c *h2Conn) read() error {
	for {
		if err := c.readFrame(); err != nil {
			if err = c.forgive(err); err != nil {
				return err
			}
		}
	}
}

// forgive ends a stream over what its client did wrong; what concerns more than a
// stream it returns.
func (c *h2Conn) forgive(err error) error {
	var wrong *h2Error
	if errors.As(err, &wrong) && wrong.stream != 0 {
		return c.refuse(wrong)
	}
	return err
}

func (c *h2Conn) readFrame() error {
	b, err := c.in.next(h2FrameHead)
	if err != nil {
		return err
	}
	f := parseFrameHead(b)
	switch {
	case f.length > h2FrameSize:
		return &h2Error{code: h2FrameSizeError, why: "a frame larger than announced"}
	case !c.settled && (f.kind != h2Settings || f.has(h2Ack)):
		return &h2Error{code: h2ProtocolError, why: "something before the settings"}
	case c.head.open && (f.kind != h2Continuation || f.stream != c.head.stream):
		return &h2Error{code: h2ProtocolError, why: "something inside a head"}
	case f.kind == h2Data:
		c.in.took(h2FrameHead)
		return c.readData(f)
	}
	if b, err = c.in.next(h2FrameHead + f.length); err != nil {
		return err
	}
	err = c.handle(f, b[h2FrameHead:h2FrameHead+f.length])
	c.in.took(h2FrameHead + f.length)
	return err
}

// handle takes a frame but DATA.
func (c *h2Conn) handle(f h2Frame, p []byte) error {
	switch f.kind {
	case h2Headers:
		return c.takeHeaders(f, p)
	case h2Continuation:
		return c.takeContinuation(f, p)
	case h2Priority:
		return c.takePriority(f, p)
	case h2Reset:
		return c.takeReset(f, p)
	case h2Settings:
		return c.takeSettings(f, p)
	case h2PushPromise:
		return &h2Error{code: h2ProtocolError, why: "a push from a client"}
	case h2Ping:
		return c.takePing(f, p)
	case h2GoAway:
		return c.takeGoAway(f, p)
	case h2WindowUpdate:
		return c.takeWindowUpdate(f, p)
	}
	return c.spend(1) // RFC 9113, section 5.5: unknown ones are ignored
}

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
	for ; len(p) > 0; p = p[6:] {
		if err := c.set(binary.BigEndian.Uint16(p), binary.BigEndian.Uint32(p[2:])); err != nil {
			return err
		}
	}
	c.settled = true
	c.put(appendFrame(c.output(), 0, h2Settings, h2Ack, 0))
	return c.control(4)
}

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
	s.owed += padding
	s.got += int64(n)
	switch {
	case s.room < 0:
		return &h2Error{f.stream, h2FlowControlError, "more than the stream's window"}
	case s.req.Length >= 0 && s.got > s.req.Length:
		return &h2Error{f.stream, h2ProtocolError, "a body longer than declared"}
	case n == 0 && !f.has(h2EndStream):
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
	s.keep(b)
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
	}
}

// refuse ends a stream over what its client did wrong.
func (c *h2Conn) refuse(wrong *h2Error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resetStream(wrong.stream, wrong.code)
	if s := c.streams[wrong.stream]; s != nil && !s.ended() {
		s.leave(wrong)
		s.remote, s.local, s.mayStillSend = true, true, true
	} else if s == nil {
		c.noteCut(wrong.stream)
	}
	return c.control(h2ResetCost)
}

// resetStream sends RST_STREAM.
func (c *h2Conn) resetStream(stream uint32, code h2Code) {
	c.put(appendNumberFrame(c.output(), h2Reset, stream, uint32(code)))
}

// noteCut remembers a stream that was ended here before its client had ended it:
// frames of it may be on their way.
func (c *h2Conn) noteCut(stream uint32) {
	if len(c.cut) < h2Cuts {
		c.cut = append(c.cut, stream)
	} else {
		c.cut[c.cuts%h2Cuts] = stream
	}
	c.cuts++
}

// h2Cuts is how many of these are remembered. A frame of an older one is answered
// with another RST_STREAM.
const h2Cuts = 64

func (c *h2Conn) wasCut(stream uint32) bool { return slices.Contains(c.cut, stream) }

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
	_ = c.nc.SetWriteDeadline(time.Now().Add(h2Farewell))
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
	if c.out != nil {
		c.out.free()
		c.out = nil
	}
	c.mu.Unlock()
	if cw, ok := c.nc.(interface{ CloseWrite() error }); ok && !dead && cw.CloseWrite() == nil {
		c.linger()
	}
	c.in.free()
}

// linger reads what the client sent before it knew: a connection that is closed with
// something unread is reset, and the client may not see why.
func (c *h2Conn) linger() {
	_ = c.nc.SetReadDeadline(time.Now().Add(h2Farewell))
	b := h2Buffers.Get().(*[h2FrameHead + h2FrameSize]byte)
	defer h2Buffers.Put(b)
	for left := h2ConnWindow; left > 0; {
		n, err := c.nc.Read(b[:])
		if left -= n; err != nil {
			return
		}
	}
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

// h2Input is what has been read of a connection. It keeps no buffer while nothing
// comes.
type h2Input struct {
	c     *h2Conn
	small [64]byte
	large *[h2FrameHead + h2FrameSize]byte // nil while small will do
	data  []byte                           // what is unread, in small or in large
	flows bool                             // there was no room for all that had come
}

// preface takes what HTTP/2 begins with.
func (in *h2Input) preface() error {
	b, err := in.next(len(h2Preface))
	if err != nil {
		return err
	}
	if string(b[:len(h2Preface)]) != h2Preface {
		return &h2Error{code: h2ProtocolError, why: "no preface"}
	}
	in.took(len(h2Preface))
	return nil
}

// next returns at least n bytes, which stay until took.
func (in *h2Input) next(n int) ([]byte, error) {
	for len(in.data) < n {
		if err := in.fill(n, len(in.data) > 0 || in.c.head.open); err != nil {
			return nil, err
		}
	}
	return in.data, nil
}

// some returns up to n bytes, as many as have come.
func (in *h2Input) some(n int) ([]byte, error) {
	for len(in.data) == 0 {
		towards := 1
		if in.flows { // as a large body does
			towards = n
		}
		if err := in.fill(towards, false); err != nil {
			return nil, err
		}
	}
	return in.data[:min(n, len(in.data))], nil
}

// took passes over n bytes.
func (in *h2Input) took(n int) {
	if in.data = in.data[n:]; len(in.data) == 0 {
		in.free()
	}
}

func (in *h2Input) free() {
	if in.large != nil {
		h2Buffers.Put(in.large)
	}
	in.large, in.data = nil, nil
}

// fill reads once, towards n bytes. midway says that the client has begun what it
// should complete soon.
func (in *h2Input) fill(n int, midway bool) error {
	switch {
	case in.large != nil:
		in.data = in.large[:copy(in.large[:], in.data)]
	case len(in.data) == 0 && n <= len(in.small):
		in.data = in.small[:0]
	case n > len(in.small) || len(in.data) == len(in.small):
		in.large = h2Buffers.Get().(*[h2FrameHead + h2FrameSize]byte)
		in.data = in.large[:copy(in.large[:], in.data)]
	default:
		in.data = in.small[:copy(in.small[:], in.data)]
	}
	for {
		in.c.waits(midway)
		read, err := in.c.nc.Read(in.data[len(in.data):cap(in.data)])
		if read > 0 {
			in.data = in.data[:len(in.data)+read]
			in.flows = len(in.data) == cap(in.data)
			in.c.hears()
			return nil
		}
		if err == nil {
			continue
		}
		if !timedOut(err) {
			return err
		}
		if err := in.c.tick(time.Now()); err != nil {
			return err
		}
	}
}

var _ io.Closer = (*h2Conn)(nil)
