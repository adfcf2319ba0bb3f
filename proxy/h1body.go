package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// Bounds of what frames the chunks of a request's body, in bytes. Extensions cost
// and carry nothing, so that there is little room for them.
const (
	maxChunkLine  = 256
	smallRead     = 1 << 10
	maxExtensions = 16 << 10 // of a whole body
)

// errChunk is a body whose chunks are not framed as RFC 9112, section 7.1, says.
var errChunk = errors.New("its chunks are malformed")

// h1Body is the body of a request. It may be read by another goroutine than the
// connection's own, which leaves the connection alone until that has ended.
type h1Body struct {
	c       *h1Conn
	turn    *h1Turn
	clock   stallClock
	chunked bool
	inChunk bool  // the data of a chunk has been read, its CRLF has not
	left    int64 // of the length, or of the current chunk
	extra   int   // bytes of extensions so far
	trailer Header
	err     error // what went wrong; nothing is read after it
	ended   atomic.Bool
	stopped atomic.Bool
}

// begin makes it the body of the head that was read; false when there is none.
func (b *h1Body) begin(h *h1Head, stall time.Duration) bool {
	b.clock = stallClock{stall: stall}
	b.chunked, b.inChunk, b.left, b.extra = h.chunked, false, max(h.length, 0), 0
	b.trailer, b.err = nil, nil
	b.stopped.Store(false)
	b.ended.Store(!h.hasBody())
	return h.hasBody()
}

// Read implements io.Reader. It returns io.EOF only at the end that the framing
// announced.
func (b *h1Body) Read(p []byte) (n int, err error) {
	switch {
	case b.ended.Load():
		return 0, io.EOF
	case b.err != nil:
		return 0, b.err
	}
	b.turn.proceed()
	if b.chunked {
		n, err = b.readChunks(p)
	} else {
		n, err = b.readCounted(p)
	}
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		b.c.listen()
		b.ended.Store(true)
	default:
		b.err = err
	}
	return n, err
}

func (b *h1Body) readCounted(p []byte) (int, error) {
	n, err := b.receive(p)
	if b.left == 0 {
		err = io.EOF
	}
	return n, err
}

// receive reads a part of the length, or of the current chunk.
func (b *h1Body) receive(p []byte) (n int, err error) {
	p = p[:min(int64(len(p)), b.left)]
	if b.c.in.empty() && len(p) > 0 {
		b.wind()
		if b.chunked && len(p) < smallRead { // what frames the next one is right behind it
			err = b.c.in.more()
		} else {
			n, err = b.c.in.direct(p)
		}
	}
	if n == 0 {
		n = b.c.in.take(p)
	}
	b.left -= int64(n)
	return n, b.explain(err)
}

// wind sets the deadline for a byte to come.
func (b *h1Body) wind() {
	if deadline, ok := b.clock.wind(); ok {
		b.c.setDeadline(deadline)
		if b.stopped.Load() {
			b.stop()
		}
	}
}

// stop has a Read end that waits, and those to come.
func (b *h1Body) stop() {
	b.stopped.Store(true)
	b.c.setDeadline(time.Unix(1, 0))
}

// explain says what the end of the connection means inside a body.
func (b *h1Body) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case !timedOut(err):
		b.c.leave()
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
	case b.clock.ranOut(): // stop may come at the same time
		return errStalled
	}
	return err
}

// readChunks decodes RFC 9112, section 7.1, as many chunks as fit and are here.
func (b *h1Body) readChunks(p []byte) (n int, err error) {
	for n < len(p) {
		if b.left == 0 {
			if n > 0 && !b.ready() {
				return n, nil
			}
			if err := b.nextChunk(); err != nil {
				return n, err
			}
		}
		if n > 0 && b.c.in.empty() {
			return n, nil
		}
		m, err := b.receive(p[n:])
		if n += m; err != nil {
			return n, err
		}
		b.inChunk = b.left == 0
	}
	return n, nil
}

// ready says whether the next chunk can be begun without waiting; for the last one
// that is when all that follows it is here.
func (b *h1Body) ready() bool {
	ahead := b.c.in.peek()
	if b.inChunk {
		if len(ahead) < 2 {
			return false
		}
		ahead = ahead[2:]
	}
	if beginsLastChunk(ahead) {
		return bytes.Contains(ahead, []byte("\r\n\r\n"))
	}
	return bytes.IndexByte(ahead, '\n') >= 0
}

// beginsLastChunk says whether what lies ahead can be the last chunk, of size 0, as
// far as it has come.
func beginsLastChunk(ahead []byte) bool {
	size := bytes.TrimLeft(ahead, "0")
	return len(size) < len(ahead) && (len(size) == 0 || !isHex(size[0]))
}

// nextChunk reads up to the data of the next chunk; io.EOF at the end of the body.
func (b *h1Body) nextChunk() error {
	if b.inChunk { // the CRLF after the data before
		line, err := b.line(len("\r\n"))
		if err != nil {
			return err
		}
		if len(line) > 0 {
			return fmt.Errorf("%w: one is longer than its size", errChunk)
		}
		b.inChunk = false
	}
	line, err := b.line(maxChunkLine)
	if err != nil {
		return err
	}
	size, extension, ok := parseChunkSize(line)
	if b.extra += extension; !ok || b.extra > maxExtensions {
		return fmt.Errorf("%w: size %.32q", errChunk, line)
	}
	if size == 0 {
		return b.readTrailer()
	}
	b.left = size
	return nil
}

// parseChunkSize reads a line before a chunk. The size has at most sixteen digits,
// leading zeros among them; of extensions it tells the length.
func parseChunkSize(line []byte) (size int64, extension int, ok bool) {
	i := 0
	for ; i < len(line) && isHex(line[i]); i++ {
		if i == 16 || size > 1<<58 {
			return 0, 0, false
		}
		size = size<<4 | int64(hexValue(line[i]))
	}
	rest := line[i:]
	if i == 0 || len(rest) > 0 && !isExtension(rest) {
		return 0, 0, false
	}
	return size, len(rest), true
}

// isExtension says whether the rest of a line may be extensions (RFC 9112, section
// 7.1.1), but for blanks before them, which nobody may send. Nobody looks into
// them, but a control byte might end a line for others.
func isExtension(rest []byte) bool { return rest[0] == ';' && isFieldValue(view(rest)) }

func hexValue(c byte) byte {
	if isDigit(c) {
		return c - '0'
	}
	return lower(c) - 'a' + 10
}

// readTrailer reads the fields after the last chunk, bounded in size and number
// like those of a head.
func (b *h1Body) readTrailer() error {
	var text []byte
	for {
		line, err := b.line(maxTrailer - len(text))
		if err != nil {
			return err
		}
		if len(line) == 0 {
			break
		}
		text = append(append(text, line...), "\r\n"...)
	}
	if len(text) == 0 {
		return io.EOF
	}
	trailer, err := parseFields(nil, string(text))
	if err != nil || len(trailer) > maxFields {
		return fmt.Errorf("%w: a trailer that is no field", errChunk)
	}
	b.trailer = trailer
	return io.EOF
}

// line reads a line that ends in CRLF, without it, of at most this many bytes. It
// is valid until the next read.
func (b *h1Body) line(most int) ([]byte, error) {
	for seen := 0; ; {
		ahead := b.c.in.peek()
		if n := bytes.IndexByte(ahead[seen:], '\n'); n >= 0 && seen+n < most {
			end := seen + n
			if end == 0 || ahead[end-1] != '\r' {
				return nil, fmt.Errorf("%w: a line without CRLF", errChunk)
			}
			b.c.in.skip(end + 1)
			return ahead[:end-1], nil
		}
		if seen = len(ahead); seen >= most {
			return nil, fmt.Errorf("%w: a line over %d bytes", errChunk, most)
		}
		b.wind()
		if err := b.explain(b.c.in.more()); err != nil {
			return nil, err
		}
	}
}
