//go:build invariants

package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http/httputil"
	"net/textproto"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// invariants says whether this build watches over what must always hold. It is
// for tests: `go test -tags invariants`. What a violation would do to somebody in
// the end (an answer at the wrong client) is rare and far from its cause; here the
// process ends at once, and says which.
//
//   - A connection is held by one exchange at a time, and is idle otherwise; it goes
//     back once. Nobody reads from it or writes to it in between.
//   - One that goes back carried a whole request and a whole answer and nothing
//     behind either, as a second reading of all its bytes says; it is not closed, not
//     cut, has no deadline, and nothing lies in its buffer.
//   - What a client is sent of a body comes from the connection that its exchange
//     holds, and what a back end is sent goes there.
//   - An answer has one head, a body of the length that was declared, and nothing
//     behind its end.
//   - What is used again (exchanges, what a front end carries, buffers) is used by
//     one at a time, and by nobody once it went back: it is poisoned meanwhile.
//   - No counter falls below zero.
const invariants = true

// violated ends the process. A panic here would be recovered by net/http's server.
func violated(format string, args ...any) {
	onViolation("an invariant is violated: " + fmt.Sprintf(format, args...))
}

var onViolation = func(text string) {
	stack := debug.Stack()
	go func() { panic(fmt.Sprintf("%s\n\n%s", text, stack)) }()
	select {}
}

// Where a connection is.
const (
	isHeld int32 = iota
	isIdle
	isClosed
)

// connWatch is what is remembered of a connection.
type connWatch struct {
	place  atomic.Int32
	holder atomic.Uint64 // the exchange, 0 for a question of our own

	mu             sync.Mutex
	sent, received transcript // of this exchange
	readBy         bool       // a deadline for reading is set
	writeBy        bool
}

// transcript is what went over a connection in one direction.
type transcript struct {
	text []byte
	long bool // more than is kept
}

// maxTranscript is how much of an exchange is read a second time, in bytes.
const maxTranscript = 1 << 20

func (t *transcript) add(p []byte) {
	if t.long = t.long || len(t.text)+len(p) > maxTranscript; !t.long {
		t.text = append(t.text, p...)
	}
}

func (t *transcript) clear() {
	if cap(t.text) > copySize {
		t.text = nil
	}
	t.text, t.long = t.text[:0], false
}

// watchTaken is for a connection that leaves the idle ones.
func (c *conn) watchTaken() { c.watch.move(isIdle, isHeld, "is taken") }

func (w *connWatch) move(from, to int32, what string) {
	if !w.place.CompareAndSwap(from, to) {
		violated("a connection %s that is %s", what, w)
	}
}

func (w *connWatch) String() string {
	return fmt.Sprintf("%s, last by exchange %d", [...]string{"held", "idle", "closed"}[w.place.Load()], w.holder.Load())
}

// watchBegun is for the beginning of an exchange; x is nil for a question of our
// own.
func (c *conn) watchBegun(x *exchange) {
	c.watch.used("begins an exchange")
	var serial uint64
	if x != nil {
		serial = x.watch.serial
	}
	c.watch.holder.Store(serial)
	c.watch.mu.Lock()
	defer c.watch.mu.Unlock()
	c.watch.sent.clear()
	c.watch.received.clear()
	if n := c.r.Buffered(); n > 0 {
		violated("exchange %d begins on a connection with %d bytes in its buffer", serial, n)
	}
}

// used is for whatever only its holder may do with a connection.
func (w *connWatch) used(what string) {
	if w.place.Load() == isIdle {
		violated("somebody %s on a connection that is %s", what, w)
	}
}

func (c *conn) watchRead(p []byte) {
	c.watch.used("reads")
	c.watch.mu.Lock()
	defer c.watch.mu.Unlock()
	c.watch.received.add(p)
}

// Write stands for that of the net.Conn in this build.
func (c *conn) Write(p []byte) (int, error) {
	c.watch.used("writes")
	n, err := c.Conn.Write(p)
	c.watch.mu.Lock()
	defer c.watch.mu.Unlock()
	c.watch.sent.add(p[:n])
	return n, err
}

// SetDeadline stands for that of the net.Conn in this build.
func (c *conn) SetDeadline(t time.Time) error {
	c.watch.used("sets a deadline")
	c.watch.mu.Lock()
	defer c.watch.mu.Unlock()
	c.watch.readBy, c.watch.writeBy = !t.IsZero(), !t.IsZero()
	return c.Conn.SetDeadline(t)
}

// SetReadDeadline stands for that of the net.Conn in this build.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.watch.used("sets a deadline")
	c.watch.mu.Lock()
	defer c.watch.mu.Unlock()
	c.watch.readBy = !t.IsZero()
	return c.Conn.SetReadDeadline(t)
}

// SetWriteDeadline stands for that of the net.Conn in this build.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.watch.used("sets a deadline")
	c.watch.mu.Lock()
	defer c.watch.mu.Unlock()
	c.watch.writeBy = !t.IsZero()
	return c.Conn.SetWriteDeadline(t)
}

func (c *conn) watchClosed() {
	if c.watch.place.Swap(isClosed) == isClosed {
		violated("a connection is closed twice")
	}
}

// watchReturned is for a connection that goes back among the idle ones.
func (c *conn) watchReturned() {
	w := &c.watch
	w.move(isHeld, isIdle, "goes back")
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case c.isCut.Load():
		violated("a connection goes back that is cut, %s", w)
	case c.r.Buffered() > 0:
		violated("a connection goes back with %d bytes in its buffer, %s", c.r.Buffered(), w)
	case w.readBy || w.writeBy || c.clock != stallClock{}:
		violated("a connection goes back with a deadline, for reading (%v) or writing (%v), or a clock that runs (%v), %s",
			w.readBy, w.writeBy, c.clock != stallClock{}, w)
	}
	if err := wholeExchange(&w.sent, &w.received); err != nil {
		violated("a connection goes back whose exchange did not end: %v, %s\nsent %.2000q\nreceived %.2000q", err, w, w.sent.text, w.received.text)
	}
	w.sent.clear()
	w.received.clear()
}

// wholeExchange reads what went over a connection a second time, by other means
// than those that carried it: it is a whole request and a whole answer, after which
// the connection may be used again (RFC 9112, sections 6.3 and 9.3).
func wholeExchange(sent, received *transcript) error {
	if sent.long {
		return nil // nor can the answer be read without the method
	}
	r := bufio.NewReader(bytes.NewReader(sent.text))
	line, head, err := readStart(r)
	if err != nil {
		return fmt.Errorf("the request: %w", err)
	}
	if err := skipBody(r, head, head.Get("Transfer-Encoding") == "" && head.Get("Content-Length") == ""); err != nil {
		return fmt.Errorf("the request: %w", err)
	}
	if n := rest(r); n > 0 {
		return fmt.Errorf("%d bytes behind the request", n)
	}
	if received.long {
		return nil
	}
	method, _, _ := strings.Cut(line, " ")
	r = bufio.NewReader(bytes.NewReader(received.text))
	for {
		line, head, err = readStart(r)
		if err != nil {
			return fmt.Errorf("the answer: %w", err)
		}
		if !strings.HasPrefix(line, "HTTP/1.1 1") {
			break
		}
	}
	if !strings.HasPrefix(line, "HTTP/1.1 ") || strings.EqualFold(head.Get("Connection"), "close") {
		return fmt.Errorf("the answer is the last of its connection: %q", line)
	}
	status := line[len("HTTP/1.1 "):][:3]
	if status == "204" && (head.Get("Transfer-Encoding") != "" || strings.Trim(head.Get("Content-Length"), "0") != "") {
		return errors.New("a 204 declares a body")
	}
	if err := skipBody(r, head, method == "HEAD" || status == "204" || status == "304"); err != nil {
		return fmt.Errorf("the answer: %w", err)
	}
	if n := rest(r); n > 0 {
		return fmt.Errorf("%d bytes behind the answer", n)
	}
	return nil
}

func rest(r *bufio.Reader) int64 {
	n, _ := io.Copy(io.Discard, r)
	return n
}

// readStart reads the first line and the fields.
func readStart(r *bufio.Reader) (line string, head textproto.MIMEHeader, err error) {
	tr := textproto.NewReader(r)
	if line, err = tr.ReadLine(); err != nil {
		return "", nil, err
	}
	head, err = tr.ReadMIMEHeader()
	return line, head, err
}

// skipBody reads a body to the end that its fields announce.
func skipBody(r *bufio.Reader, head textproto.MIMEHeader, none bool) error {
	switch te, length := head.Get("Transfer-Encoding"), head.Get("Content-Length"); {
	case none:
		return nil
	case strings.EqualFold(te, "chunked"):
		if _, err := io.Copy(io.Discard, httputil.NewChunkedReader(r)); err != nil {
			return err
		}
		_, err := textproto.NewReader(r).ReadMIMEHeader() // the trailer and the empty line
		return err
	case te == "" && length != "":
		n, err := strconv.ParseInt(length, 10, 64)
		if err != nil {
			return err
		}
		_, err = io.CopyN(io.Discard, r, n)
		return err
	}
	return errors.New("its body ends with the connection")
}

// exchangeWatch is what is remembered of an exchange.
type exchangeWatch struct {
	serial uint64 // another each time it is used
	lent   atomic.Bool
	w      *watchedResponder
}

var serials atomic.Uint64

// watchBegun returns what watches over w.
func (x *exchange) watchBegun(w Responder) Responder {
	if x.watch.lent.Swap(true) {
		violated("exchange %d is given out again while it is used", x.watch.serial)
	}
	x.watch.serial = serials.Add(1)
	x.watch.w = &watchedResponder{Responder: w, x: x}
	return x.watch.w
}

// watchHolds is for a part of a body that goes over a connection for an exchange.
func (x *exchange) watchHolds(c *conn) {
	if !x.watch.lent.Load() || c.watch.holder.Load() != x.watch.serial || c.watch.place.Load() == isIdle {
		violated("exchange %d, in use: %v, carries a body over a connection that is %s", x.watch.serial, x.watch.lent.Load(), &c.watch)
	}
}

// watchEnded poisons an exchange that goes back.
func (x *exchange) watchEnded() {
	x.watch.w.end()
	x.watch.w = nil
	if x.standsIn != nil {
		violated("exchange %d ends and still stands in", x.watch.serial)
	}
	poisonHeader(x.response.header)
	x.response.status, x.response.length, x.response.reuse = -1, -1, true
	x.proof, x.hushed, x.streamed, x.maxBody = poisonText, true, true, -1
	x.decision.Action, x.decision.Rule = poisonByte, nil
	if !x.watch.lent.Swap(false) {
		violated("exchange %d goes back twice", x.watch.serial)
	}
}

// watchedResponder holds the proxy to the order of a Responder's calls.
type watchedResponder struct {
	Responder
	x                        *exchange
	head, aborted, switched  bool
	failed, ended            bool
	bodyless                 bool
	length, written, trailer int64
}

func (w *watchedResponder) expect(so bool, call string) {
	if !so || w.ended {
		violated("exchange %d: %s, with its head sent: %v, its end: %v, aborted: %v, switched: %v, %d of %d bytes of its body written",
			w.x.watch.serial, call, w.head, w.ended, w.aborted, w.switched, w.written, w.length)
	}
}

// Inform implements Responder.
func (w *watchedResponder) Inform(status int, h Header) {
	w.expect(!w.head && !w.aborted && !w.switched && status > 101 && status < 200, "an interim answer")
	w.Responder.Inform(status, h)
}

// Head implements Responder.
func (w *watchedResponder) Head(status int, h Header, length int64) {
	w.expect(!w.head && !w.aborted && !w.switched && status >= 200, "a head")
	w.head, w.length = true, length
	w.bodyless = w.x.req.Method == "HEAD" || status == 204 || status == 304
	w.Responder.Head(status, h, length)
}

// Write implements Responder.
func (w *watchedResponder) Write(p []byte) (int, error) {
	w.expect(w.head && !w.aborted && w.trailer == 0 && !w.bodyless && (w.length < 0 || w.written+int64(len(p)) <= w.length),
		fmt.Sprintf("%d bytes of a body", len(p)))
	w.written += int64(len(p))
	n, err := w.Responder.Write(p)
	w.failed = w.failed || err != nil
	return n, err
}

// Flush implements Responder.
func (w *watchedResponder) Flush() error {
	w.expect(w.head && !w.aborted, "a flush")
	err := w.Responder.Flush()
	w.failed = w.failed || err != nil
	return err
}

// Trailer implements Responder.
func (w *watchedResponder) Trailer(h Header) {
	w.expect(w.head && !w.aborted && !w.bodyless && w.length < 0, "a trailer")
	w.trailer++
	w.Responder.Trailer(h)
}

// Abort implements Responder.
func (w *watchedResponder) Abort() {
	w.expect(true, "an abort")
	w.aborted = true
	w.Responder.Abort()
}

// Switch implements Responder.
func (w *watchedResponder) Switch(h Header) (Tunnel, error) {
	w.expect(!w.head && !w.aborted && !w.switched, "an upgrade")
	w.switched = true
	return w.Responder.Switch(h)
}

// end is for the end of the exchange: the answer is whole, or visibly is not.
func (w *watchedResponder) end() {
	whole := w.head && !w.failed && (w.bodyless || w.length < 0 || w.written == w.length)
	w.expect(w.aborted || w.switched || whole, "its end")
	w.ended = true
}

// What lies where nobody may read.
const (
	poisonByte = 0xDB
	poisonText = "poisoned: used after it went back"
)

var poisoned = bytes.Repeat([]byte{poisonByte}, copySize)

func poison(b []byte) {
	for b = b[:cap(b)]; len(b) > 0; b = b[copy(b, poisoned):] {
	}
}

func poisonHeader(h Header) {
	for i := range h {
		h[i] = Field{poisonText, poisonText}
	}
}

// lent are the buffers that somebody uses.
var lent sync.Map

func watchLent(b *[]byte) {
	if _, twice := lent.LoadOrStore(b, true); twice {
		violated("a buffer is lent twice")
	}
	for rest := (*b)[:cap(*b)]; len(rest) > 0; {
		n := min(len(rest), len(poisoned))
		if !bytes.Equal(rest[:n], poisoned[:n]) {
			violated("a buffer was written to after it went back: %.200q", rest[:n])
		}
		rest = rest[n:]
	}
}

func watchReturned(b *[]byte) {
	poison(*b)
	if _, ok := lent.LoadAndDelete(b); !ok {
		violated("a buffer goes back twice")
	}
}

// carriedWatch is what is remembered of what a front end carries.
type carriedWatch struct{ lent atomic.Bool }

func (c *carried) watchLent() {
	if c.watch.lent.Swap(true) {
		violated("a request is given out again while it is used")
	}
}

// watchReturned poisons it.
func (c *carried) watchReturned() {
	poisonHeader(c.header)
	c.req.Method, c.req.Target, c.req.Host, c.req.Header, c.req.Body = poisonText, poisonText, poisonText, c.header, poisonedBody{}
	if !c.watch.lent.Swap(false) {
		violated("a request goes back twice")
	}
}

// poisonedBody is the body of a request that went back.
type poisonedBody struct{}

func (poisonedBody) Read([]byte) (int, error) {
	violated("the body of a request is read after it went back")
	return 0, io.EOF
}
