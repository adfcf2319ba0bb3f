package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// h2Stream is a request over HTTP/2, and the Responder for it. Its memory is used
// again.
type h2Stream struct {
	c      *h2Conn
	id     uint32
	run    func() // serve, made once
	req    Request
	header Header

	// Of the goroutine that serves it.
	headed   bool  // Head was called
	aborted  bool  //
	tooLarge bool  // its head was larger than limits.head
	left     int64 // of the answer's declared length; -1 when none was
	after    Header

	// Guarded by c.mu.
	expects      bool  // the client waits for 100 before it sends its body
	remote       bool  // nothing of the client's is to come
	local        bool  // nothing of ours is
	mayStillSend bool  // it was ended here, and the client may not know yet
	unwanted     bool  // nobody reads its body any more
	window       int64 // what may be sent
	room         int64 // what the client may still send
	owed         int   // bytes of its body that were taken since the last WINDOW_UPDATE
	got          int64 // bytes of its body that came
	unread       h2Unread
	trailer      Header
	gone         error // why nobody waits for the answer any more
	afterGone    func()
	done         chan struct{} // of its context; nil until somebody asks
	readable     h2Wait
	writable     h2Wait
	sendsData    bool // what writable waits for
	queued       bool // in c.queue
	answered     bool // counted in c.answered
}

var (
	errH2Reset    = errors.New("the client reset its stream")
	errH2Gone     = errors.New("the client's connection has ended")
	errH2Ended    = errors.New("the stream has ended")
	errH2Longer   = errors.New("the answer is longer than declared")
	errH2Unwanted = errors.New("the body is not read any more")
)

// h2StreamPool keeps their memory, and the functions that each has.
var h2StreamPool sync.Pool

func newH2Stream(c *h2Conn, id uint32) *h2Stream {
	s, _ := h2StreamPool.Get().(*h2Stream)
	if s == nil {
		s = new(h2Stream)
		stay := s.stay
		s.run, s.req.Trailer, s.req.StopBody = s.serve, s.requestTrailer, s.stopBody
		s.req.AfterGone = func(f func()) func() bool { s.watch(f); return stay }
	}
	s.c, s.id, s.left = c, id, -1
	s.req.Length = -1
	return s
}

// begin is called when the head is whole; end says that there is no body.
func (s *h2Stream) begin(end bool) {
	r := &s.req
	r.Context, r.Entrypoint, r.Proto, r.Header = (*h2Context)(s), s.c.own.entrypoint, "HTTP/2.0", s.header
	r.Peer, r.Secure = s.c.peer, s.c.own.tls != nil
	if end {
		r.Length = 0
	} else {
		r.Body = (*h2Body)(s)
	}
	s.window, s.room, s.remote = s.c.initial, h2StreamWindow, end
}

// free gives the memory back. What somebody may still hold is left alone.
func (s *h2Stream) free() {
	if s.done != nil {
		return
	}
	clear(s.header)
	r := &s.req
	*s = h2Stream{run: s.run, header: s.header[:0], unread: h2Unread{pieces: s.unread.pieces},
		req: Request{Trailer: r.Trailer, StopBody: r.StopBody, AfterGone: r.AfterGone}}
	h2StreamPool.Put(s)
}

// ended says whether nothing more is to come from either side.
func (s *h2Stream) ended() bool { return s.local && s.remote }

// noteEnd is called when one side has ended its part. Once both have, the stream does
// not count any more among those that a client may have open (RFC 9113, section 5.1.2),
// though whoever serves it has still to find that out. One that was reset does.
func (s *h2Stream) noteEnd() {
	if s.ended() {
		s.answered = true
		s.c.answered++
	}
}

// serve carries the request, in a goroutine of its own.
func (s *h2Stream) serve() {
	defer func() {
		p := recover()
		if p != nil {
			s.c.own.log.Error("connection", slog.String("detail", fmt.Sprintf("http2: panic serving %v: %v\n%s", s.c.own.proxy.shown(s.c.peer), p, debug.Stack())))
			s.aborted = true
		}
		if s.finish(); p == nil {
			s.free()
		}
	}()
	if s.tooLarge {
		s.refuse()
		return
	}
	s.c.serves(&s.req, s)
}

// refuse answers what was not read whole.
func (s *h2Stream) refuse() {
	s.stopBody()
	x := exchange{req: &s.req}
	a := x.refusal(http.StatusRequestHeaderFieldsTooLarge, "M_TOO_LARGE", "The head of this request is larger than the server accepts.")
	s.Head(a.Status, a.Header, int64(len(a.Body)))
	if s.req.Method != http.MethodHead {
		_, _ = s.Write(a.Body)
	}
}

// finish ends the stream when the request has been served.
func (s *h2Stream) finish() {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case s.local:
	case s.aborted || !s.headed || s.left > 0:
		c.resetStream(s.id, h2InternalError)
		if !s.remote {
			c.noteCut(s.id)
		}
		s.remote = true
	case s.after != nil:
		c.appendHead(s.id, 0, s.after, -1, true)
	default:
		c.put(appendFrame(c.output(), 0, h2Data, h2EndStream, s.id))
	}
	if s.local = true; !s.remote { // the answer came early (RFC 9113, section 8.1)
		c.resetStream(s.id, h2NoError)
		c.noteCut(s.id)
	}
	if s.mayStillSend {
		c.noteCut(s.id)
	}
	if s.gone == nil {
		c.budget.earn(h2AnswerEarns)
	}
	s.forgetBody()
	s.afterGone = nil
	delete(c.streams, s.id)
	if s.answered {
		c.answered--
	}
	if c.active--; c.active == 0 {
		c.rest()
	}
	c.push()
	if c.ended {
		c.quiet.Signal()
	}
}

// rest begins the time that a connection may be idle.
func (c *h2Conn) rest() {
	c.idle = time.Now()
	if c.counted != nil {
		c.counted.rest()
	}
	if until := c.idle.Add(c.own.idle); c.leaving == h2Closes || c.own.idle > 0 && until.Add(c.own.idle/8).Before(c.armed) {
		c.arm(until)
	}
}

// leave notes that nobody waits for the answer any more.
func (s *h2Stream) leave(why error) {
	if s.gone != nil {
		return
	}
	s.gone = why
	if f := s.afterGone; f != nil {
		s.afterGone = nil
		go f()
	}
	if s.done != nil {
		close(s.done)
	}
	s.wakeReader()
	s.wakeWriter()
}

func (s *h2Stream) wakeReader() { s.readable.wake() }
func (s *h2Stream) wakeWriter() { s.writable.wake() }

// watch is Request.AfterGone.
func (s *h2Stream) watch(f func()) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.gone != nil {
		go f()
		return
	}
	s.afterGone = f
}

// stay calls off what watch began.
func (s *h2Stream) stay() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	pending := s.afterGone != nil
	s.afterGone = nil
	return pending
}

// h2Context is the context of a request: it ends when the client is gone.
type h2Context h2Stream

// Deadline implements context.Context.
func (x *h2Context) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value implements context.Context.
func (x *h2Context) Value(any) any { return nil }

// Err implements context.Context.
func (x *h2Context) Err() error {
	x.c.mu.Lock()
	defer x.c.mu.Unlock()
	if x.gone != nil {
		return context.Canceled
	}
	return nil
}

// Done implements context.Context.
func (x *h2Context) Done() <-chan struct{} {
	x.c.mu.Lock()
	defer x.c.mu.Unlock()
	if x.done == nil {
		x.done = make(chan struct{})
		if x.gone != nil {
			close(x.done)
		}
	}
	return x.done
}

// h2Body is the body of a request.
type h2Body h2Stream

// Read implements io.Reader.
func (b *h2Body) Read(p []byte) (int, error) {
	s := (*h2Stream)(b)
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.expects && s.got == 0 && !s.remote && !s.headed {
		c.appendHead(s.id, http.StatusContinue, nil, -1, false)
		c.push()
	}
	s.expects = false
	for {
		switch {
		case s.unwanted:
			return 0, errH2Unwanted
		case s.gone != nil:
			return 0, s.gone
		case s.unread.size > 0:
			return s.take(p), nil
		case s.remote:
			return 0, io.EOF
		case !c.wait(&s.readable, c.stall()):
			return 0, errStalled
		}
	}
}

// take gives out a part of the body, and the client room for more of it.
func (s *h2Stream) take(p []byte) int {
	n := s.unread.take(p)
	s.c.owe(n)
	if s.owe(n) {
		s.c.push()
	}
	return n
}

// owe notes that n bytes of the stream's window are free again, and says whether
// there is something to write: the client hears of it when they are many.
func (s *h2Stream) owe(n int) bool {
	if s.owed += n; s.owed < h2StreamWindow/4 || s.remote {
		return false
	}
	s.c.put(appendNumberFrame(s.c.output(), h2WindowUpdate, s.id, uint32(s.owed)))
	s.room += int64(s.owed)
	s.owed = 0
	return true
}

// stopBody is Request.StopBody.
func (s *h2Stream) stopBody() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.unwanted = true
	s.forgetBody()
	s.wakeReader()
}

// forgetBody throws away what nobody will read, and gives the client room for others.
func (s *h2Stream) forgetBody() {
	s.c.owe(s.unread.size)
	s.unread.forget()
}

// requestTrailer is Request.Trailer.
func (s *h2Stream) requestTrailer() Header {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.trailer
}

// Inform implements Responder.
func (s *h2Stream) Inform(status int, h Header) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.awaitRoom(false) == nil {
		c.appendHead(s.id, status, h, -1, false)
		c.push()
	}
}

// Head implements Responder.
func (s *h2Stream) Head(status int, h Header, length int64) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	s.headed = true
	if s.awaitRoom(false) != nil {
		s.aborted = true // nothing may follow a head that was not sent
		return
	}
	none := s.req.Method == http.MethodHead || status == http.StatusNoContent || status == http.StatusNotModified
	declared := length
	if status == http.StatusNoContent || status == http.StatusNotModified {
		// A 304 may tell the length of what it has not sent (RFC 9110, section 8.6),
		// but Go's client waits for it over HTTP/2.
		declared = -1
	}
	s.local = none || length == 0
	if s.left = length; none {
		s.left = 0
	}
	c.appendHead(s.id, status, h, declared, s.local)
	s.noteEnd()
}

// Write implements Responder.
func (s *h2Stream) Write(p []byte) (n int, err error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(p) > 0 {
		if s.aborted {
			return n, errH2Ended
		}
		if s.left == 0 {
			return n, errH2Longer
		}
		if err := s.awaitRoom(true); err != nil {
			return n, err
		}
		m := int(min(int64(len(p)), s.window, c.window, h2FrameSize))
		var flags byte
		if s.left >= 0 {
			m = int(min(int64(m), s.left))
			if s.left -= int64(m); s.left == 0 {
				flags, s.local = h2EndStream, true
				s.noteEnd()
			}
		}
		c.put(append(appendFrame(c.output(), m, h2Data, flags, s.id), p[:m]...))
		s.window -= int64(m)
		c.window -= int64(m)
		c.budget.earnBytes(m)
		n, p = n+m, p[m:]
		c.next()
	}
	return n, nil
}

// Flush implements Responder.
func (s *h2Stream) Flush() error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.c.push()
	return s.gone
}

// Trailer implements Responder.
func (s *h2Stream) Trailer(h Header) { s.after = h }

// Abort implements Responder.
func (s *h2Stream) Abort() { s.aborted = true }

// Switch implements Responder: HTTP/2 has no upgrades (RFC 9113, section 8.6).
func (s *h2Stream) Switch(Header) (Tunnel, error) { return nil, errors.ErrUnsupported }

// awaitRoom waits until something may be sent, for data until the client has room
// for it: as long as it takes any, on the stream or on the connection.
func (s *h2Stream) awaitRoom(data bool) error {
	c := s.c
	for pushed := false; ; {
		if err := s.fault(); err != nil {
			c.unqueue(s)
			return err
		}
		free := c.turn == s || c.turn == nil && len(c.queue) == 0
		if free && c.hasRoom() && (!data || s.window > 0 && c.window > 0) {
			if c.turn == s {
				c.turn = nil
			}
			return nil
		}
		if c.turn == s {
			c.turn = nil
			c.next()
		}
		if !pushed { // much may change meanwhile
			pushed = true
			c.push()
			continue
		}
		pushed = false
		if !s.queued && (!data || s.window > 0) {
			s.queued, s.sendsData = true, data
			c.queue = append(c.queue, s)
			if c.next(); c.turn == s { // a head needs no window, whoever waits for one
				continue
			}
		}
		if !c.wait(&s.writable, c.stall()) && s.stuck(data) {
			c.unqueue(s)
			return os.ErrDeadlineExceeded
		}
	}
}

// fault is why nothing more may be sent.
func (s *h2Stream) fault() error {
	switch {
	case s.gone != nil:
		return s.gone
	case s.local:
		return errH2Ended
	case s.c.dead:
		return errH2Gone
	}
	return nil
}

// stuck says, after timeouts.stall, whether the client took nothing: nothing of the
// stream, or of a connection whose turn others have. Whether it takes what is being
// written right now is stallConn's to see.
func (s *h2Stream) stuck(data bool) bool {
	return data && s.window <= 0 || !s.c.writing && time.Since(s.c.moved) >= s.c.stall()
}

// unqueue takes a stream out of the queue, and leaves its turn to another.
func (c *h2Conn) unqueue(s *h2Stream) {
	if i := slices.Index(c.queue, s); i >= 0 {
		c.queue = slices.Delete(c.queue, i, i+1)
	}
	s.queued = false
	if c.turn == s {
		c.turn = nil
		c.next()
	}
}
