//go:build integration

package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// attacks are run one after the other against one door.
var attacks = []attack{
	{"slow heads", "Slowloris (CVE-2007-6750); timeouts.head, and net/http's 10 s for the preface of HTTP/2", slowHeads},
	{"deaf clients", "CVE-2019-9517, which is as old as HTTP/1.1; timeouts.stall", deafClients},
	{"deaf streams", "RFC 9113, section 10.5: windows of nothing; timeouts.stall", deafStreams},
	{"dribbled data", "CVE-2019-9511", dribbledData},
	{"rapid reset", "CVE-2023-44487", rapidReset},
	{"patient reset", "CVE-2023-44487, once the back end has the request", patientReset},
	{"made you reset, by an increment of nothing", "CVE-2025-8671; RFC 9113, section 6.9", madeYouReset(func(w *wire, stream uint32) error {
		return w.WriteRawFrame(http2.FrameWindowUpdate, 0, stream, make([]byte, 4))
	})},
	{"made you reset, by a window that overflows", "CVE-2025-8671; RFC 9113, section 6.9.1", madeYouReset(func(w *wire, stream uint32) error {
		return w.WriteWindowUpdate(stream, 1<<31-1)
	})},
	{"made you reset, by data after the end", "CVE-2025-8671; RFC 9113, section 5.1", madeYouReset(func(w *wire, stream uint32) error {
		return w.WriteData(stream, true, []byte("x"))
	})},
	{"made you reset, by a stream that depends on itself", "CVE-2025-8671; RFC 7540, section 5.3.1", madeYouReset(func(w *wire, stream uint32) error {
		return w.WritePriority(stream, http2.PriorityParam{StreamDep: stream})
	})},
	{"endless continuations", "CVE-2023-45288, CVE-2024-24549", endlessContinuations(16 << 10)},
	{"empty continuations", "CVE-2019-9518; ended as a head that does not come", endlessContinuations(0)},
	{"a field of a mebibyte", "limits.head, RFC 6585, section 5", largeHeads},
	{"fields that unfold", "CVE-2016-6581 (HPACK bomb); RFC 7541, section 7.3", unfoldingFields},
	{"pings", "CVE-2019-9512", flood(func(w *wire, i int) error { return w.WritePing(false, [8]byte{byte(i)}) })},
	{"settings", "CVE-2019-9515", flood(func(w *wire, i int) error {
		return w.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(i)})
	})},
	{"priorities", "CVE-2019-9513", flood(func(w *wire, i int) error {
		return w.WritePriority(uint32(2*i+1), http2.PriorityParam{StreamDep: uint32(2 * i), Weight: byte(i)})
	})},
	{"window updates", "RFC 9113, section 10.5", flood(func(w *wire, i int) error { return w.WriteWindowUpdate(0, 1) })},
	{"empty data", "CVE-2019-9518", emptyData},
	{"frames that are announced and do not come", "RFC 9113, section 4.2", announcedFrames},
	{"endless extensions of chunks", "CVE-2023-39326", endlessExtensions},
	{"idle connections", "limits.connections", idleConnections},
	{"abandoned handshakes", "RFC 5246, appendix F.5: the handshake costs us more than them", abandonedHandshakes},
	{"renegotiation", "CVE-2011-1473; crypto/tls has none", renegotiation},
	{"ten thousand requests at once", "RFC 9112, section 9.3.2: answered one after the other", pipelined},
}

// TestHostileClients: whoever attacks, others are served, memory and processor time
// stay bounded, and nothing is left behind.
func TestHostileClients(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		s := newSiege(t, engine, 0)
		for _, a := range attacks {
			s.endure(a)
		}
	})
}

// slowHeads opens connections that each send a byte now and then, at every point
// where a server waits for a client.
func slowHeads(s *siege) error {
	const each = 500
	kinds := map[string]func() (net.Conn, []byte, error){
		"a head of HTTP/1.1": func() (net.Conn, []byte, error) {
			c, err := s.door.dial("http/1.1")
			return c, []byte("GET / HTTP/1.1\r\nHost: " + doorHost + "\r\nX: " + strings.Repeat("x", 1000)), err
		},
		"the preface of HTTP/2": func() (net.Conn, []byte, error) {
			c, err := s.door.dial("h2")
			return c, []byte(http2.ClientPreface[:20]), err
		},
		"a head of HTTP/2": func() (net.Conn, []byte, error) {
			w, err := s.door.dialWire()
			if err != nil {
				return nil, nil, err
			}
			err = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: w.encode("GET", "/")})
			return w.Conn, append(frameHead(1000, http2.FrameContinuation, 0, 1), make([]byte, 1000)...), err
		},
		"a handshake": func() (net.Conn, []byte, error) {
			c, err := net.Dial("tcp", s.door.https)
			return c, append([]byte{22, 3, 1, 1, 0, 1, 0, 0, 252, 3, 3}, make([]byte, 200)...), err // the beginning of a ClientHello
		},
	}
	var wg sync.WaitGroup
	failed := make(chan error, len(kinds)*(each+1))
	for name, dial := range kinds {
		wg.Go(func() {
			var open atomic.Int32
			_ = s.each(each, func(int) error {
				c, text, err := dial()
				if err == nil { // or it was cut before it was half done
					open.Add(1)
					wg.Go(func() { failed <- drip(c, name, text) })
				}
				return nil
			})
			if n := open.Load(); n < each/2 {
				failed <- fmt.Errorf("only %d of %d connections wait for %s", n, each, name)
			}
		})
	}
	wg.Wait()
	return firstOf(failed)
}

// frameHead is the head of a frame (RFC 9113, section 4.1).
func frameHead(length int, kind http2.FrameType, flags http2.Flags, stream uint32) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(length)<<8|uint32(kind))
	return binary.BigEndian.AppendUint32(append(b, byte(flags)), stream)
}

// drip sends a byte at a time until the connection is cut.
func drip(c net.Conn, name string, text []byte) error {
	defer c.Close()
	start := time.Now()
	for i := 0; time.Since(start) < 30*time.Second; i++ {
		if _, err := c.Write(text[min(i, len(text)-1):][:1]); err != nil {
			return nil
		}
		time.Sleep(500 * time.Millisecond)
	}
	return fmt.Errorf("%s is still waited for", name)
}

const largeFile = "/_matrix/media/v3/download/example.com/x?size=1048576&parts=64"

// deafClients ask for much and read nothing.
func deafClients(s *siege) error {
	var open []net.Conn
	var mu sync.Mutex
	err := s.each(50, func(int) error {
		c, err := s.door.dial("http/1.1")
		if err != nil {
			return err
		}
		mu.Lock()
		open = append(open, c)
		mu.Unlock()
		_, err = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", largeFile, doorHost)
		return err
	})
	err = errors.Join(err, s.quiet())
	for _, c := range open {
		c.Close()
	}
	return err
}

// deafStreams ask for much and leave no room for it.
func deafStreams(s *siege) error {
	var open []*wire
	var mu sync.Mutex
	err := s.each(10, func(int) error {
		w, err := s.door.dialWire(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		if err != nil {
			return err
		}
		mu.Lock()
		open = append(open, w)
		mu.Unlock()
		for range streamsPerConn {
			if _, err := w.request(true, "GET", largeFile); err != nil {
				return err
			}
		}
		return nil
	})
	err = errors.Join(err, s.quiet())
	for _, w := range open {
		w.Close()
	}
	return err
}

// dribbledData asks for much and leaves room for a byte at a time.
func dribbledData(s *siege) error {
	return s.each(10, func(int) error {
		w, err := s.door.dialWire(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		if err != nil {
			return err
		}
		w.listen()
		stream, err := w.request(true, "GET", largeFile)
		for i := 0; i < 5000 && err == nil; i++ {
			err = w.WriteWindowUpdate(stream, 1)
		}
		return errors.Join(err, w.settle())
	})
}

// rapidReset opens streams and takes them back at once.
func rapidReset(s *siege) error {
	return s.manyStreams(10000, func(w *wire) error {
		stream, err := w.request(true, "GET", target("x"))
		if err != nil {
			return err
		}
		return w.WriteRSTStream(stream, http2.ErrCodeCancel)
	})
}

// patientReset opens streams and takes them back when they have got to the back
// end, as often as it is let.
func patientReset(s *siege) error {
	w, err := s.door.dialWire()
	if err != nil {
		return err
	}
	w.listen()
	for round := 0; round < 20 && !w.ended(); round++ {
		before := w.next
		for err = nil; err == nil && w.next < before+2*streamsPerConn; {
			_, err = w.request(true, "GET", target("x"))
		}
		if !within(30*time.Second, func() bool { return w.ended() || s.main.state().Held == streamsPerConn }) {
			return errors.Join(w.settle(), fmt.Errorf("%+v of %d streams get to the back end", s.main.state(), streamsPerConn))
		}
		for stream := before; stream < w.next && err == nil; stream += 2 {
			err = w.WriteRSTStream(stream, http2.ErrCodeCancel)
		}
		if !within(30*time.Second, func() bool { return s.main.state().Held == 0 }) {
			return errors.Join(w.settle(), fmt.Errorf("the back end still has %+v", s.main.state()))
		}
	}
	return w.settle()
}

// madeYouReset opens streams and provokes the server to take them back.
func madeYouReset(provoke func(w *wire, stream uint32) error) func(s *siege) error {
	return func(s *siege) error {
		return s.manyStreams(5000, func(w *wire) error {
			stream, err := w.request(true, "GET", target("x"))
			if err != nil {
				return err
			}
			return provoke(w, stream)
		})
	}
}

// manyStreams does something so often, on new connections as soon as one is
// ended.
func (s *siege) manyStreams(n int, do func(w *wire) error) error {
	const at = 10 // connections at a time
	return s.each(at, func(int) error {
		for i := 0; i < n/at; {
			w, err := s.door.dialWire()
			if err != nil {
				return err
			}
			w.listen()
			for ; i < n/at; i++ {
				if err := do(w); err != nil {
					break
				}
			}
			if err := w.settle(); err != nil {
				return err
			}
		}
		return nil
	})
}

// endlessContinuations sends a head that does not end, in frames of a size.
func endlessContinuations(size int) func(s *siege) error {
	return func(s *siege) error {
		return s.each(20, func(int) error {
			w, err := s.door.dialWire()
			if err != nil {
				return err
			}
			defer w.Close()
			if err := w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: w.encode("GET", "/")}); err != nil {
				return err
			}
			w.listen()
			field := w.encode("GET", "/", "x", strings.Repeat("x", 1<<10))[4:]
			fragment := bytes.Repeat(field, size/len(field)+1)[:size]
			for start := time.Now(); ; {
				select {
				case <-w.gone:
					return nil
				default:
				}
				if time.Since(start) > 30*time.Second {
					return errors.New("it is still waited for")
				}
				if err := w.WriteContinuation(1, false, fragment); err != nil {
					return nil
				}
			}
		})
	}
}

// largeHeads sends heads of a mebibyte, over both protocols, as one field and as
// many.
func largeHeads(s *siege) error {
	one, many := strings.Repeat("x", 1<<20), strings.Repeat("X: x\r\n", 1<<20/6)
	return s.each(100, func(i int) error {
		if i%2 == 0 {
			return s.largeHead(map[bool]string{true: "X: " + one + "\r\n", false: many}[i%4 == 0])
		}
		return s.largeBlock(map[bool][]string{true: {"x", one}, false: strings.Split(strings.Repeat("x,x,", 1<<20/34)+"x,x", ",")}[i%4 == 1])
	})
}

func (s *siege) largeHead(fields string) error {
	c, err := s.door.dial("http/1.1")
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	go io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+doorHost+"\r\n"+fields+"\r\n")
	status, _, err := readAnswer(bufio.NewReader(c))
	if status != 431 && err == nil { // or the connection ends before all is sent
		return fmt.Errorf("a head of a mebibyte gets %d", status)
	}
	return nil
}

func (s *siege) largeBlock(fields []string) error {
	w, err := s.door.dialWire()
	if err != nil {
		return err
	}
	defer w.Close()
	w.SetDeadline(time.Now().Add(20 * time.Second))
	go func() {
		block := w.encode("GET", "/", fields...)
		const part = 16 << 10
		w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true, BlockFragment: block[:part]})
		for block = block[part:]; len(block) > 0; block = block[min(part, len(block)):] {
			if w.WriteContinuation(1, len(block) <= part, block[:min(part, len(block))]) != nil {
				return
			}
		}
	}()
	for {
		f, err := w.ReadFrame()
		if _, ok := f.(*http2.GoAwayFrame); ok || err != nil {
			return nil
		}
		if _, ok := f.(*http2.HeadersFrame); ok {
			return nil // 431
		}
	}
}

// unfoldingFields sends a large field once and then refers to it, a byte each
// time.
func unfoldingFields(s *siege) error {
	return s.each(50, func(int) error {
		w, err := s.door.dialWire()
		if err != nil {
			return err
		}
		defer w.Close()
		w.SetDeadline(time.Now().Add(20 * time.Second))
		block := bytes.Clone(w.encode("GET", "/_matrix/client/versions", "x", strings.Repeat("x", 3900)))
		if err := w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, EndStream: true, BlockFragment: block}); err != nil {
			return err
		}
		const newest = 0x80 | 62 // RFC 7541, section 6.1
		block = append(bytes.Clone(w.encode("GET", "/_matrix/client/versions")), bytes.Repeat([]byte{newest}, 15<<10)...)
		if err := w.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, EndHeaders: true, EndStream: true, BlockFragment: block}); err != nil {
			return err
		}
		for {
			f, err := w.ReadFrame()
			if err != nil {
				return nil
			}
			if f.Header().StreamID == 3 {
				return nil
			}
		}
	})
}

// flood sends a frame very often, half of the times without reading what it
// answers.
func flood(send func(w *wire, i int) error) func(s *siege) error {
	return func(s *siege) error {
		const frames = 50000
		return s.each(4, func(n int) error {
			w, err := s.door.dialWire()
			if err != nil {
				return err
			}
			defer w.Close()
			w.SetDeadline(time.Now().Add(60 * time.Second))
			if n%2 == 0 {
				w.listen()
			}
			for i := 0; i < frames && err == nil; i++ {
				err = send(w, i)
			}
			if n%2 == 1 {
				w.listen()
			}
			return w.settle()
		})
	}
}

// emptyData sends a body of nothing, in very many frames.
func emptyData(s *siege) error {
	return s.each(4, func(int) error {
		w, err := s.door.dialWire()
		if err != nil {
			return err
		}
		defer w.Close()
		w.listen()
		stream, err := w.request(false, "POST", "/_matrix/media/v3/upload")
		for start := time.Now(); err == nil && time.Since(start) < 4*time.Second; {
			err = w.WriteData(stream, false, nil)
		}
		return w.settle()
	})
}

// announcedFrames sends heads of frames as large as the server takes.
func announcedFrames(s *siege) error {
	var open []*wire
	var mu sync.Mutex
	err := s.each(500, func(int) error {
		w, err := s.door.dialWire()
		if err != nil {
			return err
		}
		mu.Lock()
		open = append(open, w)
		mu.Unlock()
		size, err := w.maxFrame()
		if err != nil {
			return err
		}
		_, err = w.Conn.Write(frameHead(size, http2.FrameData, 0, 1))
		return err
	})
	heap := s.door.metric("go_memstats_heap_inuse_bytes") / (1 << 20)
	if heap > 200 {
		err = errors.Join(err, fmt.Errorf("%.0f MiB of memory wait for frames", heap))
	}
	for _, w := range open {
		w.Close()
	}
	return err
}

// maxFrame is the largest frame that the server announces to take.
func (w *wire) maxFrame() (int, error) {
	for {
		f, err := w.ReadFrame()
		if err != nil {
			return 0, err
		}
		if f, ok := f.(*http2.SettingsFrame); ok && !f.IsAck() {
			size, ok := f.Value(http2.SettingMaxFrameSize)
			if !ok {
				size = 16 << 10
			}
			return int(size), nil
		}
	}
}

// endlessExtensions sends a chunk whose size does not end.
func endlessExtensions(s *siege) error {
	return s.each(20, func(int) error {
		c, err := s.door.dial("http/1.1")
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.WriteString(c, "POST /_matrix/media/v3/upload HTTP/1.1\r\nHost: "+doorHost+"\r\nTransfer-Encoding: chunked\r\n\r\n1;"); err != nil {
			return err
		}
		part := bytes.Repeat([]byte("x"), 16<<10)
		for sent := 0; sent < 16<<20; sent += len(part) {
			if _, err := c.Write(part); err != nil {
				return nil
			}
		}
		status, _, err := readAnswer(bufio.NewReader(c)) // what comes after it goes nowhere
		if err == nil && status != 400 {
			return fmt.Errorf("sixteen mebibytes of them get %d", status)
		}
		if err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
			return errors.New("sixteen mebibytes of them are taken")
		}
		return nil
	})
}

// idleConnections opens connections and does nothing with them.
func idleConnections(s *siege) error {
	var open []net.Conn
	var mu sync.Mutex
	err := s.each(3000, func(i int) error {
		c, err := s.door.dial([]string{"http/1.1", "h2"}[i%2])
		if err != nil {
			return err
		}
		mu.Lock()
		open = append(open, c)
		mu.Unlock()
		return nil
	})
	for _, c := range open {
		c.Close()
	}
	return err
}

// abandonedHandshakes begin and leave when the server has done its part.
func abandonedHandshakes(s *siege) error {
	return s.each(1000, func(int) error {
		c, err := net.Dial("tcp", s.door.https)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		tls.Client(answered{c}, &tls.Config{InsecureSkipVerify: true, ServerName: doorHost}).Handshake()
		return nil
	})
}

// answered is a connection that ends when the first answer comes.
type answered struct{ net.Conn }

func (c answered) Read(p []byte) (int, error) {
	c.Conn.Read(p[:1])
	return 0, io.EOF
}

// renegotiation asks for a new handshake on an old connection, as openssl does when
// it reads an R.
func renegotiation(s *siege) error {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		s.t.Skip("needs openssl (hint: apt-get install openssl, which make siege does as root)")
	}
	client := exec.Command(openssl, "s_client", "-connect", s.door.https, "-servername", doorHost, "-tls1_2")
	client.Stdin = strings.NewReader("R\n")
	client.WaitDelay = 10 * time.Second
	text, _ := client.CombinedOutput()
	if !bytes.Contains(text, []byte("RENEGOTIATING")) || !bytes.Contains(text, []byte("alert")) {
		return fmt.Errorf("%s", text)
	}
	return nil
}

// pipelined sends requests without waiting for answers, then reads them.
func pipelined(s *siege) error {
	const requests = 10000
	c, err := s.door.dial("http/1.1")
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(60 * time.Second))
	go io.WriteString(c, strings.Repeat("GET /_matrix/client/versions HTTP/1.1\r\nHost: "+doorHost+"\r\n\r\n", requests))
	r := bufio.NewReader(c)
	for i := range requests {
		if status, text, err := readAnswer(r); err != nil || status != 200 || text != "main" {
			return fmt.Errorf("answer %d: %d %q %w", i, status, text, err)
		}
	}
	return nil
}

// TestFewFiles: connections that do nothing, polls on as many as there may be, and
// streams that would need more of them to upstreams leave files for others, for the
// admin entrypoint at least.
func TestFewFiles(t *testing.T) { eachEngine(t, tryFewFiles) }

func tryFewFiles(t *testing.T, engine string) {
	const files, most = 600, (600 - 600/8) / 2
	s := newSiege(t, engine, files)
	before := s.door.census()
	visitor := s.door.visitor(false, false)
	visitor.Timeout = patience

	idle, err := s.open(3*files, func(c *tls.Conn, i int) error {
		if i%100 == 99 {
			return visit(visitor, "")
		}
		return nil
	})
	if err != nil {
		t.Error("among idle connections: ", err)
	}
	if n := s.door.metric("vestibule_connections"); n > most {
		t.Errorf("%v connections", n)
	}
	if n := s.door.metric("vestibule_connections_evicted_total"); n < 2*files {
		t.Errorf("only %v connections made room", n)
	}
	closeAll(idle)
	s.door.awaitCensus(before)

	var parked []net.Conn
	for refused := false; !refused && len(parked) <= most; {
		c, err := s.door.dial("http/1.1")
		if refused = err != nil; !refused {
			parked = append(parked, c)
			park(c)
			eventually(t, "it is parked", func() bool { return s.main.state().Held == len(parked) })
		}
	}
	if n := s.door.metric("vestibule_connections_refused_total"); len(parked) != most || n != 1 {
		t.Errorf("%d connections are parked, %v are refused", len(parked), n)
	}
	closeAll(parked)
	s.door.awaitCensus(before)

	var wires []*wire
	for range 2 * most / streamsPerConn {
		w, err := s.door.dialWire()
		if err != nil {
			t.Fatal(err)
		}
		wires = append(wires, w)
		for range streamsPerConn {
			if _, err := w.request(true, "GET", target("x")); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "as many as may be are parked", func() bool { return s.main.state().Held >= most-2 })
	if up := s.door.metric("vestibule_upstream_up"); up != 1 {
		t.Error("the upstream is said to be down")
	}
	for _, w := range wires {
		w.Close()
	}
	s.door.awaitCensus(before)
	if err := visit(visitor, ""); err != nil {
		t.Error("afterwards: ", err)
	}
	if strings.Contains(s.door.log(), "too many open files") {
		t.Error("files were lacking")
	}
}

// open opens connections, as far as the door lets it, and does something with
// each.
func (s *siege) open(n int, then func(c *tls.Conn, i int) error) (all []net.Conn, err error) {
	var mu sync.Mutex
	err = s.each(n, func(i int) error {
		c, err := s.door.dial("http/1.1")
		if err != nil {
			return nil
		}
		mu.Lock()
		all = append(all, c)
		mu.Unlock()
		return then(c, i)
	})
	return all, err
}

// park asks for what does not come.
func park(c net.Conn) {
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", target("x"), doorHost)
}

func closeAll(all []net.Conn) {
	for _, c := range all {
		c.Close()
	}
}
