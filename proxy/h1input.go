package proxy

import (
	"io"
	"math/bits"
	"net"
	"time"
)

// inputs are the buffers that heads are read into: most are small, and each is kept
// while its request waits for an answer.
var inputs = [...]*buffers{newBuffers(512, 512), newBuffers(1<<10, 1<<10), newBuffers(2<<10, 2<<10), newBuffers(8<<10, 8<<10), newBuffers(64<<10, 64<<10)}

// maxForeseen bounds how large a buffer is made for what is known to come.
const maxForeseen = 8 << 10

// newInput is a buffer of at least n bytes: each size is twice the one before at
// least, or reading a large head would take its square of time.
func newInput(n int) *[]byte {
	for _, b := range inputs {
		if n <= b.size {
			return b.lend()
		}
	}
	buf := make([]byte, 1<<bits.Len(uint(n-1)))
	return &buf
}

func putInput(buf *[]byte) {
	for _, b := range inputs {
		if len(*buf) == b.size {
			b.takeBack(buf)
			return // for it is somebody else's
		}
	}
}

// h1Input is what a client has sent and nobody has made use of. It holds no buffer
// while there is nothing.
type h1Input struct {
	nc     net.Conn // TLS, or the socket
	socket *socket
	buf    *[]byte
	r, w   int
	kept   *[]byte // where the current request's head lies, untouched until its end
	// inside is true when TLS may hold bytes that it has decrypted already.
	inside bool
	// ended is true when the client has said over TLS that nothing more comes.
	ended bool
}

func (in *h1Input) empty() bool { return in.r == in.w }

// peek is all that is here.
func (in *h1Input) peek() []byte {
	if in.buf == nil {
		return nil
	}
	return (*in.buf)[in.r:in.w]
}

func (in *h1Input) skip(n int) { in.r += n }

func (in *h1Input) take(p []byte) int {
	n := copy(p, in.peek())
	in.r += n
	return n
}

// direct reads into p when nothing is here.
func (in *h1Input) direct(p []byte) (int, error) {
	n, err := in.nc.Read(p)
	in.inside = in.socket.secure && n == len(p)
	return n, err
}

// more adds to what is here.
func (in *h1Input) more() error {
	in.room()
	n, err := in.direct((*in.buf)[in.w:])
	in.w += n
	if n > 0 {
		err = nil // it will come again
	}
	return err
}

// room makes room for at least a byte.
func (in *h1Input) room() {
	switch {
	case in.buf == nil:
		in.buf, in.r, in.w = newInput(in.foreseen()), 0, 0
	case in.empty() && in.buf != in.kept:
		in.r, in.w = 0, 0
	case in.empty() || in.w == len(*in.buf):
		in.move()
	}
}

// foreseen is how many bytes will be here at once, one more at least: TLS makes
// them fewer.
func (in *h1Input) foreseen() int { return min(in.socket.buffered()+1, maxForeseen) }

// move goes on in another buffer, a larger one if this one is full.
func (in *h1Input) move() {
	ahead := in.peek()
	size := max(len(ahead)+1, in.foreseen())
	if in.r == 0 {
		size = max(size, len(*in.buf)+1)
	}
	buf := newInput(size)
	w := copy(*buf, ahead)
	if in.buf != in.kept {
		putInput(in.buf)
	}
	in.buf, in.r, in.w = buf, 0, w
}

// keep leaves the first n bytes as they are until free.
func (in *h1Input) keep(n int) {
	in.kept = in.buf
	in.r += n
}

// free ends what keep began. What was read ahead moves to the buffer's beginning,
// where the next request begins.
func (in *h1Input) free() {
	if in.empty() {
		in.release()
		return
	}
	if in.kept != nil && in.kept != in.buf {
		putInput(in.kept)
	}
	in.kept = nil
	in.r, in.w = 0, copy(*in.buf, in.peek())
}

// release gives everything back.
func (in *h1Input) release() {
	if in.kept != nil && in.kept != in.buf {
		putInput(in.kept)
	}
	if in.buf != nil {
		putInput(in.buf)
	}
	in.buf, in.kept, in.r, in.w = nil, nil, 0, 0
}

// wait waits for a byte.
func (in *h1Input) wait() error {
	switch {
	case !in.empty():
		return nil
	case in.ended:
		return io.EOF
	}
	return in.socket.wait()
}

// decrypt takes what TLS can decrypt without waiting, if there is anything, and says
// whether the client has ended its side instead. It leaves a deadline behind that has
// passed.
func (in *h1Input) decrypt() (ended bool) {
	err := in.socket.SetReadDeadline(time.Unix(1, 0))
	if err == nil {
		err = in.more()
	}
	switch {
	case !in.empty():
	case in.kept == nil:
		in.release()
	case in.buf != in.kept:
		putInput(in.buf)
		in.buf, in.r, in.w = in.kept, len(*in.kept), len(*in.kept)
	}
	in.ended = err != nil && !timedOut(err)
	return in.ended
}
