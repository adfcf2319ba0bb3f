package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// answersMuch answers with as much as limits may be tried with, and /small with nothing.
func answersMuch(r *Request, w Responder) {
	if r.Target == "/small" {
		w.Head(204, nil, -1)
		return
	}
	w.Head(200, nil, -1)
	if _, err := w.Write(make([]byte, 200000)); err != nil {
		w.Abort()
	}
}

// askSmall asks for what needs no window.
func (p *peer2) askSmall(id uint32) {
	p.ask(id, true, ":method", "GET", ":scheme", "https", ":authority", "matrix.example.com", ":path", "/small")
}

// soFar is what has come, once nothing more does; in a bubble of synctest.
func (p *peer2) soFar() (all []string) {
	synctest.Wait()
	for {
		select {
		case f, ok := <-p.frames:
			if !ok {
				return append(all, "closed")
			}
			all = append(all, f.text)
		default:
			return all
		}
	}
}

// TestH2HeadPasses: a head needs no window (RFC 9113, section 5.2.1), so that it does
// not wait behind data that has none.
func TestH2HeadPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer2(t, answersMuch, false)
		p.greet(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
		p.ask(1, true)
		p.soFar()
		start := time.Now()
		p.askSmall(3)
		p.expect("headers 3 204 end")
		if waited := time.Since(start); waited > 0 {
			t.Errorf("the head came after %v", waited)
		}
	})
}

// TestH2VerySlow: a client may take what it is sent as slowly as it likes, and others
// on its connection get their answers after that, or nothing, but never a body without a
// head.
func TestH2VerySlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer2(t, answersMuch, true)
		var got bytes.Buffer
		fast, ended := make(chan bool), make(chan bool)
		go func() {
			defer close(ended)
			defer close(p.frames)
			for b := make([]byte, 100); ; {
				n, err := p.nc.Read(b)
				if got.Write(b[:n]); err != nil {
					return
				}
				select {
				case <-fast:
				case <-time.After(time.Second):
				}
			}
		}()
		p.greet(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
		p.framer.WriteWindowUpdate(0, 1<<20)
		p.ask(1, true)
		time.Sleep(3 * time.Second)
		p.askSmall(3)
		time.Sleep(3 * time.Minute)
		close(fast)
		time.Sleep(10 * time.Second)
		p.nc.Close()
		<-ended
		framer := http2.NewFramer(io.Discard, &got)
		framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		var others []string
		total := 0
		for {
			f, err := framer.ReadFrame()
			if err != nil {
				break
			}
			if data, ok := f.(*http2.DataFrame); ok && data.StreamID == 1 {
				total += len(data.Data())
			} else if f.Header().StreamID > 0 {
				others = append(others, describe2(f).text)
			}
		}
		if fmt.Sprint(others) != "[headers 1 200 headers 3 204 end]" || total != 200000 {
			t.Errorf("%q and %d bytes", others, total)
		}
	})
}

// TestH2DrainSlow: who takes the last answer slowly gets all of it.
func TestH2DrainSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 60000
		release := make(chan bool)
		p := newPeer2(t, func(_ *Request, w Responder) {
			<-release
			w.Head(200, nil, size)
			w.Write(make([]byte, size))
		}, true)
		total := 0
		ended := make(chan bool)
		go func() {
			defer close(ended)
			for b := make([]byte, 2000); ; time.Sleep(100 * time.Millisecond) {
				n, err := p.nc.Read(b)
				if total += n; err != nil {
					return
				}
			}
		}()
		p.greet()
		p.ask(1, true)
		time.Sleep(time.Second)
		p.conn.drain()
		time.Sleep(2 * h2Farewell)
		release <- true
		<-ended
		if total < size {
			t.Errorf("%d bytes of an answer of %d", total, size)
		}
	})
}

// TestH2DrainHalfHead: of a request that GOAWAY says may have been served its client
// cannot know whether to send it again (RFC 9113, section 6.8), so that one which is
// dropped is not among them.
func TestH2DrainHalfHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served := false
		p := open2(t, func(r *Request, w Responder) { served = true; answers200(r, w) })
		block := p.compress()
		p.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true, BlockFragment: block[:3]})
		synctest.Wait()
		p.conn.drain()
		time.Sleep(2 * h2Farewell)
		p.framer.WriteContinuation(1, true, block[3:])
		<-p.served
		if all := p.soFar(); strings.Contains(fmt.Sprint(all), "goaway 1 ") != served {
			t.Errorf("served: %v; %v", served, all)
		}
	})
}

// TestH2FramesInPieces: frames that are each complete in time are no reason to end a
// connection, although none ends where a write does.
func TestH2FramesInPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open2(t, answers200)
		ping := append(appendFrame(nil, 8, h2Ping, 0, 0), "12345678"...)
		p.nc.Write(ping[:12])
		for range 10 {
			time.Sleep(4 * time.Second)
			if _, err := p.nc.Write(append(bytes.Clone(ping[12:]), ping[:12]...)); err != nil {
				t.Fatalf("%v: %v", err, p.soFar())
			}
		}
	})
}

// TestH2WindowTold: room on the connection is told at once, also when the bodies that
// left it are whole and nobody has anything else to say.
func TestH2WindowTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		take := make(chan bool)
		p := open2(t, func(r *Request, w Responder) {
			<-take
			io.Copy(io.Discard, r.Body)
			<-r.Context.Done() // a back end that thinks
			w.Abort()
		})
		for id := uint32(1); id <= 7; id += 2 {
			p.ask(id, false)
			for i := range h2StreamWindow / h2FrameSize {
				p.framer.WriteData(id, i == h2StreamWindow/h2FrameSize-1, make([]byte, h2FrameSize))
			}
		}
		p.soFar()
		start := time.Now()
		close(take)
		p.expect(fmt.Sprintf("window 0 %d", h2ConnWindow/4))
		if waited := time.Since(start); waited > 0 {
			t.Errorf("the client heard of its window after %v", waited)
		}
	})
}

// TestH2BodyMemory: what bodies took that somebody has is not kept for as long as their
// requests last.
func TestH2BodyMemory(t *testing.T) {
	const burst, piece = 500 << 10, 10 << 10
	taken := make(chan bool)
	p := open2(t, func(r *Request, w Responder) {
		time.Sleep(20 * time.Millisecond) // until it has come
		io.CopyN(io.Discard, r.Body, burst)
		taken <- true
		<-r.Context.Done()
		w.Abort()
	})
	for id := uint32(1); id < 60; id += 2 {
		p.ask(id, false)
		for range burst / piece {
			p.framer.WriteData(id, false, make([]byte, piece))
		}
		<-taken
	}
	p.conn.mu.Lock()
	defer p.conn.mu.Unlock()
	kept, unread := 0, 0
	for _, s := range p.conn.streams {
		for _, piece := range s.unread.pieces {
			kept += cap(*piece)
		}
		unread += s.unread.size
	}
	if kept > h2ConnWindow {
		t.Errorf("%d requests: %d KiB are kept for %d unread bytes", len(p.conn.streams), kept>>10, unread)
	}
}

// TestH2ManySettings: each of them is a turn around all streams.
func TestH2ManySettings(t *testing.T) {
	p := open2(t, staysParked)
	var all []http2.Setting
	for i := range h2SettingsMost + 1 {
		all = append(all, http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(i)})
	}
	p.framer.WriteSettings(all[1:]...)
	p.framer.WritePing(false, [8]byte{})
	p.expect("pong")
	p.framer.WriteSettings(all...)
	p.expect("goaway 0 ENHANCE_YOUR_CALM")
}

// TestNoHeadTimeout: timeouts.head: 0s is no bound, over HTTP/2 as over HTTP/1.1 and
// with the other engine.
func TestNoHeadTimeout(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		f := e.front(t, oneSite(newBackend(t, "main"), "timeouts: { head: 0s }\n"), true)
		c := f.rawConn(f.https, "h2")
		c.SetDeadline(time.Now().Add(5 * time.Second))
		time.Sleep(100 * time.Millisecond)
		io.WriteString(c, h2Preface)
		time.Sleep(100 * time.Millisecond)
		c.Write(appendFrame(nil, 0, h2Settings, 0, 0))
		b := make([]byte, 9)
		if _, err := io.ReadFull(c, b); err != nil || b[3] != h2Settings {
			t.Fatalf("% x %v", b, err)
		}
		// A frame in two pieces.
		ping := appendFrame(nil, 8, h2Ping, 0, 0)
		c.Write(ping)
		time.Sleep(100 * time.Millisecond)
		c.Write(make([]byte, 8))
		text := make([]byte, 0, 512)
		for !bytes.Contains(text, appendFrame(nil, 8, h2Ping, h2Ack, 0)) {
			n, err := c.Read(text[len(text):cap(text)])
			if text = text[:len(text)+n]; err != nil {
				t.Fatalf("% x %v", text, err)
			}
		}
	})
}

// TestH2IdleSlow: a connection whose client still takes the last answer is not idle.
func TestH2IdleSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 60000
		p := newPeer2(t, func(_ *Request, w Responder) {
			w.Head(200, nil, size)
			w.Write(make([]byte, size))
		}, true)
		p.conn.own.idle = time.Second
		p.greet()
		p.ask(1, true)
		total := 0
		for b := make([]byte, 1000); ; time.Sleep(100 * time.Millisecond) {
			n, err := p.nc.Read(b)
			if total += n; err != nil {
				break
			}
		}
		if total < size {
			t.Errorf("%d bytes of an answer of %d", total, size)
		}
	})
}

// TestH2Padding: what padding takes of a stream's window is given back.
func TestH2Padding(t *testing.T) {
	p := open2(t, func(r *Request, w Responder) {
		io.Copy(io.Discard, r.Body)
		answers200(r, w)
	})
	p.ask(1, false)
	for range h2StreamWindow / 4 / 256 {
		p.framer.WriteDataPadded(1, false, []byte{}, make([]byte, 255))
	}
	p.expect(fmt.Sprintf("window 1 %d", h2StreamWindow/4))
}

// TestH2ManyCut: all streams may be ended at once, and what is still on its way of
// each is nobody's fault.
func TestH2ManyCut(t *testing.T) {
	var release sync.WaitGroup
	release.Add(1)
	p := open2(t, func(r *Request, w Responder) {
		release.Wait()
		answers200(r, w)
	})
	for i := range uint32(h2Streams) {
		p.ask(2*i+1, false)
	}
	release.Done()
	resets := map[string]int{}
	for i := range uint32(h2Streams) {
		resets[fmt.Sprintf("reset %d NO_ERROR", 2*i+1)] = 1
	}
	p.expectAll(resets)
	for i := range uint32(h2Streams) {
		p.framer.WriteData(2*i+1, false, []byte("x"))
	}
	p.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true, EndHeaders: true, BlockFragment: p.compress("x", "y")})
	p.framer.WritePing(false, [8]byte{1})
	for {
		select {
		case f, ok := <-p.frames:
			if !ok || strings.HasPrefix(f.text, "reset") || strings.HasPrefix(f.text, "goaway") {
				t.Fatalf("%q", f.text)
			}
			if f.text == "pong" {
				return
			}
		case <-time.After(time.Minute):
			t.Fatal("nothing comes")
		}
	}
}

// TestH2Answered: whoever has the whole answer may ask for something else, though the
// server is not done with the request.
func TestH2Answered(t *testing.T) {
	var over sync.WaitGroup
	over.Add(1)
	defer over.Done()
	p := open2(t, func(r *Request, w Responder) {
		w.Head(200, nil, 2)
		w.Write([]byte("ok"))
		w.(interface{ Flush() error }).Flush()
		over.Wait()
	})
	for i := range uint32(2 * h2Streams) {
		p.ask(2*i+1, true)
		p.expect(fmt.Sprintf("data %d 2 end", 2*i+1))
	}
	p.ask(4*h2Streams+1, true) // there is a bound all the same
	p.expect(fmt.Sprintf("reset %d REFUSED_STREAM", 4*h2Streams+1))
}

// TestH2FramesOfHead: a head that limits.head allows is not in too many pieces.
func TestH2FramesOfHead(t *testing.T) {
	p := newPeer2(t, answers200, false)
	p.conn.own.maxHead = 4 << 20
	p.conn.dec.SetMaxStringLength(8 << 20)
	p.greet()
	p.ask(1, true, "x", strings.Repeat("\xff", 3<<20))
	p.expect("headers 1 200")
}

// TestH2DrainUnsent: who takes the last answer slowly out of the kernel's hands gets
// all of it, though it tells the server meanwhile that it has room again: a connection
// that is closed by then would be reset.
func TestH2DrainUnsent(t *testing.T) {
	const size = 200000
	main := newBackend(t, "main")
	main.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
		fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size))
		return true
	})
	f := h1Front(t, oneSite(main, ""), true)
	small := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
	}}
	c, err := tls.DialWithDialer(&small, "tcp", f.https, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	io.WriteString(c, http2.ClientPreface)
	framer := http2.NewFramer(c, c)
	framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 2 * size})
	framer.WriteWindowUpdate(0, 2*size)
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, field := range []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"},
		{Name: ":authority", Value: "matrix.example.com"}, {Name: ":path", Value: "/_matrix/x"}} {
		enc.WriteField(field)
	}
	framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true, EndHeaders: true, BlockFragment: block.Bytes()})
	eventually(t, "the answer is on its way", func() bool { n, _ := main.count(); return n == 1 })
	time.Sleep(300 * time.Millisecond)
	stopped := f.stopping(30 * time.Second)
	time.Sleep(3 * h2Farewell)
	total := 0
	for i := 0; ; i++ {
		if i < 4 {
			framer.WriteWindowUpdate(0, 1000)
			time.Sleep(h2Farewell / 2)
		}
		frame, err := framer.ReadFrame()
		if err != nil {
			break
		}
		if data, ok := frame.(*http2.DataFrame); ok {
			total += len(data.Data())
		}
	}
	if total != size {
		t.Errorf("%d bytes of an answer of %d", total, size)
	}
	c.Close()
	within(t, time.Minute, "the server has stopped", stopped)
}
