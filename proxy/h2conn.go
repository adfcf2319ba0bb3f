package proxy

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
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
	// a back end takes it, in bytes. Several uploads that no back end takes must leave
	// room for whatever else a client sends on the connection.
	h2StreamWindow = 512 << 10
	h2ConnWindow   = 4 * h2StreamWindow
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
	settled bool      // the client's first SETTINGS have come
	by      time.Time // when what is being read must be complete; zero when nothing is

	mu       sync.Mutex
	streams  map[uint32]*h2Stream // of requests being served
	active   int                  // requests being served, also those of streams that were reset
	answered int                  // those of them whose streams both sides have ended
	last     uint32               // the highest stream begun
	seen     uint32               // the highest stream that the client spoke of
	cut      []uint32             // streams that were ended here first, the last few, in a ring
	cuts     int                  // how often cut was written
	room     int64                // what of the connection's window the client may still fill
	owed     int                  // bytes of bodies that were taken since the last WINDOW_UPDATE
	window   int64                // what may be sent on the connection
	initial  int64                // what may be sent on a new stream
	enc      h2Encoder            //
	out      *[]byte              // what waits to be written; nil when nothing does
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
	armed    time.Time            // the deadline for reading
	timer    *time.Timer          // of leaving
	gather   func()               // writeAll, made once
	stall    func() time.Duration // timeouts.stall
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
	c := newH2Conn(o, tc, o.proxy.Serve, o.proxy.stall)
	if s, ok := tc.NetConn().(*socket); ok {
		c.counted = s.stallConn
	}
	return c
}

func newH2Conn(o *own, nc net.Conn, serves func(*Request, Responder), stall func() time.Duration) *h2Conn {
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
	c.arm(c.settledBy(c.idle))
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
		c.by = time.Time{} // what comes next has its own time
		return c.readData(f)
	}
	if b, err = c.in.next(h2FrameHead + f.length); err != nil {
		return err
	}
	err = c.handle(f, b[h2FrameHead:h2FrameHead+f.length])
	if c.in.took(h2FrameHead + f.length); !c.head.open {
		c.by = time.Time{}
	}
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

// h2Cuts is how many of these are remembered: all may be ended at once. A frame of an
// older one is answered with another RST_STREAM.
const h2Cuts = h2Streams

func (c *h2Conn) wasCut(stream uint32) bool { return slices.Contains(c.cut, stream) }
