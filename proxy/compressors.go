package proxy

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxCompressors bounds the answers that are compressed at the same time; further
// ones go out as they are. A compressor has about 1 MiB, for as long as its
// client takes to read.
const maxCompressors = 64

// compressors counts the answers that are being compressed.
type compressors struct{ n atomic.Int64 }

// enter says whether one more may be; leave ends what it began.
func (c *compressors) enter() bool {
	if c.n.Add(1) <= maxCompressors {
		return true
	}
	c.leave()
	return false
}

func (c *compressors) leave() { countDown(&c.n, "answers that are compressed") }

// encoder is what the libraries have in common. None works in the background.
type encoder interface {
	io.Writer
	// Flush writes what decodes to all that was written so far.
	Flush() error
	// Close writes the end.
	Close() error
	// Reset forgets everything, errors too.
	Reset(io.Writer)
}

// encoders are those that nobody uses at the moment, by coding. The levels are
// those beyond which time and memory grow faster than answers shrink.
var encoders = [codings]sync.Pool{
	zstdCoding:   {New: func() any { return newZstd() }},
	brotliCoding: {New: func() any { return brotli.NewWriterOptions(nil, brotli.WriterOptions{Quality: 3, LGWin: 18}) }},
	gzipCoding:   {New: func() any { return newGzip() }},
}

// newZstd has a window of 256 KiB, well below the 8 MiB that clients have to
// bear (RFC 9659, section 3).
func newZstd() encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(256<<10),
		zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(fmt.Sprintf("the options for zstd: %v", err)) // they are constants
	}
	return e
}

func newGzip() encoder {
	e, err := gzip.NewWriterLevel(nil, 5)
	if err != nil {
		panic(fmt.Sprintf("the level for gzip: %v", err)) // likewise
	}
	return e
}

// wire writes to the client, and counts.
type wire struct{ x *exchange }

// Write implements io.Writer.
func (w wire) Write(p []byte) (int, error) {
	n, err := w.x.w.Write(p)
	w.x.record.Sent += int64(n)
	return n, err
}

// head sends the head of an answer; length is the body's in bytes, -1 when it is
// unknown. Whether the body is compressed is decided here.
func (x *exchange) head(status int, h Header, length int64) {
	h = x.encode(status, h, length)
	if x.coding != uncoded {
		length = -1
	}
	x.w.Head(status, h, length)
}

// compressor is the encoder of a body in x.coding. An answer has none before
// something of its body is here: a parked one costs no memory.
func (x *exchange) compressor() encoder {
	if x.encoder == nil {
		x.encoder = encoders[x.coding].Get().(encoder)
		x.encoder.Reset(wire{x})
	}
	return x.encoder
}

// write sends a part of the body to the client.
func (x *exchange) write(p []byte) bool {
	var to io.Writer = wire{x}
	if x.coding != uncoded {
		to = x.compressor()
	}
	_, err := to.Write(p)
	return x.reached(err)
}

// flush sends what was written so far.
func (x *exchange) flush() bool {
	if x.encoder != nil && !x.reached(x.encoder.Flush()) {
		return false
	}
	return x.reached(x.w.Flush())
}

// finish writes the end that a coding has. A body that broke off gets none.
func (x *exchange) finish() bool {
	return x.coding == uncoded || x.reached(x.compressor().Close())
}

// releaseEncoder gives back what compressing the answer took.
func (x *exchange) releaseEncoder() {
	if x.coding == uncoded {
		return
	}
	if x.encoder != nil {
		x.encoder.Reset(nil) // it writes to nobody while it waits
		encoders[x.coding].Put(x.encoder)
	}
	x.coding, x.encoder = uncoded, nil
	x.proxy.compressors.leave()
}
