package proxy

import (
	"errors"
	"io"
	"net"
	"syscall"
	"time"
)

// socket is a client's connection as it was accepted, beneath TLS where there is
// any. Nothing is held while it is waited on: the buffer that its bytes are read
// into is taken when they are there, and given back when they have been handed on.
//
// TLS gets one record at a time and never more, so that it keeps nothing back
// that nobody knows of.
type socket struct {
	*stallConn
	secure bool            // TLS reads from it
	raw    syscall.RawConn // nil when there is no such thing, in tests
	taker  func(fd uintptr) bool
	buf    *[]byte // nil when nothing lies in it
	r, w   int     // what lies in it
	record int     // bytes of the TLS record under way that are still to be handed on
	much   bool    // the last buffer was filled to its end
	err    error   // what take met
}

// socketBuffers are for a record or two, largeBuffers for those of uploads.
var (
	socketBuffers = newBuffers(4<<10, 4<<10)
	largeBuffers  = newBuffers(36<<10, 36<<10) // a body's part of copySize, and its framing
)

func newSocket(nc net.Conn, stall func() time.Duration, secure bool) *socket {
	counted, ok := nc.(*stallConn)
	if !ok {
		counted = &stallConn{Conn: nc, stall: stall}
	}
	s := &socket{stallConn: counted, secure: secure}
	if sc, ok := counted.Conn.(syscall.Conn); ok {
		s.raw, _ = sc.SyscallConn() // fails only for a connection that is nil
	}
	s.taker = s.take
	return s
}

// buffered is how many bytes have been read from the system and not handed on.
func (s *socket) buffered() int { return s.w - s.r }

// wait waits until a byte can be read.
func (s *socket) wait() error {
	if s.buffered() > 0 {
		return nil
	}
	return s.fill()
}

// recordHeader is the length of what comes before each TLS record: a type, a
// version, and the record's length in its last two bytes (RFC 8446, section 5.1).
const recordHeader = 5

// whole says whether what is read next needs no waiting.
func (s *socket) whole() bool {
	if !s.secure {
		return s.buffered() > 0
	}
	n := s.record
	if n == 0 && s.buffered() >= recordHeader {
		n = s.recordLength()
	}
	return n > 0 && s.buffered() >= n
}

// recordLength is that of the record at the buffer's beginning.
func (s *socket) recordLength() int {
	b := (*s.buf)[s.r:]
	return recordHeader + int(b[3])<<8 + int(b[4])
}

// Read implements net.Conn.
func (s *socket) Read(p []byte) (n int, err error) {
	if s.secure && s.record == 0 {
		if err := s.nextRecord(); err != nil {
			return 0, err
		}
	}
	if s.secure {
		p = p[:min(len(p), s.record)]
	}
	if s.buffered() > 0 {
		n = copy(p, (*s.buf)[s.r:s.w])
		s.skip(n)
	} else {
		n, err = s.Conn.Read(p)
	}
	if s.secure {
		s.record -= n
	}
	return n, err
}

// nextRecord has a record's header in the buffer.
func (s *socket) nextRecord() error {
	for s.buffered() < recordHeader {
		err := s.more()
		if errors.Is(err, io.EOF) && s.buffered() > 0 {
			s.record = s.buffered() // TLS will see that it is none
			return nil
		}
		if err != nil {
			return err
		}
	}
	s.record = s.recordLength()
	return nil
}

// more adds to what lies in the buffer.
func (s *socket) more() error {
	if s.buffered() == 0 {
		return s.fill()
	}
	s.r, s.w = 0, copy(*s.buf, (*s.buf)[s.r:s.w])
	n, err := s.Conn.Read((*s.buf)[s.w:])
	s.w += n
	return err
}

// fill waits for bytes and takes a buffer for them then.
func (s *socket) fill() error {
	if s.raw == nil {
		buf := s.buffers().lend()
		n, err := s.Conn.Read(*buf)
		s.took(buf, n)
		return err
	}
	if err := s.raw.Read(s.taker); err != nil {
		return err
	}
	return s.err
}

// gather reads what is known to be there.
func (s *socket) gather() error {
	if err := s.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	return s.fill()
}

// take reads what is there; false when there is nothing yet.
func (s *socket) take(fd uintptr) bool {
	buf := s.buffers().lend()
	n, err := syscall.Read(int(fd), *buf)
	for err == syscall.EINTR {
		n, err = syscall.Read(int(fd), *buf)
	}
	if n == 0 && err == nil {
		err = io.EOF
	}
	s.took(buf, n)
	s.err = err
	return err != syscall.EAGAIN
}

// buffers are those of the size that seems right for what comes.
func (s *socket) buffers() *buffers {
	if s.much {
		return largeBuffers
	}
	return socketBuffers
}

func (s *socket) took(buf *[]byte, n int) {
	if n <= 0 {
		s.buffers().takeBack(buf)
		return
	}
	s.buf, s.r, s.w = buf, 0, n
	s.much = n == len(*buf)
}

// skip forgets the first bytes of the buffer.
func (s *socket) skip(n int) {
	if s.r += n; s.r == s.w {
		s.release()
	}
}

func (s *socket) release() {
	if s.buf == nil {
		return
	}
	if len(*s.buf) == largeBuffers.size {
		largeBuffers.takeBack(s.buf)
	} else {
		socketBuffers.takeBack(s.buf)
	}
	s.buf, s.r, s.w = nil, 0, 0
}

// linger ends the direction to the client and throws away what still comes, until
// the client ends its own or limit has passed: closed at once, the connection
// would be reset, and the client might lose what was sent last (RFC 9112, section
// 9.6).
func (s *socket) linger(limit time.Duration) {
	s.release()
	if s.CloseWrite() != nil || s.SetReadDeadline(time.Now().Add(limit)) != nil {
		return
	}
	for s.fill() == nil {
		s.release()
	}
}

// reset ends the connection in a way that nobody takes for the end of an answer.
func (s *socket) reset() {
	if tc, ok := s.Conn.(interface{ SetLinger(sec int) error }); ok {
		_ = tc.SetLinger(0)
	}
	s.Close()
}
