package proxy

import (
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// h1Turn is one request on a connection and its answer, which it sends: a
// Responder. It is used again.
type h1Turn struct {
	c    *h1Conn
	head h1Head
	body h1Body
	req  Request

	out      *[]byte // what was gathered of the answer; nil when nothing was
	begun    bool    // the final head has been written
	chunked  bool
	bodyless bool
	left     int64 // bytes of the declared length; -1 for a body that ends with the connection
	close    bool  // the connection ends with the answer
	aborted  bool
	switched bool
	trailer  Header
	err      error // of writing

	mu      sync.Mutex
	expects bool // the client waits to be asked for its body

	stopFunc    func()
	trailerFunc func() Header
}

var turns = sync.Pool{New: func() any {
	t := &h1Turn{}
	t.stopFunc, t.trailerFunc = t.body.stop, func() Header { return t.body.trailer }
	return t
}}

// errLongAnswer is an answer with more bytes than were declared.
var errLongAnswer = errors.New("the answer is longer than declared")

// begin makes it the next turn of a connection.
func (t *h1Turn) begin(c *h1Conn) {
	t.c, t.body.c, t.body.turn = c, c, t
	c.turn = t
	t.head.begin()
}

// receive makes a Request of the head.
//
//go:noinline
func (t *h1Turn) receive() {
	h, c := &t.head, t.c
	proto := "HTTP/1.1"
	if h.minor == 0 {
		proto = "HTTP/1.0"
	}
	t.req = Request{
		Context: &c.presence, AfterGone: c.goneFunc, Entrypoint: c.own.entrypoint, Proto: proto,
		Method: h.method, Target: h.target, Host: h.host, Header: h.header, Peer: c.peer, Secure: c.socket.secure,
	}
	t.expects = h.expects
	t.close = h.close
	if t.body.begin(h, c.own.proxy.stall()) {
		t.req.Body, t.req.StopBody, t.req.Length = &t.body, t.stopFunc, h.length
		if h.chunked {
			t.req.Trailer = t.trailerFunc
		}
		return
	}
	c.listen()
}

// end gives back what the turn holds.
func (t *h1Turn) end() {
	if t.out != nil {
		putOutput(t.out)
	}
	t.head.begin()
	t.head = h1Head{header: t.head.header}
	t.req = Request{}
	t.body.c, t.body.trailer, t.body.err = nil, nil, nil
	t.c, t.out, t.trailer, t.err = nil, nil, nil, nil
	t.begun, t.chunked, t.bodyless, t.left, t.close, t.aborted, t.switched, t.expects = false, false, false, 0, false, false, false, false
	turns.Put(t)
}

// unread says whether a part of the request's body may still come.
func (t *h1Turn) unread() bool { return !t.body.ended.Load() }

// proceed asks for the body, if the client waits to be asked (RFC 9110, section
// 10.1.1).
func (t *h1Turn) proceed() {
	if !t.head.expects {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.expects {
		t.expects = false
		_, _ = t.c.nc.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n")) // what goes wrong shows again
	}
}

// decline keeps proceed from writing into the answer.
func (t *h1Turn) decline() {
	if !t.head.expects {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expects = false
}

// Inform implements Responder. HTTP/1.0 knows no interim responses (RFC 9110,
// section 15.2).
func (t *h1Turn) Inform(status int, h Header) {
	if t.head.minor == 0 || t.begun {
		return
	}
	b := t.reserve(0)
	b = append(b, statusLine(status)...)
	for _, f := range h {
		b = appendField(b, f.Name, f.Value)
	}
	*t.out = append(b, "\r\n"...)
	_ = t.Flush() // what goes wrong shows again
}

// Head implements Responder.
func (t *h1Turn) Head(status int, h Header, length int64) {
	t.decline()
	t.begun = true
	none := status < 200 || status == http.StatusNoContent || status == http.StatusNotModified
	t.bodyless = none || t.head.method == http.MethodHead
	t.close = t.close || t.unread() || t.c.draining.Load()
	b := t.reserve(0)
	b = append(b, statusLine(status)...)
	dated := false
	for _, f := range h {
		dated = dated || sameToken(f.Name, "Date")
		b = appendField(b, f.Name, f.Value)
	}
	if !dated {
		b = appendDate(b)
	}
	t.left = length
	switch {
	case none: // a length would be that of something else (RFC 9110, section 8.6)
	case length >= 0:
		b = append(b, "Content-Length: "...)
		b = append(strconv.AppendInt(b, length, 10), "\r\n"...)
	case t.bodyless:
	case t.head.minor > 0:
		t.chunked = true
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	default:
		t.close = true
	}
	if t.close {
		b = append(b, "Connection: close\r\n"...)
	}
	*t.out = append(b, "\r\n"...)
}

// outputs are the buffers that answers are gathered in: for a head and a short
// body, and for more of it.
var outputs = newBuffers(4<<10, 4<<10)

func putOutput(buf *[]byte) {
	if cap(*buf) == outputs.size {
		outputs.takeBack(buf)
	} else if cap(*buf) == largeBuffers.size {
		largeBuffers.takeBack(buf)
	}
}

// reserve returns what was gathered, with room for n more bytes if there are
// buffers as large as that. What append makes of it, beyond that, is to be put
// where it came from.
func (t *h1Turn) reserve(n int) []byte {
	if t.out == nil {
		from := outputs
		if n > outputs.size {
			from = largeBuffers
		}
		t.out = from.lend()
		*t.out = (*t.out)[:0]
	}
	if need := len(*t.out) + n; need > cap(*t.out) && need <= largeBuffers.size {
		large := largeBuffers.lend()
		*large = append((*large)[:0], *t.out...)
		putOutput(t.out)
		t.out = large
	}
	return *t.out
}

// chunkFraming is how long the framing of a chunk may be, and of the last one.
const chunkFraming = len("ffffffff\r\n") + len("\r\n") + len("0\r\n\r\n")

// Write implements Responder.
func (t *h1Turn) Write(p []byte) (int, error) {
	switch {
	case t.err != nil:
		return 0, t.err
	case len(p) == 0 || t.bodyless:
		return len(p), nil
	case t.chunked:
		return t.writeChunk(p)
	}
	if t.left >= 0 {
		if int64(len(p)) > t.left {
			t.err = errLongAnswer
			return 0, t.err
		}
		t.left -= int64(len(p))
	}
	return t.gather(p)
}

// gather adds to the answer, or sends it, with what was gathered before.
func (t *h1Turn) gather(p []byte) (int, error) {
	if t.out != nil || len(p) < outputs.size {
		b := t.reserve(len(p))
		if len(b)+len(p) <= cap(b) {
			*t.out = append(b, p...)
			return len(p), nil
		}
		if err := t.Flush(); err != nil {
			return 0, err
		}
	}
	n, err := t.c.nc.Write(p)
	t.err = err
	return n, err
}

func (t *h1Turn) writeChunk(p []byte) (int, error) {
	sent := 0
	for sent < len(p) {
		part := p[sent:min(len(p), sent+copySize)]
		b := t.reserve(len(part) + chunkFraming)
		if len(b)+len(part)+chunkFraming > cap(b) {
			if err := t.Flush(); err != nil {
				return sent, err
			}
			b = t.reserve(len(part) + chunkFraming)
		}
		b = append(strconv.AppendInt(b, int64(len(part)), 16), "\r\n"...)
		b = append(b, part...)
		*t.out = append(b, "\r\n"...)
		sent += len(part)
	}
	return sent, nil
}

// Flush implements Responder.
func (t *h1Turn) Flush() error {
	if t.err != nil || t.out == nil {
		return t.err
	}
	_, t.err = t.c.nc.Write(*t.out)
	putOutput(t.out)
	t.out = nil
	return t.err
}

// Trailer implements Responder.
func (t *h1Turn) Trailer(h Header) { t.trailer = h }

// Abort implements Responder.
func (t *h1Turn) Abort() { t.aborted = true }

// finish ends the answer, and says whether there may be another.
func (t *h1Turn) finish() (again bool) {
	c := t.c
	if t.req.Body != nil {
		c.armed = time.Time{} // the deadline may be the body's
	}
	switch {
	case t.switched:
		return false
	case t.aborted || !t.begun || t.err != nil || t.left > 0 && !t.bodyless:
		c.socket.reset()
		return false
	case t.chunked:
		t.endChunks()
	}
	if t.Flush() != nil {
		c.socket.reset()
		return false
	}
	if t.close || t.unread() {
		return c.linger()
	}
	return true
}

func (t *h1Turn) endChunks() {
	b := append(t.reserve(chunkFraming), "0\r\n"...)
	for _, f := range t.trailer {
		b = appendField(b, f.Name, f.Value)
	}
	*t.out = append(b, "\r\n"...)
}

// Switch implements Responder.
func (t *h1Turn) Switch(h Header) (Tunnel, error) {
	c := t.c
	watch.end(&c.watch)
	t.switched = true
	c.own.remove(c) // whoever has the tunnel sees to it
	b := append(t.reserve(0), statusLine(http.StatusSwitchingProtocols)...)
	for _, f := range h {
		b = appendField(b, f.Name, f.Value)
	}
	*t.out = append(b, "\r\n"...)
	if err := c.nc.SetDeadline(time.Time{}); err != nil {
		c.nc.Close()
		return nil, err
	}
	if err := t.Flush(); err != nil {
		c.nc.Close()
		return nil, err
	}
	return &h1Tunnel{Conn: c.nc, in: &c.in}, nil
}

// statusLines are those of the statuses that have a name.
var statusLines = func() (lines [600]string) {
	for status := range lines {
		if text := http.StatusText(status); text != "" {
			lines[status] = "HTTP/1.1 " + strconv.Itoa(status) + " " + text + "\r\n"
		}
	}
	return lines
}()

func statusLine(status int) string {
	if status >= 0 && status < len(statusLines) && statusLines[status] != "" {
		return statusLines[status]
	}
	return "HTTP/1.1 " + strconv.Itoa(status) + " \r\n"
}

// appendDate adds what every answer should have (RFC 9110, section 6.6.1).
func appendDate(b []byte) []byte { return appendField(b, "Date", httpDate()) }
