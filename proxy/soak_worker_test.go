package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"time"
)

// worker is a back end that answers as each request asks it to, with the id of the
// request, and can be stopped as a process is that is killed.
type worker struct {
	name   string
	target string
	tls    *tls.Config // nil for plain HTTP
	fail   func(format string, args ...any)
	over   <-chan struct{} // closed when the test ends

	mu       sync.Mutex
	listener net.Listener // nil while it is stopped
	open     map[net.Conn]bool
	wg       sync.WaitGroup
}

func (w *worker) start() error {
	l, err := net.Listen("tcp", w.target)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listener, w.open = l, map[net.Conn]bool{}
	w.wg.Go(func() { w.accept(l) })
	return nil
}

// stop ends the listener and every connection, at whatever point each is.
func (w *worker) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listener.Close()
	w.listener = nil
	for c := range w.open {
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
}

func (w *worker) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		w.mu.Lock()
		if w.listener != l {
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		} else {
			w.open[c] = true
			w.wg.Go(func() { w.serve(c) })
		}
		w.mu.Unlock()
	}
}

func (w *worker) serve(raw net.Conn) {
	c := raw
	if w.tls != nil {
		c = tls.Server(raw, w.tls)
	}
	defer func() {
		c.Close()
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.open, raw)
	}()
	r := bufio.NewReaderSize(c, 8<<10)
	var q asked
	var b []byte
	for {
		err := q.read(r)
		if err == nil && q.id == "" {
			err = errors.New("a request of nobody")
		}
		if q.wrong != "" {
			w.fail("%s received from %s as request of %q: %s", w.name, c.RemoteAddr(), q.id, q.wrong)
		}
		if err != nil {
			return
		}
		var keep bool
		if b, keep = q.reply(b[:0], c, r, w.name, w.over); !keep {
			return
		}
	}
}

// asked is a request as a back end sees it.
type asked struct {
	method    string
	id        string
	kind      *kind
	status    int
	length    int // of the answer to give
	declared  int // length of its own body, -1 in chunks
	announced bool
	trailer   string
	digest    string
	wrong     string // what does not belong to it
	body      reading
}

func (q *asked) mixed(format string, args ...any) {
	if q.wrong == "" {
		q.wrong = fmt.Sprintf(format, args...)
	}
}

// errMalformed is a request that breaks RFC 9112.
var errMalformed = errors.New("no request")

func (q *asked) read(r *bufio.Reader) error {
	*q = asked{}
	line, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	method, rest, _ := strings.Cut(string(line), " ")
	target, version, _ := strings.Cut(rest, " ")
	q.method = method
	if version != "HTTP/1.1\r\n" || !strings.HasPrefix(target, "/") {
		q.mixed("no request line: %q", line)
		return errMalformed
	}
	if err := q.readFields(r); err != nil {
		return err
	}
	if _, id, ok := strings.Cut(target, "id="); ok && id != q.id {
		q.mixed("its line is that of %q", id)
	}
	q.body.id = q.id
	if q.kind == nil || q.kind.early || q.kind.deaf {
		return nil
	}
	return q.readBody(r)
}

func (q *asked) readFields(r *bufio.Reader) error {
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			return nil
		}
		name, value, _ := bytes.Cut(line[:len(line)-2], []byte(": "))
		switch textproto.CanonicalMIMEHeaderKey(string(name)) {
		case "X-Id":
			if q.id != "" {
				q.mixed("it is also that of %q", value)
			}
			q.id = string(value)
		case "X-Plan":
			words := strings.Split(string(value), " ")
			k, _ := strconv.Atoi(words[0])
			q.kind = &kinds[k]
			q.status, _ = strconv.Atoi(words[1])
			q.length, _ = strconv.Atoi(words[2])
		case "Content-Length":
			if q.declared, err = strconv.Atoi(string(value)); err != nil {
				return err
			}
		case "Transfer-Encoding":
			q.declared = -1
		case "X-Trailer":
			q.announced = true
		}
	}
}

// readBody reads the body and checks that it belongs to the request.
func (q *asked) readBody(r *bufio.Reader) error {
	sum := crc32.New(castagnoli)
	var err error
	if q.declared >= 0 {
		err = q.readPart(r, sum, q.declared)
	} else {
		err = q.readChunks(r, sum)
	}
	if err == nil && q.announced != (q.trailer != "") {
		q.mixed("its trailer is %q", q.trailer)
	}
	q.digest = digestText(sum.Sum32(), q.body.got)
	return err
}

func (q *asked) readPart(r *bufio.Reader, sum io.Writer, n int) error {
	for n > 0 {
		if _, err := r.Peek(1); err != nil {
			return err
		}
		p, _ := r.Peek(min(n, r.Buffered()))
		if !q.body.is(p) {
			q.mixed("its body goes on with %.100q at %d", p, q.body.got)
			return errMalformed
		}
		sum.Write(p)
		n -= len(p)
		r.Discard(len(p))
	}
	return nil
}

func (q *asked) readChunks(r *bufio.Reader, sum io.Writer) error {
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		size, err := strconv.ParseUint(strings.TrimSuffix(string(line), "\r\n"), 16, 31)
		if err != nil {
			q.mixed("a chunk of size %q", line)
			return err
		}
		if size == 0 {
			return q.readTrailer(r)
		}
		if err := q.readPart(r, sum, int(size)); err != nil {
			return err
		}
		if end, err := r.ReadSlice('\n'); err != nil || len(end) != 2 {
			return errMalformed
		}
	}
}

func (q *asked) readTrailer(r *bufio.Reader) error {
	for {
		line, err := r.ReadSlice('\n')
		if err != nil || len(line) <= 2 {
			return err
		}
		name, value, _ := strings.Cut(string(line[:len(line)-2]), ": ")
		if name != "X-Sum" || value != q.id {
			q.mixed("trailer %q", line)
		}
		q.trailer = value
	}
}

// earlyDigest is the digest of a body that was not read before its answer.
const earlyDigest = "early"

// appendHead begins an answer that belongs to the request.
func (q *asked) appendHead(b []byte, name string) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(q.status), 10)
	b = append(b, " X\r\nX-Id: "...)
	b = append(b, q.id...)
	b = append(b, "\r\nX-Digest: "...)
	b = append(b, q.digest...)
	b = append(b, "\r\nX-Worker: "...)
	return append(append(b, name...), "\r\n"...)
}

// bodyless says whether the answer has no body.
func (q *asked) bodyless() bool { return q.method == "HEAD" || q.status == 204 || q.status == 304 }

func (q *asked) appendCounted(b []byte, name string) []byte {
	b = q.appendHead(b, name)
	if q.status != 204 {
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, int64(q.length), 10)
		b = append(b, "\r\n"...)
	}
	b = append(b, "\r\n"...)
	if q.bodyless() {
		return b
	}
	return appendText(b, q.id, q.length)
}

// appendChunked splits the body into n chunks.
func (q *asked) appendChunked(b []byte, name string, n int) []byte {
	b = q.appendHead(b, name)
	if q.status != 204 {
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	b = append(b, "\r\n"...)
	if q.bodyless() {
		return b
	}
	text := appendText(nil, q.id, q.length)
	for size := len(text)/n + 1; len(text) > 0; {
		part := text[:min(size, len(text))]
		text = text[len(part):]
		b = strconv.AppendInt(b, int64(len(part)), 16)
		b = append(append(append(b, "\r\n"...), part...), "\r\n"...)
	}
	b = append(b, "0\r\n"...)
	if q.kind.name == "trailer" {
		b = append(append(append(b, "X-Sum: "...), q.id...), "\r\n"...)
	}
	return append(b, "\r\n"...)
}

// reply answers in the way the request asks for, and says whether the connection
// goes on. b is memory to use; over ends what would take long.
func (q *asked) reply(b []byte, c net.Conn, r *bufio.Reader, name string, over <-chan struct{}) (_ []byte, keep bool) {
	switch q.kind.name {
	case "chunked", "trailer":
		b = q.appendChunked(b, name, 1+len(q.id)%3)
	case "pieces":
		return b, writePieces(c, q.appendChunked(b, name, 3))
	case "slow":
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
		b = q.appendCounted(b, name)
	case "hints":
		b = append(append(append(b, "HTTP/1.1 103 Early Hints\r\nX-Id: "...), q.id...), "\r\n\r\n"...)
		b = q.appendCounted(b, name)
	case "surplus": // which nobody may see
		b = q.appendCounted(b, name)
		b = append(b, "HTTP/1.1 200 X\r\nX-Id: nobody\r\nContent-Length: 0\r\n\r\n"...)
	case "unknown":
		if name != mainWorker {
			b = append(b, "HTTP/1.1 404 X\r\nX-Id: nobody\r\nContent-Length: 28\r\n\r\n{\"errcode\":\"M_UNRECOGNIZED\"}"...)
		} else {
			b = q.appendCounted(b, name)
		}
	case "until close", "last", "early", "early, drained", "short", "half a chunk", "garbage", "silence", "close", "standstill", "late", "deaf":
		return b, q.replyOddly(b, c, r, name, over)
	default:
		b = q.appendCounted(b, name)
	}
	_, err := c.Write(b)
	return b, err == nil
}

// replyOddly is reply where the connection ends with the answer.
func (q *asked) replyOddly(b []byte, c net.Conn, r *bufio.Reader, name string, over <-chan struct{}) (keep bool) {
	drain := false
	switch q.kind.name {
	case "until close":
		b = append(q.appendHead(b, name), "Connection: close\r\n\r\n"...)
		if !q.bodyless() {
			b = appendText(b, q.id, q.length)
		}
	case "last":
		b = q.lastOf(q.appendCounted(b, name))
	case "early", "early, drained":
		q.digest, drain = earlyDigest, q.kind.name == "early, drained"
		b = q.lastOf(q.appendCounted(b, name))
	case "short", "standstill":
		b = q.appendCounted(b, name)
		b = b[:len(b)-(q.length+1)/2]
		drain = q.kind.name == "standstill"
	case "half a chunk":
		b = q.appendChunked(b, name, 1)
		b = b[:len(b)-len("\r\n0\r\n\r\n")-(q.length+1)/2]
	case "garbage":
		b = append(append(append(b, "HTTP/1.1 200 OK\r\nX-Id : "...), q.id...), "\r\n\r\n"...)
	case "close": // without a word
		b = q.appendCounted(b, name)
	case "late":
		drain = true
	case "deaf":
		select {
		case <-over:
		case <-time.After(2 * soakStall):
		}
		return false
	}
	c.Write(b)
	if drain {
		c.SetReadDeadline(time.Now().Add(4 * soakStall))
		io.Copy(io.Discard, r)
	}
	return false
}

// lastOf says in an answer that its connection ends with it.
func (q *asked) lastOf(b []byte) []byte {
	line := bytes.IndexByte(b, '\n') + 1
	return append(b[:line:line], append([]byte("Connection: close\r\n"), b[line:]...)...)
}

// writePieces writes a few bytes at a time.
func writePieces(c net.Conn, b []byte) bool {
	for len(b) > 0 {
		n := 1 + rand.IntN(len(b))
		if _, err := c.Write(b[:n]); err != nil {
			return false
		}
		b = b[n:]
	}
	return true
}
