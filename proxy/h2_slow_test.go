package proxy

import (
	"bytes"
	"fmt"
	"io"
	"strings"
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
