package proxy

import "encoding/binary"

// frames follows one direction of a WebSocket from frame to frame (RFC 6455,
// section 5.2) and leaves every byte as it is. Extensions change what a payload
// means, never where it ends. The zero value stands before the first frame.
type frames struct {
	head [10]byte // what tells how long the frame is, without the masking key
	have int      // bytes of head that have come; 0 once it is known
	left uint64   // bytes of the frame that are to come after head
	now  byte     // the opcode of the frame under way
	// closed is true when a whole close frame has passed: its sender sends no more
	// frames (section 5.5.1).
	closed bool
	lost   bool // what came is no frame, so that none has an end any more
}

// opcodeClose is the opcode of a close frame (RFC 6455, section 11.8).
const opcodeClose = 8

// between says whether a frame of somebody else's may be put here. In the middle of
// a message of several frames a control frame may (section 5.4).
func (f *frames) between() bool { return f.have == 0 && f.left == 0 && !f.lost }

// pass follows what was sent.
func (f *frames) pass(p []byte) {
	for len(p) > 0 && !f.lost {
		p = p[f.frame(p):]
	}
}

// rest follows what is sent up to the end of the frame under way, and returns how
// much of p that is: nothing between frames, everything when the end is not there.
func (f *frames) rest(p []byte) int {
	switch {
	case f.lost:
		return len(p)
	case f.between():
		return 0
	}
	return f.frame(p)
}

// frame follows p, which is not empty, to the end of the frame under way or of the
// one that begins with it, and returns how much of p that is.
func (f *frames) frame(p []byte) (n int) {
	for f.left == 0 {
		if n == len(p) {
			return n
		}
		f.head[f.have] = p[n]
		f.have++
		n++
		if f.known() {
			f.begin()
			break
		}
	}
	if f.lost {
		return len(p)
	}
	took := min(f.left, uint64(len(p)-n))
	f.left -= took
	if n += int(took); f.left == 0 && f.have == 0 {
		f.closed = f.closed || f.now == opcodeClose
	}
	return n
}

// known says whether head is whole.
func (f *frames) known() bool { return f.have >= 2 && f.have == 2+f.extended() }

// extended is how many bytes of the length follow the first two.
func (f *frames) extended() int {
	switch f.head[1] & 0x7f {
	case 126:
		return 2
	case 127:
		return 8
	}
	return 0
}

// begin reads a whole head. A length beyond 63 bits is none.
func (f *frames) begin() {
	f.now, f.have = f.head[0]&0x0f, 0
	switch f.extended() {
	case 0:
		f.left = uint64(f.head[1] & 0x7f)
	case 2:
		f.left = uint64(binary.BigEndian.Uint16(f.head[2:]))
	case 8:
		f.left = binary.BigEndian.Uint64(f.head[2:])
		f.lost = f.left >= 1<<63
	}
	if f.head[1]&0x80 != 0 {
		f.left += 4 // the masking key
	}
}
