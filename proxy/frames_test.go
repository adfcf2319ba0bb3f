package proxy

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// webSocketFrame is a frame as one side sends it, masked or not; size is how the
// length is written: 0 for the shortest way.
func webSocketFrame(opcode byte, masked bool, size int, payload []byte) []byte {
	head := []byte{0x80 | opcode, 0}
	switch n := len(payload); {
	case size == 8 || n > 0xffff:
		head[1] = 127
		head = binary.BigEndian.AppendUint64(head, uint64(n))
	case size == 2 || n > 125:
		head[1] = 126
		head = binary.BigEndian.AppendUint16(head, uint16(n))
	default:
		head[1] = byte(n)
	}
	if masked {
		head[1] |= 0x80
		head = append(head, 0, 0, 0, 0) // a key that changes nothing
	}
	return append(head, payload...)
}

// TestFrames cuts a stream of frames at every byte, and sees after each byte
// whether a frame has ended there.
func TestFrames(t *testing.T) {
	var stream []byte
	ends := map[int]bool{0: true}
	for _, masked := range []bool{false, true} {
		for _, n := range []int{0, 1, 125, 126, 127, 300, 0xffff, 0x10000} {
			for _, size := range []int{0, 2, 8} {
				stream = append(stream, webSocketFrame(byte(n%3), masked, size, make([]byte, n))...)
				ends[len(stream)] = true
			}
		}
	}
	var f frames
	for i := range stream {
		if f.between() != ends[i] {
			t.Fatalf("after %d bytes: between is %v", i, f.between())
		}
		f.pass(stream[i : i+1])
	}
	if !f.between() || f.closed || f.lost {
		t.Errorf("at the end: %+v", f)
	}
	whole := frames{}
	if whole.pass(stream); !whole.between() {
		t.Error("all at once: not between frames")
	}
}

func TestFramesClose(t *testing.T) {
	for _, masked := range []bool{false, true} {
		var f frames
		text := webSocketFrame(opcodeClose, masked, 0, []byte{0x03, 0xe8})
		f.pass(text[:len(text)-1])
		if f.closed {
			t.Error("closed before the close frame has ended")
		}
		f.pass(text[len(text)-1:])
		if !f.closed || !f.between() {
			t.Errorf("masked %v: a close frame has passed: %+v", masked, f)
		}
		f.pass(webSocketFrame(1, masked, 0, []byte("more")))
		if !f.closed {
			t.Error("forgotten")
		}
	}
	var empty frames // a close frame may have no payload
	if empty.pass([]byte{0x88, 0}); !empty.closed {
		t.Error("an empty close frame was not noticed")
	}
}

// TestFramesRest takes the rest of a frame from what holds the next one as well.
func TestFramesRest(t *testing.T) {
	one, two := webSocketFrame(2, false, 0, make([]byte, 200)), webSocketFrame(1, false, 0, []byte("two"))
	for cut := range len(one) + 1 {
		var f frames
		f.pass(one[:cut])
		want := len(one) - cut
		if cut == 0 {
			want = 0 // the frame has not begun: it need not
		}
		if n := f.rest(append(one[cut:len(one):len(one)], two...)); n != want || !f.between() {
			t.Errorf("cut at %d: the rest is %d bytes, not %d", cut, n, want)
		}
	}
	var f frames
	f.pass(one[:3])
	if n := f.rest(one[3:100]); n != 97 || f.between() {
		t.Errorf("a part of the rest: %d bytes", n)
	}
	var lost frames
	lost.pass([]byte{0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3})
	if n := lost.rest(two); !lost.lost || lost.between() || n != len(two) {
		t.Errorf("a length of 64 bits: %+v, %d", lost, n)
	}
}

// naiveFrames reads whole frames from a text, and returns where the last one ends,
// whether one was a close frame, and false when there is a length of 64 bits.
func naiveFrames(text []byte) (end int, closed, ok bool) {
	for {
		rest := text[end:]
		if len(rest) < 2 {
			return end, closed, true
		}
		head, length := 2, uint64(rest[1]&0x7f)
		switch {
		case length == 126 && len(rest) >= 4:
			head, length = 4, uint64(rest[2])<<8|uint64(rest[3])
		case length == 127 && len(rest) >= 10:
			head, length = 10, 0
			for _, b := range rest[2:10] {
				length = length<<8 | uint64(b)
			}
		case length >= 126:
			return end, closed, true
		}
		if length > 1<<63-1 {
			return end, closed, false
		}
		if rest[1] > 0x7f {
			head += 4
		}
		if uint64(len(rest)) < uint64(head)+length {
			return end, closed, true
		}
		closed = closed || rest[0]&15 == 8
		end += head + int(length)
	}
}

// FuzzFrames: however a stream is cut, the frames end where a reader of the whole
// finds their ends, and leaving it hands on whole frames alone.
func FuzzFrames(f *testing.F) {
	f.Add(append(webSocketFrame(1, false, 0, []byte("hello")), webSocketFrame(8, false, 0, []byte{3, 232})...), uint16(3), uint16(4))
	f.Add(webSocketFrame(2, true, 2, make([]byte, 300)), uint16(7), uint16(1))
	f.Add(webSocketFrame(0, false, 8, make([]byte, 2)), uint16(1), uint16(9))
	f.Add([]byte{0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0, 1}, uint16(2), uint16(5))
	f.Add([]byte{0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 1}, uint16(2), uint16(5))
	f.Fuzz(func(t *testing.T, text []byte, size, leaveAt uint16) {
		step := int(size%64) + 1
		var tr frames
		for at := 0; at < len(text); at += step {
			tr.pass(text[at:min(at+step, len(text))])
		}
		end, closed, ok := naiveFrames(text)
		if tr.lost == ok || ok && (tr.between() != (end == len(text)) || tr.closed != closed) {
			t.Fatalf("%x in steps of %d: %+v; the last frame ends at %d of %d, closed %v, ok %v", text, step, tr, end, len(text), closed, ok)
		}
		leave(t, text, step, min(int(leaveAt), len(text)))
	})
}

// leave sends a text in steps as a tunnel does that is left at some byte.
func leave(t *testing.T, text []byte, step, at int) {
	t.Helper()
	var tr frames
	tr.pass(text[:at])
	sent := bytes.Clone(text[:at])
	for next := at; next < len(text) && !tr.between(); next += step {
		part := text[next:min(next+step, len(text))]
		n := tr.rest(part)
		if n == 0 {
			t.Fatalf("nothing of %x is the rest of a frame", part)
		}
		sent = append(sent, part[:n]...)
	}
	if end, _, ok := naiveFrames(sent); ok && tr.between() && end != len(sent) {
		t.Errorf("%x left at %d in steps of %d: %x was sent, which ends inside a frame", text, at, step, sent)
	}
	if !bytes.HasPrefix(text, sent) {
		t.Errorf("%x was changed to %x", text, sent)
	}
}
