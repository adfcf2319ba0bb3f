//go:build integration

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// wire is a client of HTTP/2 that does what it is told, frame by frame.
type wire struct {
	net.Conn
	*http2.Framer
	next    uint32 // stream
	block   bytes.Buffer
	encoder *hpack.Encoder
	heard   chan struct{} // by listen
	gone    chan struct{}
}

// dialWire opens a connection and says hello.
func (d *door) dialWire(settings ...http2.Setting) (*wire, error) {
	c, err := d.dial("h2")
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: c, Framer: http2.NewFramer(c, c), next: 1}
	w.AllowIllegalWrites, w.AllowIllegalReads = true, true
	w.encoder = hpack.NewEncoder(&w.block)
	if _, err = io.WriteString(c, http2.ClientPreface); err == nil {
		err = w.WriteSettings(settings...)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return w, nil
}

// encode makes a header block of a request, with more fields.
func (w *wire) encode(method, path string, fields ...string) []byte {
	w.block.Reset()
	all := append([]string{":method", method, ":scheme", "https", ":authority", doorHost, ":path", path}, fields...)
	for i := 0; i < len(all); i += 2 {
		w.encoder.WriteField(hpack.HeaderField{Name: all[i], Value: all[i+1]}) // a bytes.Buffer takes it
	}
	return w.block.Bytes()
}

// request begins a stream; whole says that there is no body.
func (w *wire) request(whole bool, method, path string, fields ...string) (stream uint32, err error) {
	stream = w.next
	w.next += 2
	return stream, w.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, EndHeaders: true, EndStream: whole,
		BlockFragment: w.encode(method, path, fields...)})
}

// answers reads until so many streams have ended, and returns their bodies.
func (w *wire) answers(streams int) (map[uint32]string, error) {
	bodies := map[uint32]string{}
	for ended := 0; ended < streams; {
		f, err := w.ReadFrame()
		if err != nil {
			return bodies, fmt.Errorf("after %d of %d answers: %w", ended, streams, err)
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				err = w.WriteSettingsAck()
			}
		case *http2.DataFrame:
			bodies[f.StreamID] += string(f.Data())
			if f.StreamEnded() {
				ended++
			}
		case *http2.HeadersFrame:
			if f.StreamEnded() {
				ended++
			}
		case *http2.RSTStreamFrame:
			err = fmt.Errorf("stream %d is reset: %v", f.StreamID, f.ErrCode)
		case *http2.GoAwayFrame:
			err = fmt.Errorf("the connection ends: %v %s", f.ErrCode, f.DebugData())
		}
		if err != nil {
			return bodies, err
		}
	}
	return bodies, nil
}

// listen reads what comes from now on. gone is closed when the connection has
// ended.
func (w *wire) listen() {
	w.heard, w.gone = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(w.gone)
		heard := false
		for {
			f, err := w.ReadFrame()
			if err != nil {
				return
			}
			if f, ok := f.(*http2.PingFrame); ok && f.IsAck() && f.Data == lastWord && !heard {
				heard = true
				close(w.heard)
			}
		}
	}()
}

// ended says whether the server has ended the connection.
func (w *wire) ended() bool {
	select {
	case <-w.gone:
		return true
	default:
		return false
	}
}

// lastWord is the ping that settle sends.
var lastWord = [8]byte{'d', 'o', 'n', 'e', '?'}

// settle waits until the server has taken everything in, or ended the connection,
// and closes it. The wire must be listening.
func (w *wire) settle() error {
	defer func() {
		w.Close()
		<-w.gone
	}()
	w.WritePing(false, lastWord)
	select {
	case <-w.heard:
		return nil
	case <-w.gone:
		return nil
	case <-time.After(30 * time.Second):
		return errors.New("the server neither answers nor ends the connection")
	}
}
