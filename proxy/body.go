package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// copySize is the size of the buffers bodies pass through.
const copySize = 32 << 10

var copyBuffers = newBuffers(copySize, copySize)

// maxTrailer bounds the fields after a chunked body, in bytes.
const maxTrailer = 16 << 10

// responseBody reads the body of a response as its framing says. At its end
// complete is true; an end of the connection before that is an error.
type responseBody struct {
	c        *conn
	resp     *response
	left     int64 // of the length, or of the current chunk
	inChunk  bool
	complete bool
	broken   error // what went wrong; nothing is read after it
	trailer  Header
}

// Read returns io.EOF only at the end the framing announced.
func (b *responseBody) Read(p []byte) (n int, err error) {
	switch {
	case b.complete:
		return 0, io.EOF
	case b.broken != nil:
		return 0, b.broken
	case b.resp.chunked:
		n, err = b.readChunked(p)
	case b.resp.length >= 0:
		n, err = b.readCounted(p)
	default:
		if n, err = b.c.r.Read(p); errors.Is(err, io.EOF) {
			b.complete = true
		}
	}
	if err != nil && !b.complete {
		b.broken = err
	}
	return n, err
}

// waits says whether the next Read would wait for the upstream, so that what was
// read so far has to go out first. Data stays on the socket, from where Read takes
// more at once than the buffer holds.
func (b *responseBody) waits() bool {
	framed := b.resp.chunked || b.resp.length >= 0
	for b.short() {
		if b.left > 0 {
			return !b.c.mayRead()
		}
		if !framed || !b.c.more() {
			return true
		}
	}
	return false
}

// short says whether the next Read needs more than lies in the buffer.
func (b *responseBody) short() bool {
	ahead := b.c.r.ahead()
	switch {
	case b.complete || b.resp.length >= 0 && b.left == 0:
		return false
	case !b.resp.chunked || b.left > 0:
		return len(ahead) == 0
	}
	if b.inChunk && len(ahead) >= 2 {
		ahead = ahead[2:] // the CRLF after the data before
	}
	if beginsLastChunk(ahead) { // up to the end of the trailer
		return !bytes.Contains(ahead, []byte("\r\n\r\n"))
	}
	end := bytes.IndexByte(ahead, '\n')
	return end < 0 || end+1 == len(ahead) // no size yet, or nothing behind it
}

// ahead reads into buf without waiting, until there is enough or no more. first is
// what was read before; all of it together is returned. What goes wrong shows again
// in the next Read.
func (b *responseBody) ahead(buf, first []byte, enough int) []byte {
	n := copy(buf, first)
	for n < enough && !b.waits() {
		m, err := b.Read(buf[n:])
		if n += m; err != nil {
			break
		}
	}
	return buf[:n]
}

func (b *responseBody) readCounted(p []byte) (int, error) {
	if b.left == 0 {
		b.complete = true
		return 0, io.EOF
	}
	n, err := b.c.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// readChunked decodes RFC 9112, section 7.1. Chunk extensions are dropped, a
// bare LF is an error.
func (b *responseBody) readChunked(p []byte) (int, error) {
	if b.left == 0 {
		if err := b.nextChunk(); err != nil {
			return 0, err
		}
		if b.complete {
			return 0, io.EOF
		}
	}
	n, err := b.c.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// nextChunk reads up to the data of the next chunk, or to the end of the body.
func (b *responseBody) nextChunk() error {
	if b.inChunk { // the CRLF after the data before
		line, err := b.line()
		if err != nil {
			return err
		}
		if line != "" {
			return fmt.Errorf("%w: chunk longer than its size", errResponse)
		}
	}
	b.inChunk = true
	line, err := b.line()
	if err != nil {
		return err
	}
	size, _, _ := strings.Cut(line, ";")
	size = strings.TrimRight(size, " \t")
	n, err := strconv.ParseUint(size, 16, 63)
	if err != nil || len(size) > 15 || size[0] == '+' {
		return fmt.Errorf("%w: chunk size %.32q", errResponse, line)
	}
	if n == 0 {
		return b.readTrailer()
	}
	b.left = int64(n)
	return nil
}

func (b *responseBody) readTrailer() error {
	var text strings.Builder
	for {
		line, err := b.line()
		if err != nil {
			return err
		}
		if line == "" {
			break
		}
		text.WriteString(line)
		text.WriteString("\r\n")
		if text.Len() > maxTrailer {
			return fmt.Errorf("%w: trailer over %d bytes", errResponse, maxTrailer)
		}
	}
	var err error
	b.trailer, err = parseFields(nil, text.String())
	b.complete = err == nil
	return err
}

// line reads a line that ends in CRLF, without it.
func (b *responseBody) line() (string, error) {
	line, err := b.c.r.ReadSlice('\n')
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return "", err
	}
	if len(line) < 2 || line[len(line)-2] != '\r' {
		return "", fmt.Errorf("%w: a line of the body without CRLF", errResponse)
	}
	return string(line[:len(line)-2]), nil
}

// writeChunk sends p as one chunk.
func writeChunk(w io.Writer, scratch, p []byte) ([]byte, error) {
	scratch = strconv.AppendInt(scratch[:0], int64(len(p)), 16)
	scratch = append(scratch, "\r\n"...)
	scratch = append(scratch, p...)
	scratch = append(scratch, "\r\n"...)
	_, err := w.Write(scratch)
	return scratch, err
}
