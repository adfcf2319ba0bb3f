package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// maxResponseHead bounds a response's head, in bytes; Synapse's are below 2 KiB.
const maxResponseHead = 256 << 10

// errResponse is wrapped by every error about a response that breaks
// RFC 9112; it becomes 502.
var errResponse = errors.New("malformed response")

// conn is a connection to an upstream that carries one exchange after another.
type conn struct {
	net.Conn
	at       *address
	watch    connWatch
	raw      syscall.RawConn       // the socket; nil when there is none
	probe    func(fd uintptr) bool // look, made once
	silent   bool                  // what look saw: that nothing is there,
	arrived  bool                  // or that something is
	r        reader
	text     []byte // the head of the last response, as readHead has it
	reused   bool   // it has carried an exchange before
	sent     bool   // a byte of the current request has been written
	received bool   // a byte of the current response has been read
	stale    bool   // idle since before the reaper's last round
	closed   bool
	clock    stallClock  // of Read, while a response's body comes
	isCut    atomic.Bool // it is of no more use
	cutter   func()      // cut, made once
}

func newConn(a *address, nc net.Conn) *conn {
	c := &conn{Conn: nc, at: a}
	c.probe, c.cutter = c.look, c.cut
	if tc, ok := nc.(*tls.Conn); ok {
		nc = tc.NetConn()
	}
	if sc, ok := nc.(syscall.Conn); ok {
		c.raw, _ = sc.SyscallConn() // fails only for a connection that is nil
	}
	c.r.begin(c)
	return c
}

// Read notes that something was received, which rules a retry out. It is called
// only when nothing lies in the buffer.
func (c *conn) Read(p []byte) (int, error) {
	c.wind()
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.received = true
		err = nil // TLS tells of an end together with what came before it, and again
	}
	if invariants {
		c.watchRead(p[:n])
	}
	return n, err
}

// wind sets the deadline for a byte of a response's body.
func (c *conn) wind() {
	if deadline, ok := c.clock.wind(); ok {
		c.setReadDeadline(deadline)
	}
}

func (c *conn) close() {
	if !c.closed {
		c.closed = true
		if invariants {
			c.watchClosed()
		}
		c.Conn.Close()
		c.at.closed()
	}
}

// quiet says whether an idle connection is open with nothing to read: a byte
// that nobody asked for, or an end, means it must not be used again.
func (c *conn) quiet() bool {
	if c.r.Buffered() > 0 || c.raw == nil {
		return false
	}
	err := c.raw.Read(c.probe)
	return err == nil && c.silent && !c.decrypted()
}

// more takes up what has arrived meanwhile, without waiting, and says whether that
// was anything. Why a connection ended may be forgotten over it, so that it is not
// for bodies whose end is that of the connection.
func (c *conn) more() bool {
	before := c.r.Buffered()
	if c.mayRead() {
		_ = c.r.fill() // an error comes again
	}
	return c.r.Buffered() > before
}

// mayRead says whether something has arrived, and leaves it where it is.
func (c *conn) mayRead() bool {
	if _, secure := c.Conn.(*tls.Conn); secure || c.raw == nil {
		return false // part of a record would have to be waited for
	}
	return c.raw.Read(c.probe) == nil && c.arrived
}

// look notes whether something can be read from the socket: a connection that has
// ended is neither silent, nor has anything arrived on it.
func (c *conn) look(fd uintptr) bool {
	var b [1]byte
	n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	c.silent, c.arrived = errors.Is(err, syscall.EAGAIN), err == nil && n > 0
	return true // done, whatever there is
}

// decrypted says whether a TLS connection holds bytes that it has read from the
// socket already, where quiet cannot see them.
func (c *conn) decrypted() bool {
	tc, ok := c.Conn.(*tls.Conn)
	if !ok {
		return false
	}
	if tc.SetReadDeadline(time.Unix(1, 0)) != nil { // whatever would have to be waited for is not there
		return true
	}
	_, err := tc.Read(make([]byte, 1))
	return !errors.Is(err, os.ErrDeadlineExceeded) || tc.SetReadDeadline(time.Time{}) != nil
}

// response is the head of an upstream's answer and how its body is framed.
type response struct {
	status  int
	header  Header
	length  int64 // of the body; -1 unknown
	chunked bool
	upgrade bool // 101 to websocket
	reuse   bool // the connection may carry another exchange after the body
}

// readResponse reads a response's head (RFC 9112, sections 4 to 6). method is
// the request's. The fields are valid until the connection is released, or reads
// another. Framing that two readers could understand differently is an
// error: a lenient reading here would let one answer run into the next.
func (c *conn) readResponse(method string, resp *response) error {
	text, err := c.readHead()
	if err != nil {
		return err
	}
	line, rest, _ := strings.Cut(text, "\r\n")
	*resp = response{header: resp.header[:0]}
	minor, status, err := parseStatusLine(line)
	if err != nil {
		return err
	}
	resp.status = status
	if resp.header, err = parseFields(resp.header, rest); err != nil {
		return err
	}
	return resp.frame(method, minor)
}

var headEnd = []byte("\r\n\r\n")

// maxKeptText bounds the memory that a connection keeps for heads, in bytes.
const maxKeptText = 2 << 10

// readHead returns a head up to its blank line, which is left out. It is valid
// until the next one is read, on whoever's behalf. Mostly the whole head lies in
// the reader's buffer, and is copied to where the one before was.
func (c *conn) readHead() (string, error) {
	if err := c.r.await(); err != nil {
		return "", err
	}
	ahead := c.r.ahead()
	i := bytes.Index(ahead, headEnd)
	if i < 0 {
		return c.gatherHead()
	}
	if cap(c.text) > maxKeptText {
		c.text = nil
	}
	c.text = append(c.text[:0], ahead[:i+2]...)
	c.r.Discard(i + 4)
	return view(c.text), nil
}

// gatherHead is readHead for a head that comes in several pieces.
func (c *conn) gatherHead() (string, error) {
	var head []byte
	for {
		line, err := c.r.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return "", io.ErrUnexpectedEOF
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return "", err
		}
		if len(head) > 0 && head[len(head)-1] == '\n' && string(line) == "\r\n" {
			return string(head), nil
		}
		if head = append(head, line...); len(head) > maxResponseHead {
			return "", fmt.Errorf("%w: head over %d bytes", errResponse, maxResponseHead)
		}
	}
}

// maxFetched bounds the body of an answer that is for us, in bytes.
const maxFetched = 64 << 10

// fetch asks something of our own and returns the body of the answer. The
// connection's deadline bounds it.
func (c *conn) fetch(head []byte, resp *response) ([]byte, error) {
	c.sent, c.received = true, false
	if invariants {
		c.watchBegun(nil)
	}
	if _, err := c.Write(head); err != nil {
		return nil, err
	}
	for resp.status = 0; resp.status < 200; {
		if err := c.readResponse("GET", resp); err != nil {
			return nil, err
		}
		if resp.status == 101 {
			return nil, fmt.Errorf("%w: 101 without a request for it", errResponse)
		}
	}
	body := responseBody{c: c, resp: resp, left: max(resp.length, 0), complete: resp.bodyless("GET")}
	text, err := io.ReadAll(io.LimitReader(&body, maxFetched))
	resp.reuse = resp.reuse && body.complete && c.r.Buffered() == 0
	return text, err
}

func parseStatusLine(line string) (minor, status int, err error) {
	// HTTP/1.1 200 OK
	if len(line) < 12 || line[:7] != "HTTP/1." || (line[7] != '0' && line[7] != '1') || line[8] != ' ' ||
		(len(line) > 12 && line[12] != ' ') || !isFieldValue(line) {
		return 0, 0, fmt.Errorf("%w: status line %.64q", errResponse, line)
	}
	status, err = strconv.Atoi(line[9:12])
	if err != nil || status < 100 || status > 599 {
		return 0, 0, fmt.Errorf("%w: status line %.64q", errResponse, line)
	}
	return int(line[7] - '0'), status, nil
}

// parseFields reads "Name: value\r\n" lines; obsolete folding and blanks before
// the colon are errors (RFC 9112, sections 5.1 and 5.2).
func parseFields(h Header, text string) (Header, error) {
	for text != "" {
		line, rest, ok := strings.Cut(text, "\r\n")
		if !ok {
			return h, fmt.Errorf("%w: a line without CRLF", errResponse)
		}
		text = rest
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isToken(name) {
			return h, fmt.Errorf("%w: field line %.64q", errResponse, line)
		}
		value = trimBlanks(value)
		if !isFieldValue(value) {
			return h, fmt.Errorf("%w: value of field %s", errResponse, name)
		}
		h = append(h, Field{name, value})
	}
	return h, nil
}

// frame decides how the body is delimited (RFC 9112, section 6.3).
func (r *response) frame(method string, minor int) error {
	var connection, encodings, lengths [4]string
	conns := r.header.Values(connection[:0], "Connection")
	tes := r.header.Values(encodings[:0], "Transfer-Encoding")
	cls := r.header.Values(lengths[:0], "Content-Length")
	r.reuse = minor == 1 && !named("close", conns)
	r.length = -1
	switch {
	case r.status == 101:
		up, _ := r.header.Get("Upgrade")
		r.upgrade, r.reuse, r.length = sameToken(up, "websocket"), false, 0
		return nil
	case len(tes) > 1 || len(cls) > 1 || len(tes) > 0 && len(cls) > 0:
		return fmt.Errorf("%w: more than one framing of the body", errResponse)
	case len(tes) == 1:
		if minor == 0 || !sameToken(tes[0], "chunked") {
			return fmt.Errorf("%w: Transfer-Encoding %.64q", errResponse, tes[0])
		}
		r.chunked = true
	case len(cls) == 1:
		n, err := parseLength(cls[0])
		if err != nil {
			return err
		}
		r.length = n
	}
	if r.bodyless(method) {
		// A length, if declared, is what a GET would have had. There is none of a 204
		// (RFC 9110, section 8.6; RFC 9112, section 6.1): one that declares a body may
		// well send it, and nobody knows when.
		if r.status == 204 {
			r.reuse, r.length = r.reuse && !r.chunked && r.length <= 0, -1
		}
		r.chunked = false
		return nil
	}
	if r.length < 0 && !r.chunked {
		r.reuse = false // the body ends with the connection
	}
	return nil
}

// bodyless says whether the response has no body whatever its fields say.
func (r *response) bodyless(method string) bool {
	return method == "HEAD" || r.status < 200 || r.status == 204 || r.status == 304
}

func parseLength(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || s[0] < '0' || s[0] > '9' {
		return 0, fmt.Errorf("%w: Content-Length %.64q", errResponse, s)
	}
	return n, nil
}

// tokenChars are the characters of a token (RFC 9110, section 5.6.2).
var tokenChars = func() (t [256]bool) {
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = true, true
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return t
}()

func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if !tokenChars[s[i]] {
			return false
		}
	}
	return s != ""
}

// isFieldValue refuses what could end a line or a string elsewhere: control
// bytes other than tab (RFC 9110, section 5.5).
func isFieldValue(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
