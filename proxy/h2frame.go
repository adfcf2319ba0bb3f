package proxy

import (
	"encoding/binary"
	"fmt"
)

// The frames of HTTP/2 and their flags (RFC 9113, section 6).
const (
	h2Data         = 0
	h2Headers      = 1
	h2Priority     = 2
	h2Reset        = 3
	h2Settings     = 4
	h2PushPromise  = 5
	h2Ping         = 6
	h2GoAway       = 7
	h2WindowUpdate = 8
	h2Continuation = 9

	h2EndStream   = 0x1 // also ACK
	h2Ack         = 0x1
	h2EndHeaders  = 0x4
	h2Padded      = 0x8
	h2HasPriority = 0x20
)

// The settings of RFC 9113, section 6.5.2.
const (
	h2TableSize     = 1
	h2EnablePush    = 2
	h2MaxStreams    = 3
	h2InitialWindow = 4
	h2MaxFrame      = 5
	h2MaxHeaderList = 6
)

// h2Code is an error code (RFC 9113, section 7).
type h2Code uint32

const (
	h2NoError          h2Code = 0
	h2ProtocolError    h2Code = 1
	h2InternalError    h2Code = 2
	h2FlowControlError h2Code = 3
	h2StreamClosed     h2Code = 5
	h2FrameSizeError   h2Code = 6
	h2RefusedStream    h2Code = 7
	h2CompressionError h2Code = 9
	h2EnhanceYourCalm  h2Code = 11
)

// h2Error is what a client did wrong. It ends its stream, or the connection when
// stream is 0.
type h2Error struct {
	stream uint32
	code   h2Code
	why    string
}

func (e *h2Error) Error() string {
	return fmt.Sprintf("HTTP/2 error %d: %s", e.code, e.why)
}

const (
	h2FrameHead = 9
	// h2FrameSize is the largest frame taken and sent: what every peer takes (RFC
	// 9113, section 4.2), and what fits a TLS record.
	h2FrameSize = 16 << 10
)

const h2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// appendFrame begins a frame of n bytes.
func appendFrame(b []byte, n int, kind, flags byte, stream uint32) []byte {
	return append(b, byte(n>>16), byte(n>>8), byte(n), kind, flags, byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

// appendNumberFrame is a frame whose payload is one number.
func appendNumberFrame(b []byte, kind byte, stream, n uint32) []byte {
	return binary.BigEndian.AppendUint32(appendFrame(b, 4, kind, 0, stream), n)
}

// h2Frame is the head of a frame.
type h2Frame struct {
	length int
	kind   byte
	flags  byte
	stream uint32
}

func parseFrameHead(b []byte) h2Frame {
	return h2Frame{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]),
		kind:   b[3], flags: b[4],
		stream: binary.BigEndian.Uint32(b[5:]) &^ (1 << 31),
	}
}

func (f h2Frame) has(flag byte) bool { return f.flags&flag != 0 }

// h2Buffers hold a frame that is read, with what came behind it.
var h2Buffers = newBuffers(h2FrameHead+h2FrameSize, h2FrameHead+h2FrameSize)

// h2Outputs gather what waits to be written to a connection.
var h2Outputs = newBuffers(0, 2<<10)
