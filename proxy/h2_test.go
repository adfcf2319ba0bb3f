package proxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// peer2 is a client of an h2Conn, over a connection in memory. Its back end is a
// function.
type peer2 struct {
	t      testing.TB
	nc     net.Conn
	framer *http2.Framer
	block  bytes.Buffer
	enc    *hpack.Encoder
	conn   *h2Conn
	in     [1024]byte    // of skip
	served chan struct{} // closed when the connection has ended
	frames chan frame2   // what came, in a few words
}

// frame2 is a frame that came from the server.
type frame2 struct {
	text   string // such as "headers 1 200 end", "data 1 5 end", "reset 1 PROTOCOL_ERROR"
	data   string
	fields []hpack.HeaderField
}

// newPeer2 makes the connection; each request is served by serves. It reads all that
// comes, unless it is deaf.
func newPeer2(t testing.TB, serves func(*Request, Responder), deaf bool) *peer2 {
	t.Helper()
	client, server := net.Pipe()
	return newPeer2On(t, client, server, serves, deaf)
}

// always is a setting that no reload changes.
func always(d time.Duration) func() time.Duration { return func() time.Duration { return d } }

func newPeer2On(t testing.TB, client, server net.Conn, serves func(*Request, Responder), deaf bool) *peer2 {
	o := &own{head: 10 * time.Second, idle: 3 * time.Minute, maxHead: 64 << 10, log: slog.New(slog.DiscardHandler)}
	p := &peer2{t: t, nc: client, served: make(chan struct{}), frames: make(chan frame2, 10000)}
	p.conn = newH2Conn(o, &stallConn{Conn: server, stall: always(time.Minute)}, serves, always(time.Minute))
	p.enc = hpack.NewEncoder(&p.block)
	p.framer = http2.NewFramer(client, client)
	p.framer.AllowIllegalWrites = true
	p.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	go func() {
		p.conn.serve()
		p.conn.Close()
		close(p.served)
	}()
	if !deaf {
		go p.listen()
	}
	t.Cleanup(func() {
		client.Close()
		<-p.served
	})
	return p
}

// open is newPeer2 with what a connection begins with.
func open2(t testing.TB, serves func(*Request, Responder)) *peer2 {
	t.Helper()
	p := newPeer2(t, serves, false)
	p.greet()
	return p
}

func (p *peer2) greet(settings ...http2.Setting) {
	io.WriteString(p.nc, http2.ClientPreface)
	p.framer.WriteSettings(settings...)
}

// listen reads until the end.
func (p *peer2) listen() {
	defer close(p.frames)
	for {
		f, err := p.framer.ReadFrame()
		if err != nil {
			return
		}
		p.frames <- describe2(f)
	}
}

func describe2(f http2.Frame) (d frame2) {
	id := f.Header().StreamID
	switch f := f.(type) {
	case *http2.MetaHeadersFrame:
		d.text, d.fields = fmt.Sprintf("headers %d %s", id, f.PseudoValue("status")), slices.Clone(f.Fields)
	case *http2.DataFrame:
		d.text, d.data = fmt.Sprintf("data %d %d", id, len(f.Data())), string(f.Data())
	case *http2.RSTStreamFrame:
		d.text = fmt.Sprintf("reset %d %v", id, f.ErrCode)
	case *http2.GoAwayFrame:
		d.text = fmt.Sprintf("goaway %d %v", f.LastStreamID, f.ErrCode)
	case *http2.PingFrame:
		d.text, d.data = "ping", string(f.Data[:])
		if f.IsAck() {
			d.text = "pong"
		}
	case *http2.WindowUpdateFrame:
		d.text = fmt.Sprintf("window %d %d", id, f.Increment)
	case *http2.SettingsFrame:
		d.text = "settings"
		if f.IsAck() {
			d.text = "settings ack"
		}
	}
	if e, ok := f.(interface{ StreamEnded() bool }); ok && e.StreamEnded() {
		d.text += " end"
	}
	return d
}

// ask sends the head of a request; fields are names and values.
func (p *peer2) ask(id uint32, end bool, fields ...string) {
	rest := p.compress(fields...)
	part := rest[:min(len(rest), h2FrameSize)]
	rest = rest[len(part):]
	p.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: part, EndStream: end, EndHeaders: len(rest) == 0})
	for len(rest) > 0 {
		part, rest = rest[:min(len(rest), h2FrameSize)], rest[min(len(rest), h2FrameSize):]
		p.framer.WriteContinuation(id, len(rest) == 0, part)
	}
}

// compress is a block of fields: those of a GET unless there are pseudo-fields.
func (p *peer2) compress(fields ...string) []byte {
	p.block.Reset()
	if len(fields) == 0 || !strings.HasPrefix(fields[0], ":") {
		fields = append([]string{":method", "GET", ":scheme", "https", ":authority", "matrix.example.com", ":path", "/_matrix/x"}, fields...)
	}
	for i := 0; i < len(fields); i += 2 {
		p.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return p.block.Bytes()
}

// expect waits for a frame, passing over others.
func (p *peer2) expect(text string) frame2 {
	p.t.Helper()
	var before []string
	limit := time.After(2 * time.Minute)
	for {
		select {
		case f, ok := <-p.frames:
			if !ok {
				p.t.Fatalf("the connection ended without %q; before came %q", text, before)
			}
			if f.text == text {
				return f
			}
			before = append(before, f.text)
		case <-limit:
			p.t.Fatalf("%q did not come; before came %q", text, before)
		}
	}
}

// expectAll waits for so many of each frame, in any order, passing over others.
func (p *peer2) expectAll(wanted map[string]int) {
	p.t.Helper()
	limit := time.After(2 * time.Minute)
	for len(wanted) > 0 {
		select {
		case f := <-p.frames:
			if wanted[f.text]--; wanted[f.text] <= 0 {
				delete(wanted, f.text)
			}
		case <-limit:
			p.t.Fatalf("these did not come: %v", wanted)
		}
	}
}

// answers200 is a back end with a short answer.
func answers200(_ *Request, w Responder) {
	w.Head(200, Header{{"Content-Type", "application/json"}}, 2)
	w.Write([]byte("{}"))
}

// staysParked is a back end that answers when the client is gone.
func staysParked(r *Request, w Responder) {
	<-r.Context.Done()
	w.Abort()
}

// TestH2Answer: a short answer is two frames, the last of which ends the stream.
func TestH2Answer(t *testing.T) {
	p := open2(t, answers200)
	for id := uint32(1); id < 9; id += 2 {
		p.ask(id, true)
		f := p.expect(fmt.Sprintf("headers %d 200", id))
		if len(f.fields) != 4 || f.fields[1].Name != "content-type" || f.fields[2].Value != "2" || f.fields[3].Name != "date" {
			t.Errorf("%v", f.fields)
		}
		p.expect(fmt.Sprintf("data %d 2 end", id))
	}
}

// TestH2Timeouts: nobody keeps a connection without using it.
func TestH2Timeouts(t *testing.T) {
	for _, is := range []struct {
		name string
		do   func(p *peer2)
		ends time.Duration
		says string
	}{
		{"nothing is sent", func(*peer2) {}, 10 * time.Second, "goaway 0 NO_ERROR"},
		{"no settings", func(p *peer2) { io.WriteString(p.nc, http2.ClientPreface) }, 10 * time.Second, "goaway 0 NO_ERROR"},
		{"idle from the beginning", func(p *peer2) { p.greet() }, 3 * time.Minute, "goaway 0 NO_ERROR"},
		{"idle after a request", func(p *peer2) {
			p.greet()
			time.Sleep(time.Minute)
			p.ask(1, true)
		}, 4 * time.Minute, "goaway 1 NO_ERROR"},
		{"half a frame", func(p *peer2) {
			p.greet()
			time.Sleep(time.Minute)
			p.nc.Write([]byte{0, 0, 8, 6, 0})
			time.Sleep(8 * time.Second)
			p.nc.Write([]byte{0})
		}, 70 * time.Second, "goaway 0 NO_ERROR"},
		{"half a head", func(p *peer2) {
			p.greet()
			block := p.compress()
			p.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:3]})
			time.Sleep(8 * time.Second)
			p.framer.WriteContinuation(1, false, block[3:5])
		}, 10 * time.Second, "goaway 0 NO_ERROR"},
	} {
		t.Run(is.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer2(t, answers200, false)
				start := time.Now()
				is.do(p)
				<-p.served
				if took := time.Since(start); took < is.ends || took > is.ends+2*time.Second {
					t.Errorf("ended after %v, want %v", took, is.ends)
				}
				p.expect(is.says)
			})
		})
	}
}

// TestH2Vanished: a client with a long poll that does not answer is asked whether it
// is there, and its request ends when it does not say so.
func TestH2Vanished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open2(t, staysParked)
		start := time.Now()
		p.ask(1, true)
		for range 5 {
			f := p.expect("ping")
			p.framer.WritePing(true, [8]byte([]byte(f.data)))
		}
		if d := time.Since(start); d < 5*h2Silence || d > 6*h2Silence {
			t.Errorf("five questions in %v", d)
		}
		<-p.served
		if d := time.Since(start); d < 6*h2Silence+h2Answer || d > 6*h2Silence+h2Answer+time.Second {
			t.Errorf("ended after %v", d)
		}
	})
}

// TestH2Drain: what was sent before the client could know is served, what comes after
// it must know is not, and what is under way ends in peace.
func TestH2Drain(t *testing.T) {
	release := make(chan bool)
	var served atomic.Int32
	p := open2(t, func(r *Request, w Responder) {
		served.Add(1)
		<-release
		answers200(r, w)
	})
	p.ask(1, true)
	p.expect("settings ack")
	eventually(t, "the first is served", func() bool { return served.Load() == 1 })
	p.conn.drain()
	p.expect(fmt.Sprintf("goaway %d NO_ERROR", h2MostWindow))
	ping := p.expect("ping")
	p.ask(3, true)
	p.framer.WritePing(true, [8]byte([]byte(ping.data)))
	p.expect("goaway 3 NO_ERROR")
	p.ask(5, false)
	p.framer.WriteData(5, true, []byte("ignored"))
	p.framer.WritePing(false, [8]byte{1})
	p.expect("pong")
	release <- true
	release <- true
	p.expect("data 1 2 end")
	<-p.served
	if served.Load() != 2 {
		t.Errorf("%d requests were served", served.Load())
	}
}

// TestH2DrainDeaf: a client that does not answer is not waited for.
func TestH2DrainDeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open2(t, answers200)
		p.expect("settings ack")
		start := time.Now()
		p.conn.drain()
		<-p.served
		if d := time.Since(start); d != h2Farewell {
			t.Errorf("ended after %v", d)
		}
	})
}

// TestH2Floods: what leads to nothing ends the connection before long, and requests
// that were given up count until they have ended.
func TestH2Floods(t *testing.T) {
	var under, most atomic.Int32
	slow := func(r *Request, w Responder) {
		for n := under.Add(1); n > most.Load(); n = under.Load() {
			most.Store(n)
		}
		<-r.Context.Done()
		time.Sleep(20 * time.Millisecond)
		under.Add(-1)
		w.Abort()
	}
	for name, send := range map[string]func(p *peer2, i int){
		"rapid reset (CVE-2023-44487)": func(p *peer2, i int) {
			p.ask(uint32(2*i+1), true)
			p.framer.WriteRSTStream(uint32(2*i+1), http2.ErrCodeCancel)
		},
		"resets of ours (CVE-2025-8671)": func(p *peer2, i int) {
			p.ask(uint32(2*i+1), true)
			p.framer.WriteWindowUpdate(uint32(2*i+1), 0)
		},
		"refused streams":            func(p *peer2, i int) { p.ask(uint32(2*i+1), true) },
		"malformed heads":            func(p *peer2, i int) { p.ask(uint32(2*i+1), true, "connection", "close") },
		"pings (CVE-2019-9512)":      func(p *peer2, _ int) { p.framer.WritePing(false, [8]byte{}) },
		"pongs":                      func(p *peer2, _ int) { p.framer.WritePing(true, [8]byte{}) },
		"settings (CVE-2019-9515)":   func(p *peer2, i int) { p.framer.WriteSettings(http2.Setting{ID: 1, Val: uint32(i)}) },
		"priorities (CVE-2019-9513)": func(p *peer2, i int) { p.framer.WritePriority(1, http2.PriorityParam{StreamDep: uint32(i) + 2}) },
		"unknown frames":             func(p *peer2, i int) { p.framer.WriteRawFrame(77, 0, 0, nil) },
		"farewells":                  func(p *peer2, i int) { p.framer.WriteGoAway(0, 0, nil) },
		"little windows":             func(p *peer2, i int) { p.framer.WriteWindowUpdate(0, 1) },
		"empty data (CVE-2019-9518)": func(p *peer2, i int) {
			if i == 0 {
				p.ask(1, false)
			}
			p.framer.WriteData(1, false, nil)
		},
		"padding alone": func(p *peer2, i int) {
			if i == 0 {
				p.ask(1, false)
			}
			p.framer.WriteDataPadded(1, false, nil, make([]byte, 9))
		},
		"data after the end": func(p *peer2, i int) {
			if i == 0 {
				p.ask(1, true)
			}
			p.framer.WriteData(1, false, []byte("x"))
		},
		"empty continuations (CVE-2023-45288)": func(p *peer2, i int) {
			if i == 0 {
				p.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.compress()})
			}
			p.framer.WriteContinuation(1, false, nil)
		},
		"a head without end": func(p *peer2, i int) {
			if i == 0 {
				p.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.compress()})
			}
			p.framer.WriteContinuation(1, false, bytes.Repeat([]byte{0x82}, 16<<10))
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := open2(t, slow)
			for i := range 200000 {
				send(p, i)
				select {
				case <-p.served:
					i = 0
				default:
					continue
				}
				break
			}
			select {
			case <-p.served:
			case <-time.After(20 * time.Second):
				t.Fatal("the connection goes on")
			}
			p.expectGoAway("ENHANCE_YOUR_CALM")
		})
	}
	if most.Load() > h2Streams {
		t.Errorf("%d requests at a time", most.Load())
	}
	eventually(t, "all have ended", func() bool { return under.Load() == 0 })
}

func (p *peer2) expectGoAway(code string) {
	p.t.Helper()
	for f := range p.frames {
		if strings.HasPrefix(f.text, "goaway") {
			if !strings.HasSuffix(f.text, code) {
				p.t.Errorf("%s, want %s", f.text, code)
			}
			return
		}
	}
	p.t.Errorf("no GOAWAY")
}

// TestH2Deaf: a client that has frames sent to it and reads none is not given
// memory for them.
func TestH2Deaf(t *testing.T) {
	p := newPeer2(t, answers200, true)
	p.greet()
	for i := range 1 << 20 {
		if p.framer.WritePing(false, [8]byte{}) != nil {
			if i > 2*h2ControlsMost {
				t.Errorf("%d frames were taken", i)
			}
			return
		}
	}
	t.Error("the connection goes on")
}

// TestH2DeafAnswers: nor one that asks for more and more.
func TestH2DeafAnswers(t *testing.T) {
	var under atomic.Int32
	p := newPeer2(t, func(r *Request, w Responder) {
		under.Add(1)
		defer under.Add(-1)
		w.Head(200, Header{{"X", strings.Repeat("x", 4000)}}, -1)
		w.Write(make([]byte, 60000))
	}, true)
	p.greet()
	p.nc.SetWriteDeadline(time.Now().Add(20 * time.Second))
	for id := uint32(1); id < 800; id += 2 {
		p.ask(id, true)
	}
	eventually(t, "most wait", func() bool { return under.Load() > h2Streams/2 })
	p.conn.mu.Lock()
	defer p.conn.mu.Unlock()
	if n := len(p.conn.output()); n > h2OutputMost+20000 {
		t.Errorf("%d bytes wait", n)
	}
}

// gated is a connection whose writes wait for a signal.
type gated struct {
	net.Conn
	gate   chan bool
	writes atomic.Int32
}

func (g *gated) Write(p []byte) (int, error) {
	<-g.gate
	g.writes.Add(1)
	return g.Conn.Write(p)
}

// TestH2Coalesces: what many streams have to say while something is written goes out
// in one piece.
func TestH2Coalesces(t *testing.T) {
	client, server := net.Pipe()
	g := &gated{Conn: server, gate: make(chan bool)}
	p := newPeer2On(t, client, g, answers200, false)
	p.greet()
	for id := uint32(1); id < 200; id += 2 {
		p.ask(id, true)
	}
	eventually(t, "all answers wait", func() bool {
		p.conn.mu.Lock()
		defer p.conn.mu.Unlock()
		return p.conn.active == 0 || p.conn.active == 1 // the one that writes
	})
	close(g.gate)
	p.expect("data 199 2 end")
	if n := g.writes.Load(); n > 4 {
		t.Errorf("%d writes", n)
	}
}

// TestH2SendWindows: no more is sent than the client has room for, on the stream and
// on the connection, also when it takes room back.
func TestH2SendWindows(t *testing.T) {
	const size = 300000
	p := newPeer2(t, func(_ *Request, w Responder) {
		w.Head(200, nil, size)
		for n := 0; n < size; n += size / 10 {
			w.Write(bytes.Repeat([]byte{byte('0' + n/(size/10))}, size/10))
		}
	}, false)
	p.greet(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1000})
	p.ask(1, true)
	p.expect("data 1 1000")
	p.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	p.framer.WriteWindowUpdate(1, 1500) // which makes 500 now
	p.expect("data 1 500")
	p.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100000})
	got := 1500
	for ended := false; !ended; {
		f, ok := <-p.frames
		if !ok {
			t.Fatalf("ended after %d bytes", got)
		}
		if !strings.HasPrefix(f.text, "data 1") {
			continue
		}
		if got += len(f.data); got > 65535 {
			t.Fatalf("%d bytes", got)
		}
		ended = got == 65535
	}
	p.framer.WriteWindowUpdate(1, size)
	p.framer.WriteWindowUpdate(0, size)
	for f := range p.frames {
		if got += len(f.data); strings.HasSuffix(f.text, " end") {
			break
		}
	}
	if got != size {
		t.Errorf("%d bytes", got)
	}
}

// TestH2Fairness: streams that want the same window take turns.
func TestH2Fairness(t *testing.T) {
	p := open2(t, func(_ *Request, w Responder) {
		w.Head(200, nil, -1)
		for {
			if _, err := w.Write(make([]byte, 40000)); err != nil {
				return
			}
		}
	})
	p.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: h2MostWindow})
	for id := uint32(1); id <= 7; id += 2 {
		p.ask(id, true)
	}
	got := map[string]int{}
	enough := func() bool {
		least := h2MostWindow
		for id := 1; id <= 7; id += 2 {
			least = min(least, got[fmt.Sprint(id)])
		}
		return least >= 10*h2FrameSize
	}
	for frames := 0; !enough(); frames++ { // a busy machine may leave one out for a while
		f, ok := <-p.frames
		if !ok {
			t.Fatal("the connection ended")
		}
		if stream, is := strings.CutPrefix(f.text, "data "); is {
			stream, _, _ = strings.Cut(stream, " ")
			got[stream] += len(f.data)
			p.framer.WriteWindowUpdate(0, uint32(len(f.data)))
		}
		if frames == 10000 {
			t.Fatalf("bytes of each: %v", got)
		}
	}
}

// TestH2Stalls: who gives no room for an answer is waited for as long as a stall may
// last, and so is a body; and others on the connection go on.
func TestH2Stalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		errs := make(chan error, 2)
		start := time.Now()
		p := newPeer2(t, func(r *Request, w Responder) {
			if r.Body != nil {
				_, err := io.ReadAll(r.Body)
				errs <- err
			}
			w.Head(200, nil, -1)
			if _, err := w.Write(make([]byte, 100)); err != nil {
				errs <- err
				w.Abort()
			}
		}, false)
		p.greet(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10})
		p.ask(1, true)
		if err := <-errs; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		p.expect("reset 1 INTERNAL_ERROR")
		start = time.Now()
		p.ask(3, false)
		p.framer.WriteData(3, false, []byte("x"))
		time.Sleep(50 * time.Second)
		p.framer.WriteData(3, false, []byte("x"))
		if err := <-errs; !errors.Is(err, errStalled) || time.Since(start) != 110*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// TestH2ReceiveWindows: what a back end does not take, the client may not send; what
// it takes, or nobody wants, makes room again.
func TestH2ReceiveWindows(t *testing.T) {
	take := make(chan int)
	p := open2(t, func(r *Request, w Responder) {
		for n := range take {
			io.CopyN(io.Discard, r.Body, int64(n))
		}
		answers200(r, w)
	})
	p.ask(1, false)
	for range h2StreamWindow / h2FrameSize {
		p.framer.WriteData(1, false, make([]byte, h2FrameSize))
	}
	take <- h2StreamWindow
	p.expectAll(map[string]int{fmt.Sprintf("window 1 %d", h2StreamWindow/4): 4, fmt.Sprintf("window 0 %d", h2ConnWindow/4): 1})
	for range h2StreamWindow / h2FrameSize {
		p.framer.WriteData(1, false, make([]byte, h2FrameSize))
	}
	close(take) // what is left is thrown away, and makes room for others
	p.expect("data 1 2 end")
	p.expect("reset 1 NO_ERROR")
	p.framer.WriteData(1, true, make([]byte, 10)) // was on its way
	p.ask(3, false)
	for range h2StreamWindow / h2FrameSize {
		p.framer.WriteData(3, false, make([]byte, h2FrameSize))
	}
	p.framer.WritePing(false, [8]byte{1})
	p.expect("pong")
}

// reads counts how often a connection is read.
type reads struct {
	net.Conn
	n atomic.Int32
}

func (r *reads) Read(p []byte) (int, error) {
	r.n.Add(1)
	return r.Conn.Read(p)
}

// TestH2LongReads: of a large body as much is read at once as there is, although
// little memory waits for what comes.
func TestH2LongReads(t *testing.T) {
	client, server := net.Pipe()
	counted := &reads{Conn: server}
	p := newPeer2On(t, client, counted, func(r *Request, w Responder) {
		io.Copy(io.Discard, r.Body)
		answers200(r, w)
	}, false)
	p.greet()
	p.ask(1, false)
	const frames = 20
	before := counted.n.Load()
	for i := range frames {
		p.framer.WriteData(1, i == frames-1, make([]byte, h2FrameSize))
	}
	p.expect("data 1 2 end")
	if n := counted.n.Load() - before; n > 4*frames {
		t.Errorf("%d reads for %d frames", n, frames)
	}
}

func TestH2TooMuchData(t *testing.T) {
	p := open2(t, staysParked)
	p.ask(1, false)
	for range h2StreamWindow/h2FrameSize + 1 {
		p.framer.WriteData(1, false, make([]byte, h2FrameSize))
	}
	p.expect("reset 1 FLOW_CONTROL_ERROR")
	for id := uint32(3); id < 13; id += 2 {
		p.ask(id, false)
		for range h2StreamWindow/h2FrameSize - 1 {
			if p.framer.WriteData(id, false, make([]byte, h2FrameSize)) != nil {
				break
			}
		}
	}
	p.expectGoAway("FLOW_CONTROL_ERROR")
}

// TestH2LongerBody: of what is beyond the declared length nobody sees anything.
func TestH2LongerBody(t *testing.T) {
	bodies := make(chan string, 1)
	p := open2(t, func(r *Request, w Responder) {
		text, err := io.ReadAll(r.Body)
		if err == nil || r.Length != 10 {
			t.Errorf("%d bytes read of %d: %v", len(text), r.Length, err)
		}
		bodies <- string(text)
		w.Abort()
	})
	for id := uint32(1); id < 200; id += 2 {
		p.ask(id, false, "content-length", "10")
		p.framer.WriteData(id, false, []byte("hello"))
		p.nc.Write(append(appendFrame(nil, 20, h2Data, byte(id)&2/2, id), "hello GET"...))
		p.expect(fmt.Sprintf("reset %d PROTOCOL_ERROR", id)) // before the frame has come whole
		if text := <-bodies; text != "" && text != "hello" {
			t.Errorf("%q", text)
		}
		p.nc.Write([]byte(" / HTTP/1.1"))
	}
}

// TestH2LargeHead: whose head is too large is told so, in a way that a page can read,
// and the connection goes on.
func TestH2LargeHead(t *testing.T) {
	p := open2(t, answers200)
	p.ask(1, false, "x", strings.Repeat("x", 60000), "y", strings.Repeat("y", 10000))
	f := p.expect("headers 1 431")
	if !slices.ContainsFunc(f.fields, func(f hpack.HeaderField) bool { return f.Name == "access-control-allow-origin" }) {
		t.Errorf("%v", f.fields)
	}
	p.framer.WriteData(1, true, []byte("x"))
	p.ask(3, true, "x", strings.Repeat("x", 60000))
	p.expect("headers 3 200")
	// A table full of what is large once, named again and again, is much from little.
	fields := []string{}
	for range 10000 {
		fields = append(fields, "z", strings.Repeat("z", 3000))
	}
	p.ask(5, true, fields...)
	p.expect("headers 5 431")
}

// TestH2Gone: each way of leaving reaches whoever serves the request.
func TestH2Gone(t *testing.T) {
	for name, leave := range map[string]func(p *peer2){
		"reset": func(p *peer2) { p.framer.WriteRSTStream(1, http2.ErrCodeCancel) },
		"end":   func(p *peer2) { p.nc.Close() },
		"fault": func(p *peer2) { p.framer.WriteRawFrame(http2.FramePing, 0, 0, nil) },
		"close": func(p *peer2) { p.conn.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			told, ended := make(chan bool, 1), make(chan error, 1)
			p := open2(t, func(r *Request, w Responder) {
				if stop := r.AfterGone(func() { t.Error("was called off") }); !stop() {
					t.Error("cannot be called off")
				}
				stop := r.AfterGone(func() { told <- true })
				if r.Context.Err() != nil {
					t.Error("gone already")
				}
				told <- false
				<-r.Context.Done()
				if stop() || r.Context.Err() == nil {
					t.Error("not gone")
				}
				_, err := r.Body.Read(make([]byte, 1))
				ended <- err
				w.Abort()
			})
			p.ask(1, false)
			<-told
			leave(p)
			if !<-told || <-ended == nil {
				t.Error("not told")
			}
		})
	}
}

// TestH2NothingLeft: connections leave neither goroutines nor requests behind.
func TestH2NothingLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			p := newPeer2(t, staysParked, false)
			p.greet()
			for id := uint32(1); id < 50; id += 2 {
				p.ask(id, id%4 == 1)
			}
			p.nc.Close()
			<-p.served
			if p.conn.active != 0 || len(p.conn.streams) != 0 {
				t.Errorf("%d requests are left", p.conn.active)
			}
		})
	}
	wg.Wait()
	eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before+1 })
}

// TestH2Panic: a request that panics resets its stream and nothing else.
func TestH2Panic(t *testing.T) {
	p := open2(t, func(r *Request, w Responder) {
		if r.Method == "PUT" {
			panic("oh")
		}
		answers200(r, w)
	})
	p.ask(1, true, ":method", "PUT", ":scheme", "https", ":path", "/")
	p.expect("reset 1 INTERNAL_ERROR")
	p.ask(3, true)
	p.expect("data 3 2 end")
}

// FuzzH2Encoder: what is encoded is decoded as it was, whatever size of the table the
// other side permits.
func FuzzH2Encoder(f *testing.F) {
	f.Add([]byte("content-type\x00application/json\x00x\x00y\x00content-type\x00application/json\x00"), uint16(4096))
	f.Add([]byte("Server\x00a\x00server\x00b\x00vary\x00"+strings.Repeat("v", 900)), uint16(200))
	f.Fuzz(func(t *testing.T, text []byte, size uint16) {
		enc := newH2Encoder()
		var got Header
		dec := hpack.NewDecoder(4096, func(f hpack.HeaderField) { got = append(got, Field{f.Name, f.Value}) })
		parts := strings.Split(string(text), "\x00")
		for round := range 4 {
			if round == 2 {
				enc.limit(uint32(size))
				dec.SetAllowedMaxDynamicTableSize(uint32(size))
			}
			if round == 3 {
				enc.limit(0)
				enc.limit(100000)
				dec.SetAllowedMaxDynamicTableSize(100000)
			}
			var want Header
			block := enc.length(enc.status(enc.begin(nil), 100+len(text)%500), int64(len(text)))
			want = append(want, Field{":status", fmt.Sprint(100 + len(text)%500)}, Field{"content-length", fmt.Sprint(len(text))})
			for i := 0; i+1 < len(parts); i += 2 {
				want = append(want, Field{lowerASCII(parts[i]), parts[i+1]})
				block = enc.field(block, Field{parts[i], parts[i+1]})
			}
			got = nil
			if _, err := dec.Write(block); err != nil || dec.Close() != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("round %d: %q became %q", round, want, got)
			}
			if enc.size > enc.max {
				t.Fatalf("the table has %d bytes", enc.size)
			}
		}
	})
}

func lowerASCII(s string) string {
	b := []byte(s)
	for i := range b {
		b[i] = lower(b[i])
	}
	return string(b)
}

// TestLongBlock: a head too long for a frame is continued.
func TestLongBlock(t *testing.T) {
	p := open2(t, func(_ *Request, w Responder) {
		w.Head(200, Header{{"X", strings.Repeat("x", 3*h2FrameSize)}, {"Y", "y"}}, 0)
	})
	p.framer.MaxHeaderListSize = 1 << 20
	p.ask(1, true)
	if f := p.expect("headers 1 200 end"); len(f.fields) != 5 || len(f.fields[1].Value) != 3*h2FrameSize {
		t.Errorf("%d fields", len(f.fields))
	}
}

// TestH2Allocations: a request costs little memory that has to be collected. What is
// counted is the server's; the client's frames are made before.
func TestH2Allocations(t *testing.T) {
	fields, body := Header{{"Content-Type", "application/json"}}, []byte("{}")
	p := newPeer2(t, func(_ *Request, w Responder) {
		w.Head(200, fields, 2)
		w.Write(body)
	}, true)
	p.greet()
	p.skip(t, 3)
	p.ask(1, true, "authorization", "Bearer syt_x", "user-agent", "bench", "accept", "*/*")
	p.skip(t, 2)
	block := slices.Clone(p.compress("authorization", "Bearer syt_x", "user-agent", "bench", "accept", "*/*"))
	id := uint32(3)
	frame := append(appendFrame(nil, len(block), h2Headers, h2EndStream|h2EndHeaders, 0), block...)
	n := testing.AllocsPerRun(2000, func() {
		binary.BigEndian.PutUint32(frame[5:], id)
		id += 2
		p.nc.Write(frame)
		p.skip(t, 2)
	})
	if n > 3 {
		t.Errorf("%v allocations", n)
	}
}

// skip reads n frames.
func (p *peer2) skip(t *testing.T, n int) {
	b := p.in[:]
	for range n {
		if _, err := io.ReadFull(p.nc, b[:h2FrameHead]); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(p.nc, b[:parseFrameHead(b[:]).length]); err != nil {
			t.Fatal(err)
		}
	}
}
