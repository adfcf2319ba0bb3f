package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// reader buffers what a conn reads, like bufio.Reader, whose methods and errors it
// has. While it waits for the first byte of something it holds no buffer: most
// connections do nothing else most of the time.
type reader struct {
	c     *conn
	plain bool // bytes come from the socket as they are
	taker func(fd uintptr) bool
	buf   *[]byte // nil when nothing lies in it
	r, w  int
	err   error // what take met
}

func (r *reader) begin(c *conn) {
	_, secure := c.Conn.(*tls.Conn)
	r.c, r.plain, r.taker = c, c.raw != nil && !secure, r.take
}

// Buffered is how many bytes can be read without waiting.
func (r *reader) Buffered() int { return r.w - r.r }

// ahead is what can be read without waiting. It is valid until the next read.
func (r *reader) ahead() []byte {
	if r.buf == nil {
		return nil
	}
	return (*r.buf)[r.r:r.w]
}

// await waits for a byte.
func (r *reader) await() error {
	if r.Buffered() > 0 {
		return nil
	}
	return r.fill()
}

// Discard forgets the next n bytes, which are here.
func (r *reader) Discard(n int) {
	if r.r += n; r.r == r.w {
		r.release()
	}
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if r.Buffered() == 0 {
		if len(p) >= socketBuffers.size {
			return r.c.Read(p)
		}
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.ahead())
	r.Discard(n)
	return n, nil
}

// WriteTo implements io.WriterTo.
func (r *reader) WriteTo(w io.Writer) (n int64, err error) {
	for {
		if err := r.await(); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return n, err
		}
		m, err := w.Write(r.ahead())
		n += int64(m)
		if r.Discard(m); err != nil {
			return n, err
		}
	}
}

// ReadSlice reads up to and with delim. What it returns is valid until the next
// read.
func (r *reader) ReadSlice(delim byte) (line []byte, err error) {
	for seen := 0; ; {
		ahead := r.ahead()
		if i := bytes.IndexByte(ahead[seen:], delim); i >= 0 {
			line = ahead[:seen+i+1]
			break
		}
		if seen = len(ahead); seen == socketBuffers.size {
			line, err = ahead, bufio.ErrBufferFull
			break
		}
		if err := r.fill(); err != nil {
			ahead = r.ahead()
			r.r = r.w
			return ahead, err
		}
	}
	r.r += len(line) // whose buffer stays
	return line, err
}

// fill reads more than is here already, at least a byte.
func (r *reader) fill() error {
	if r.Buffered() > 0 {
		r.r, r.w = 0, copy(*r.buf, r.ahead())
		n, err := r.c.Read((*r.buf)[r.w:])
		r.w += n
		return err
	}
	r.release()
	if !r.plain {
		buf := socketBuffers.lend()
		n, err := r.c.Read(*buf)
		r.took(buf, n)
		return err
	}
	r.c.wind()
	if err := r.c.raw.Read(r.taker); err != nil {
		return err
	}
	r.c.received = r.c.received || r.Buffered() > 0
	if invariants {
		r.c.watchRead(r.ahead())
	}
	return r.err
}

// take reads what is there into a buffer; false when there is nothing yet.
func (r *reader) take(fd uintptr) bool {
	buf := socketBuffers.lend()
	n, err := syscall.Read(int(fd), *buf)
	for err == syscall.EINTR {
		n, err = syscall.Read(int(fd), *buf)
	}
	r.took(buf, n)
	switch {
	case err == syscall.EAGAIN:
		return false
	case err != nil:
		r.err = &net.OpError{Op: "read", Net: r.c.LocalAddr().Network(), Source: r.c.LocalAddr(), Addr: r.c.RemoteAddr(), Err: os.NewSyscallError("read", err)}
	case n == 0:
		r.err = io.EOF
	default:
		r.err = nil
	}
	return true
}

func (r *reader) took(buf *[]byte, n int) {
	if n <= 0 {
		socketBuffers.takeBack(buf)
		return
	}
	r.buf, r.r, r.w = buf, 0, n
}

// release gives the buffer back when nothing lies in it.
func (r *reader) release() {
	if r.buf != nil && r.Buffered() == 0 {
		socketBuffers.takeBack(r.buf)
		r.buf, r.r, r.w = nil, 0, 0
	}
}
