package proxy

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// parkingFront is a front door with a back end that keeps every request but those
// for /_matrix/client/versions until the test answers it, piece by piece.
func parkingFront(t *testing.T, e engine, more string) (f *front, parked chan chan string) {
	t.Helper()
	return parkingFrontOn(t, e, more, true)
}

// parkingFrontOn speaks TLS or does not.
func parkingFrontOn(t *testing.T, e engine, more string, secure bool) (f *front, parked chan chan string) {
	t.Helper()
	main := newBackend(t, "main")
	parked = make(chan chan string, 16)
	ended := make(chan bool)
	t.Cleanup(func() { close(ended) })
	main.answers(func(w net.Conn, _ *bufio.Reader, s seen) bool {
		if strings.Contains(s.line, "/versions") {
			return main.sayName(w, nil, s)
		}
		answer := make(chan string)
		parked <- answer
		for {
			select {
			case text, more := <-answer:
				if !more {
					return true
				}
				io.WriteString(w, text)
			case <-ended:
				return false
			}
		}
	})
	return e.front(t, oneSite(main, more), secure), parked
}

const lateAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate"

// stopping stops a front door, and returns once nobody can connect to it any more.
func (f *front) stopping(grace time.Duration) (stopped chan bool) {
	f.t.Helper()
	stopped = make(chan bool, 1)
	go func() {
		f.server.Stop(grace)
		stopped <- true
	}()
	eventually(f.t, "nobody listens", func() bool {
		c, err := net.Dial("tcp", f.https)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	return stopped
}

// request1 sends a request over HTTP/1.1.
func request1(c net.Conn, path string) {
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: matrix.example.com\r\n\r\n", path)
}

func answer1(t *testing.T, r *bufio.Reader) (resp *http.Response, text string) {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Error(err)
		return &http.Response{}, ""
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return resp, string(body)
}

// TestStopHTTP1: what is under way is answered, with "Connection: close" where its
// head is still to come; what is idle is closed; who connected just before and asks
// a moment later is answered, too.
func TestStopHTTP1(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		f, parked := parkingFront(t, e, "")
		silent, err := net.Dial("tcp", f.https) // was accepted when those after it have been
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		fresh, idle := f.rawConn(f.https, "http/1.1"), f.rawConn(f.https, "http/1.1")
		fromIdle := bufio.NewReader(idle)
		request1(idle, "/_matrix/client/versions")
		if resp, text := answer1(t, fromIdle); text != "main" || resp.Close {
			t.Errorf("before: %q, close %v", text, resp.Close)
		}
		waiting, halfway := f.rawConn(f.https, "http/1.1"), f.rawConn(f.https, "http/1.1")
		request1(waiting, "/_matrix/client/v3/waiting")
		answerWaiting := <-parked
		request1(halfway, "/_matrix/client/v3/halfway")
		answerHalfway := <-parked
		answerHalfway <- lateAnswer[:len(lateAnswer)-2]
		fromHalfway := bufio.NewReader(halfway)
		if _, err := fromHalfway.Peek(1); err != nil {
			t.Fatal(err)
		}

		stopped := f.stopping(time.Minute)
		if _, err := fromIdle.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("the idle connection: %v", err)
		}
		request1(fresh, "/_matrix/client/versions")
		if resp, text := answer1(t, bufio.NewReader(fresh)); text != "main" || !resp.Close {
			t.Errorf("asked after the stop: %q, close %v", text, resp.Close)
		}
		slow := tls.Client(silent, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
		request1(slow, "/_matrix/client/versions")
		if resp, text := answer1(t, bufio.NewReader(slow)); text != "main" || !resp.Close {
			t.Errorf("who shook hands after the stop: %q, close %v", text, resp.Close)
		}
		answerWaiting <- lateAnswer
		close(answerWaiting)
		if resp, text := answer1(t, bufio.NewReader(waiting)); text != "late" || !resp.Close {
			t.Errorf("under way: %q, close %v", text, resp.Close)
		}
		select {
		case <-stopped:
			t.Error("an answer was not waited for")
		default:
		}
		answerHalfway <- lateAnswer[len(lateAnswer)-2:]
		close(answerHalfway)
		if resp, text := answer1(t, fromHalfway); text != "late" || resp.Close {
			t.Errorf("half answered: %q, close %v", text, resp.Close)
		}
		if _, err := fromHalfway.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("after the answer: %v", err)
		}
		within(t, 20*time.Second, "stopped", stopped)
	})
}

// listener2 is a connection that speaks HTTP/2 frame by frame.
type listener2 struct {
	t      *testing.T
	c      net.Conn
	framer *http2.Framer
	last   uint32 // stream of the GOAWAY, once that has come
	away   bool
	code   http2.ErrCode
	status map[uint32]string // by stream
	ended  map[uint32]bool
}

func newListener2(t *testing.T, c net.Conn) *listener2 {
	t.Helper()
	h := &listener2{t: t, c: c, framer: http2.NewFramer(c, c), status: map[uint32]string{}, ended: map[uint32]bool{}}
	h.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	io.WriteString(c, http2.ClientPreface)
	h.framer.WriteSettings()
	return h
}

func (h *listener2) request(id uint32, path string) {
	block := compress2([][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "matrix.example.com"}, {":path", path}})
	h.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: true, EndHeaders: true})
}

// until reads frames until something is so, or the connection ends.
func (h *listener2) until(what string, so func() bool) {
	h.t.Helper()
	for !so() {
		frame, err := h.framer.ReadFrame()
		if err != nil {
			h.t.Fatalf("never: %s: %v", what, err)
		}
		h.note(frame)
	}
}

func (h *listener2) note(frame http2.Frame) {
	switch f := frame.(type) {
	case *http2.MetaHeadersFrame:
		h.status[f.StreamID] = f.PseudoValue("status")
		h.ended[f.StreamID] = f.StreamEnded()
	case *http2.DataFrame:
		h.ended[f.StreamID] = f.StreamEnded()
	case *http2.RSTStreamFrame:
		h.status[f.StreamID] = "reset"
		h.ended[f.StreamID] = true
	case *http2.GoAwayFrame:
		h.away, h.last, h.code = true, f.LastStreamID, f.ErrCode
	case *http2.SettingsFrame:
		if !f.IsAck() {
			h.framer.WriteSettingsAck()
		}
	}
}

// closes reads until the connection is closed.
func (h *listener2) closes() {
	h.t.Helper()
	for {
		frame, err := h.framer.ReadFrame()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			h.t.Error("the connection stays open")
		}
		if err != nil {
			return
		}
		h.note(frame)
	}
}

// TestStopHTTP2: clients hear by GOAWAY which of their requests are answered, and
// those are; so do those who shook hands meanwhile.
func TestStopHTTP2(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		f, parked := parkingFront(t, e, "")
		silent, err := net.Dial("tcp", f.https)
		if err != nil {
			t.Fatal(err)
		}
		silent.SetDeadline(time.Now().Add(20 * time.Second))
		defer silent.Close()
		busy, idle := newListener2(t, f.rawConn(f.https, "h2")), newListener2(t, f.rawConn(f.https, "h2"))
		idle.request(1, "/_matrix/client/versions")
		idle.until("an answer", func() bool { return idle.ended[1] })
		busy.request(1, "/_matrix/client/v3/waiting")
		first := <-parked
		busy.request(3, "/_matrix/client/v3/waiting")
		second := <-parked

		stopped := f.stopping(time.Minute)
		idle.until("GOAWAY", func() bool { return idle.away })
		idle.closes()
		busy.until("GOAWAY", func() bool { return busy.away })
		if busy.code != http2.ErrCodeNo || busy.last < 3 {
			t.Errorf("GOAWAY %v, last stream %d", busy.code, busy.last)
		}
		slow := newListener2(t, tls.Client(silent, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}))
		slow.until("GOAWAY after the handshake", func() bool { return slow.away })
		slow.closes()
		first <- lateAnswer
		second <- lateAnswer
		busy.until("both answers", func() bool { return busy.ended[1] && busy.ended[3] })
		if busy.status[1] != "200" || busy.status[3] != "200" {
			t.Errorf("the requests under way: %v", busy.status)
		}
		busy.closes()
		within(t, 20*time.Second, "stopped", stopped)
	})
}

// TestStopAnswersUpToLastStream: a connection on which a request comes at the same
// time as the stop either answers it or says that it does not.
func TestStopAnswersUpToLastStream(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		for range 4 {
			f, _ := parkingFront(t, e, "")
			var conns []*listener2
			for range 8 {
				conns = append(conns, newListener2(t, f.rawConn(f.https, "h2")))
			}
			stopped := make(chan bool, 1)
			go func() {
				f.server.Stop(time.Minute)
				stopped <- true
			}()
			for _, c := range conns {
				c.request(1, "/_matrix/client/versions")
			}
			for _, c := range conns {
				c.closes()
				if !c.away || c.last >= 1 && c.status[1] != "200" {
					t.Errorf("GOAWAY %v up to %d, answer %q", c.away, c.last, c.status[1])
				}
			}
			within(t, 20*time.Second, "stopped", stopped)
		}
	})
}

// TestStopEndsEvents: an answer without an end does not hold up the stop, and ends
// so that who listens asks again.
func TestStopEndsEvents(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		for _, h2 := range []bool{false, true} {
			f, parked := parkingFront(t, e, "")
			go func() {
				(<-parked) <- "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n"
				<-parked // and never any more
			}()
			resp, err := f.client(f.https, h2).Get(site + "/_matrix/client/v3/events")
			if err != nil {
				t.Fatal(err)
			}
			expectBytes(t, "the first event", resp.Body, "data: 1\n\n")
			stopped := f.stopping(time.Minute)
			expectEnd(t, "then", resp.Body, "")
			resp.Body.Close()
			within(t, 20*time.Second, "stopped", stopped)
			if log := f.log.String(); !strings.Contains(log, whyStopping) {
				t.Errorf("the log says %s", log)
			}
		}
	})
}

// TestStopIsBounded: nothing that a client or a back end does or leaves undone holds
// up the end for much longer than grace. What is cut is logged.
func TestStopIsBounded(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		app, ends := newSocketBackend(t, "app", listenLocally(t))
		f, parked := parkingFront(t, e, fmt.Sprintf("    ntfy: { upstream: %q }\n", app.url()))
		silent, err := net.Dial("tcp", f.https)
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		for range 4 {
			request1(f.rawConn(f.https, "http/1.1"), "/_matrix/client/v3/sync?timeout=30000&since=s1") // waits for ever
			<-parked
			h := newListener2(t, f.rawConn(f.https, "h2"))
			h.request(1, "/_matrix/client/v3/sync?timeout=30000&since=s1")
			<-parked
			request1(f.rawConn(f.https, "http/1.1"), "/_matrix/client/v3/large") // is never read
			(<-parked) <- "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + strings.Repeat("x", 8<<20)
			io.WriteString(f.rawConn(f.https, "http/1.1"), "GET /_matrix/client/versions HTTP/1.1\r\nHost: matrix.ex")
			io.WriteString(f.rawConn(f.https, "http/1.1"), "POST /_matrix/client/v3/upload HTTP/1.1\r\nHost: matrix.example.com\r\nContent-Length: 99999999\r\n\r\n{")
			f.upgraded()
			far := <-ends
			go io.Copy(far.c, zeros{}) // is never read
		}
		stopped := make(chan bool, 1)
		go func() {
			f.server.Stop(2 * time.Second)
			stopped <- true
		}()
		within(t, 60*time.Second, "stopped", stopped)
		if log := f.log.String(); strings.Count(log, "/_matrix/client/v3/sync") != 8 || strings.Count(log, whyCut) < 8 {
			t.Errorf("of the polls, the log says:\n%s", log)
		}
	})
}

// lastMoment is a listener that accepts one connection, at the moment it is closed.
type lastMoment struct {
	net.Listener
	conn          net.Conn
	asked, closed chan bool
	once          sync.Once
}

// Accept implements net.Listener.
func (l *lastMoment) Accept() (net.Conn, error) {
	c := l.conn
	if c == nil {
		return nil, net.ErrClosed
	}
	l.conn = nil
	close(l.asked)
	<-l.closed
	time.Sleep(50 * time.Millisecond) // whoever does not wait for it is gone by then
	return c, nil
}

// Close implements net.Listener.
func (l *lastMoment) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *lastMoment) Addr() net.Addr { return &net.TCPAddr{} }

// TestStopAwaitsLastConnection: a connection that is accepted while its listener is
// being closed gets an answer, too.
func TestStopAwaitsLastConnection(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		f, parked := parkingFrontOn(t, e, "", false)
		l := listenLocally(t)
		defer l.Close()
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		client.SetDeadline(time.Now().Add(60 * time.Second))
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		last := &lastMoment{conn: accepted, asked: make(chan bool), closed: make(chan bool)}
		f.server.accept(f.server.routed[0], last, nil)
		<-last.asked
		request1(client, "/_matrix/client/v3/waiting")
		stopped := make(chan bool, 1)
		go func() {
			f.server.Stop(time.Minute)
			stopped <- true
		}()
		answer := <-parked
		select {
		case <-stopped:
			t.Error("nobody waits for it")
		case <-time.After(500 * time.Millisecond):
		}
		answer <- lateAnswer
		close(answer)
		if resp, text := answer1(t, bufio.NewReader(client)); text != "late" || !resp.Close {
			t.Errorf("it got %q, close %v", text, resp.Close)
		}
		within(t, 20*time.Second, "stopped", stopped)
	})
}
