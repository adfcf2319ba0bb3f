package proxy

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// encodedUser is a user's name as it stands in an access token.
func encodedUser(user int) string {
	return base64.RawStdEncoding.EncodeToString([]byte(fmt.Sprintf("u%d", user)))
}

// window is how much of an answer a stream takes before it has to ask for more.
const window = 64 << 10

// client2 is a client that has one connection over HTTP/2 at a time, for several
// callers.
type client2 struct {
	s *soak

	mu   sync.Mutex
	conn *conn2 // nil when there is none
}

// caller2 asks over HTTP/2, one request after another, on a connection that others
// use at the same time.
type caller2 struct{ client *client2 }

func (c *caller2) close() {}

func (c *client2) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		c.conn.end(errors.New("closed"))
		<-c.conn.ended
	}
}

// use returns the connection, or makes one.
func (c *client2) use() (*conn2, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil && c.conn.usable() {
		return c.conn, nil
	}
	if c.conn != nil {
		<-c.conn.ended
	}
	nc, err := c.s.dial("h2")
	if err != nil {
		return nil, err
	}
	nc.SetDeadline(time.Time{})
	c.conn = newConn2(c.s, nc)
	return c.conn, nil
}

// conn2 is a connection over HTTP/2.
type conn2 struct {
	s     *soak
	c     net.Conn
	ended chan struct{} // closed when nothing is read any more

	writing sync.Mutex // held while frames are written
	w       *bufio.Writer
	framer  *http2.Framer
	encoder *hpack.Encoder
	block   bytes.Buffer

	mu      sync.Mutex
	room    *sync.Cond // when there may be room to send
	streams map[uint32]*asking2
	next    uint32
	err     error // why it has ended
	left    bool  // the client closed it under requests
	window  int64 // to send, on all streams
	initial int64 // to send, on a new one
	unasked int   // bytes received that were not asked for again
}

// asking2 is a request on a connection, as a stream.
type asking2 struct {
	id     uint32
	a      *answered
	begun  chan struct{} // closed when something of the answer is there
	goOn   chan struct{} // closed when 100 has come, or an answer
	done   chan struct{} // closed when nothing more comes
	window int64
	over   bool
}

func newConn2(s *soak, nc net.Conn) *conn2 {
	c := &conn2{s: s, c: nc, ended: make(chan struct{}), w: bufio.NewWriter(nc), streams: map[uint32]*asking2{}, next: 1, window: 65535, initial: 65535}
	c.room = sync.NewCond(&c.mu)
	c.framer = http2.NewFramer(c.w, bufio.NewReader(nc))
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.framer.SetReuseFrames()
	c.encoder = hpack.NewEncoder(&c.block)
	io.WriteString(c.w, http2.ClientPreface)
	c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}, http2.Setting{ID: http2.SettingEnablePush, Val: 0})
	c.framer.WriteWindowUpdate(0, 1<<30)
	c.w.Flush()
	go c.read()
	return c
}

// usable says whether another request may begin.
func (c *conn2) usable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err == nil && c.next < 1<<30
}

// end closes the connection; all streams end with it.
func (c *conn2) end(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	for _, s := range c.streams {
		c.endStream(s, c.err)
	}
	c.room.Broadcast()
	c.mu.Unlock()
	c.c.Close()
}

// endStream ends a stream, nil for the end of a whole answer. The caller holds mu.
func (c *conn2) endStream(s *asking2, err error) {
	if s.over {
		return
	}
	s.over = true
	delete(c.streams, s.id)
	s.a.err = err
	s.a.left = s.a.left || c.left
	s.begin()
	s.mayGoOn()
	close(s.done)
	c.room.Broadcast()
}

func (s *asking2) begin() {
	select {
	case <-s.begun:
	default:
		close(s.begun)
	}
}

func (s *asking2) mayGoOn() {
	select {
	case <-s.goOn:
	default:
		close(s.goOn)
	}
}

// read takes what comes until the connection ends.
func (c *conn2) read() {
	defer close(c.ended)
	for {
		frame, err := c.framer.ReadFrame()
		if err == nil {
			err = c.take(frame)
		}
		if err != nil {
			c.end(err)
			return
		}
	}
}

func (c *conn2) take(frame http2.Frame) error {
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		return c.takeSettings(f)
	case *http2.PingFrame:
		if !f.IsAck() {
			return c.write(func() error { return c.framer.WritePing(true, f.Data) })
		}
	case *http2.GoAwayFrame:
		return fmt.Errorf("the front door goes away: %v %q", f.ErrCode, f.DebugData())
	}
	c.mu.Lock()
	s := c.streams[frame.Header().StreamID]
	ask := 0
	switch f := frame.(type) {
	case *http2.WindowUpdateFrame:
		if f.StreamID == 0 {
			c.window += int64(f.Increment)
		} else if s != nil {
			s.window += int64(f.Increment)
		}
		c.room.Broadcast()
	case *http2.RSTStreamFrame:
		if s != nil {
			c.endStream(s, fmt.Errorf("reset: %v", f.ErrCode))
		}
	case *http2.MetaHeadersFrame:
		if s != nil {
			c.takeHead(s, f)
		}
	case *http2.DataFrame:
		c.unasked += int(f.Length)
		if s != nil {
			ask = c.takeData(s, f)
		}
	}
	again := 0
	if c.unasked > 1<<20 {
		again, c.unasked = c.unasked, 0
	}
	c.mu.Unlock()
	if ask == 0 && again == 0 {
		return nil
	}
	return c.write(func() error {
		if again > 0 {
			c.framer.WriteWindowUpdate(0, uint32(again))
		}
		if ask > 0 {
			c.framer.WriteWindowUpdate(s.id, uint32(ask))
		}
		return nil
	})
}

func (c *conn2) takeSettings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	if v, ok := f.Value(http2.SettingInitialWindowSize); ok {
		c.mu.Lock()
		for _, s := range c.streams {
			s.window += int64(v) - c.initial
		}
		c.initial = int64(v)
		c.room.Broadcast()
		c.mu.Unlock()
	}
	return c.write(c.framer.WriteSettingsAck)
}

// takeHead takes a head, or the trailer. The caller holds mu.
func (c *conn2) takeHead(s *asking2, f *http2.MetaHeadersFrame) {
	h := answerHead{length: -1}
	h.status, _ = strconv.Atoi(f.PseudoValue("status"))
	trailer := f.PseudoValue("status") == ""
	for _, field := range f.RegularFields() {
		if trailer && field.Name == "x-sum" {
			s.a.trailer = field.Value
		}
		if err := h.set(field.Name, field.Value); err != nil {
			s.a.wrong("%v", err)
		}
	}
	switch {
	case trailer:
	case h.status < 200:
		s.a.interim(&h)
		if h.status == 100 {
			s.mayGoOn()
		}
	default:
		s.a.head(&h)
		s.begin()
		s.mayGoOn()
	}
	if f.StreamEnded() {
		c.finish(s)
	}
}

// takeData takes a piece of the body, and says how much more to ask for. The
// caller holds mu.
func (c *conn2) takeData(s *asking2, f *http2.DataFrame) (ask int) {
	s.a.data(f.Data())
	if f.StreamEnded() {
		c.finish(s)
	} else if s.a.plan.leaves != stallsInAnswer {
		ask = int(f.Length)
	}
	return ask
}

// finish ends a stream whose answer has ended. The caller holds mu.
func (c *conn2) finish(s *asking2) {
	if a := s.a; a.length >= 0 && a.body.got != a.length && !a.ours && !a.plan.bodyless() {
		a.wrong("a body of %d bytes where %d were declared", a.body.got, a.length)
	}
	s.a.end()
	c.endStream(s, nil)
}

// write has frames written, and sends them.
func (c *conn2) write(frames func() error) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.c.SetWriteDeadline(time.Now().Add(soakLimit))
	if err := frames(); err != nil {
		return err
	}
	return c.w.Flush()
}

// ask implements caller.
func (c *caller2) ask(p *plan) *answered {
	if !p.calm || kinds[p.kind].early {
		p.trailer = false // which may come too late: see lateTrailer
	}
	a := &answered{plan: p, length: -1}
	conn, err := c.client.use()
	if err != nil {
		a.err = fmt.Errorf("connecting: %w", err)
		return a
	}
	a.conn = "HTTP/2 " + conn.c.LocalAddr().String()
	s, err := conn.begin(a)
	if err != nil {
		if a.left = conn.wasLeft(); !a.left {
			a.err = err
		}
		return a
	}
	a.conn += " stream " + strconv.Itoa(int(s.id))
	conn.follow(s)
	return a
}

func (c *conn2) wasLeft() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.left
}

// begin sends the head of a request, with a short body that needs no room.
func (c *conn2) begin(a *answered) (*asking2, error) {
	p := a.plan
	s := &asking2{a: a, begun: make(chan struct{}), goOn: make(chan struct{}), done: make(chan struct{})}
	var failed error
	err := c.write(func() error {
		c.mu.Lock()
		if failed = c.err; failed != nil {
			c.mu.Unlock()
			return failed
		}
		s.id, s.window = c.next, c.initial
		c.next += 2
		c.streams[s.id] = s
		c.mu.Unlock()
		return c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: s.id, BlockFragment: c.head(p), EndStream: p.body < 0, EndHeaders: true})
	})
	if failed != nil {
		return nil, failed
	}
	if err != nil {
		c.end(err)
	}
	return s, nil
}

// head is the head, compressed. The caller holds writing.
func (c *conn2) head(p *plan) []byte {
	c.block.Reset()
	field := func(name, value string) { c.encoder.WriteField(hpack.HeaderField{Name: name, Value: value}) }
	separator := "?"
	if strings.Contains(p.path, "?") {
		separator = "&"
	}
	field(":method", p.method)
	field(":scheme", "https")
	field(":authority", "matrix.example.com")
	field(":path", p.path+separator+"id="+p.id)
	for _, f := range p.fields() {
		field(strings.ToLower(f.Name), f.Value)
	}
	return c.block.Bytes()
}

// follow sends the body and waits for the end, or leaves before.
func (c *conn2) follow(s *asking2) {
	p := s.a.plan
	limit := time.NewTimer(soakLimit)
	defer limit.Stop()
	if p.expect {
		select {
		case <-s.goOn:
		case <-limit.C:
		}
	}
	c.sendBody(s)
	switch p.leaves {
	case leavesBeforeHead, leavesInUpload:
		time.Sleep(p.pause)
		c.leave(s)
	case leavesInAnswer:
		select {
		case <-s.begun:
		case <-limit.C:
		}
		time.Sleep(p.pause)
		c.leave(s)
	case leavesConnection:
		time.Sleep(p.pause)
		c.mu.Lock()
		c.left = true
		c.mu.Unlock()
		c.end(errors.New("the client closed it"))
	}
	select {
	case <-s.done:
	case <-limit.C:
		c.leave(s)
		c.s.lost(s.a)
	}
}

// leave resets a stream.
func (c *conn2) leave(s *asking2) {
	c.mu.Lock()
	over := s.over
	s.a.left = s.a.left || !over
	c.endStream(s, errors.New("the client left"))
	c.mu.Unlock()
	if !over {
		c.write(func() error { return c.framer.WriteRSTStream(s.id, http2.ErrCodeCancel) })
	}
}

// sendBody sends the body, or the half of it that is to be sent, as far as there is
// room until the stream ends.
func (c *conn2) sendBody(s *asking2) {
	p := s.a.plan
	text := p.text
	half := p.leaves == leavesInUpload || p.leaves == stallsInUpload
	if half {
		text = text[:len(text)/2]
	}
	if p.body < 0 {
		return
	}
	for {
		n := c.reserve(s, len(text))
		if n < 0 {
			return
		}
		part := text[:n]
		text = text[n:]
		last := len(text) == 0 && !half && !p.trailer
		err := c.write(func() error { return c.framer.WriteData(s.id, last, part) })
		if err != nil {
			c.end(err)
			return
		}
		if len(text) == 0 {
			break
		}
	}
	if p.trailer && !half {
		if err := c.write(func() error { return c.framer.WriteHeaders(c.trailer(s)) }); err != nil {
			c.end(err)
		}
	}
}

// trailer ends the body. The caller holds writing.
func (c *conn2) trailer(s *asking2) http2.HeadersFrameParam {
	c.block.Reset()
	c.encoder.WriteField(hpack.HeaderField{Name: "x-sum", Value: s.a.plan.id})
	return http2.HeadersFrameParam{StreamID: s.id, BlockFragment: c.block.Bytes(), EndStream: true, EndHeaders: true}
}

// reserve waits for room to send up to n bytes, and returns how many there is room
// for, -1 when the stream has ended.
func (c *conn2) reserve(s *asking2, n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if s.over {
			return -1
		}
		room := min(int64(n), 16<<10, c.window, s.window)
		if room > 0 || n == 0 {
			c.window -= room
			s.window -= room
			return int(room)
		}
		c.room.Wait()
	}
}
