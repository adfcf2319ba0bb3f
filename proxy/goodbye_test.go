package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// farEnd is a back end's end of a tunnel.
type farEnd struct {
	c net.Conn
	r *bufio.Reader
}

// newSocketBackend upgrades whatever it is asked, and hands its ends out.
func newSocketBackend(t *testing.T, name string, l net.Listener) (*backend, <-chan farEnd) {
	t.Helper()
	b, ends, done := serveBackend(t, name, l), make(chan farEnd), make(chan bool)
	t.Cleanup(func() { close(done) })
	b.answers(func(w net.Conn, r *bufio.Reader, _ seen) bool {
		w.SetDeadline(time.Now().Add(30 * time.Second))
		io.WriteString(w, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		select {
		case ends <- farEnd{w, r}:
			<-done
		case <-done:
		}
		return false
	})
	return b, ends
}

func listenLocally(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// webSocket is a tunnel as both of its sides see it.
type webSocket struct {
	t      *testing.T
	f      *front
	client net.Conn
	down   *bufio.Reader // what the client gets
	far    net.Conn
	up     *bufio.Reader // what the back end gets
}

// stop stops the front door and says when that is done.
func (w *webSocket) stop(grace time.Duration) (stopped chan bool) {
	stopped = make(chan bool, 1)
	go func() {
		w.f.server.Stop(grace)
		stopped <- true
	}()
	return stopped
}

// clientGets expects frames, and then the end.
func (w *webSocket) clientGets(frames ...[]byte) {
	w.t.Helper()
	expectEnd(w.t, "the client gets", w.down, string(bytes.Join(frames, nil)))
}

// farGets expects frames, unmasked by the caller if need be, and then the end.
func (w *webSocket) farGets(frames ...[]byte) {
	w.t.Helper()
	expectEnd(w.t, "the back end gets", w.up, string(bytes.Join(frames, nil)))
}

var (
	clientText = webSocketFrame(1, true, 0, []byte("from the client"))
	serverText = webSocketFrame(1, false, 0, []byte("from the server"))
	clientBye  = webSocketFrame(opcodeClose, true, 0, []byte{0x03, 0xe9})
	serverBye  = webSocketFrame(opcodeClose, false, 0, []byte{0x03, 0xe9})
	longFrame  = webSocketFrame(2, false, 0, bytes.Repeat([]byte("0123456789"), 5000))
)

// goodbyes are the ways in which a WebSocket may stand when vestibule stops.
var goodbyes = []struct {
	name  string
	plain bool // how the back end is reached makes no difference
	try   func(w *webSocket)
}{
	{"between frames", false, func(w *webSocket) {
		w.far.Write(serverText)
		expectBytes(w.t, "before", w.down, string(serverText))
		w.client.Write(clientText)
		expectBytes(w.t, "before", w.up, string(clientText))
		stopped := w.stop(time.Minute)
		expectBytes(w.t, "the client gets", w.down, string(serverBye))
		w.client.Write(clientText) // it was on its way
		w.client.Write(clientBye)
		w.clientGets()
		w.farGets(clientText, clientBye)
		w.far.Close()
		within(w.t, 20*time.Second, "stopped", stopped)
	}},
	{"inside a frame", false, func(w *webSocket) {
		const half = 20000
		w.far.Write(longFrame[:half])
		expectBytes(w.t, "a part", w.down, string(longFrame[:half]))
		stopped := w.stop(time.Minute)
		w.left()
		w.far.Write(append(longFrame[half:len(longFrame):len(longFrame)], serverText...)) // the second frame is not for the client any more
		w.client.Write(clientBye)
		w.clientGets(longFrame[half:], serverBye)
		w.farGets(clientBye)
		w.far.Close()
		within(w.t, 20*time.Second, "stopped", stopped)
	}},
	{"inside a head", false, func(w *webSocket) {
		w.far.Write(longFrame[:2])
		expectBytes(w.t, "a part", w.down, string(longFrame[:2]))
		stopped := w.stop(time.Minute)
		w.left()
		for at := 2; at < 6; at++ {
			w.far.Write(longFrame[at : at+1])
			expectBytes(w.t, "byte by byte", w.down, string(longFrame[at:at+1]))
		}
		w.far.Write(longFrame[6:])
		w.client.Write(clientBye)
		w.clientGets(longFrame[6:], serverBye)
		w.far.Close()
		within(w.t, 20*time.Second, "stopped", stopped)
	}},
	{"a frame that does not end", true, func(w *webSocket) {
		w.far.Write(longFrame[:100])
		expectBytes(w.t, "a part", w.down, string(longFrame[:100]))
		stopped := w.stop(300 * time.Millisecond)
		w.clientGets() // cut: no frame may stand inside another
		within(w.t, 20*time.Second, "stopped", stopped)
	}},
	{"a client that does not answer", true, func(w *webSocket) {
		stopped := w.stop(time.Minute)
		w.clientGets(serverBye)
		frame := make([]byte, 8)
		if _, err := io.ReadFull(w.up, frame); err != nil {
			w.t.Fatal(err)
		}
		key := frame[2:6]
		if status := []byte{frame[6] ^ key[0], frame[7] ^ key[1]}; frame[0] != 0x88 || frame[1] != 0x82 || !bytes.Equal(status, []byte{0x03, 0xe9}) {
			w.t.Errorf("the back end gets %x", frame)
		}
		w.farGets()
		w.far.Close()
		within(w.t, 20*time.Second, "stopped", stopped)
	}},
	{"a client that does not answer inside its frame", true, func(w *webSocket) {
		w.client.Write(clientText[:9])
		expectBytes(w.t, "a part", w.up, string(clientText[:9]))
		stopped := w.stop(time.Minute)
		w.clientGets(serverBye)
		w.farGets()
		w.far.Close()
		within(w.t, 20*time.Second, "stopped", stopped)
	}},
	{"a client inside its frame", true, func(w *webSocket) {
		w.client.Write(clientText[:9])
		expectBytes(w.t, "a part", w.up, string(clientText[:9]))
		stopped := w.stop(time.Minute)
		expectBytes(w.t, "the client gets", w.down, string(serverBye))
		w.client.Write(clientText[9:])
		w.client.Write(clientBye)
		w.clientGets()
		w.farGets(clientText[9:], clientBye)
		w.far.Close()
		within(w.t, 20*time.Second, "stopped", stopped)
	}},
	{"a back end that has said goodbye", true, func(w *webSocket) {
		theirs := webSocketFrame(opcodeClose, false, 0, []byte{0x03, 0xe8})
		w.far.Write(theirs)
		expectBytes(w.t, "its goodbye", w.down, string(theirs))
		stopped := w.stop(time.Minute)
		w.clientGets() // not a second one
		w.far.Close()
		within(w.t, 20*time.Second, "stopped", stopped)
	}},
	{"a client that has said goodbye", true, func(w *webSocket) {
		theirs := webSocketFrame(opcodeClose, true, 0, []byte{0x03, 0xe8})
		w.client.Write(theirs)
		expectBytes(w.t, "its goodbye", w.up, string(theirs))
		stopped := w.stop(time.Minute)
		w.clientGets(serverBye)
		w.farGets()
		w.far.Close()
		within(w.t, 20*time.Second, "stopped", stopped)
	}},
	{"a back end that goes on", false, func(w *webSocket) {
		ended := make(chan bool)
		go func() {
			for {
				if _, err := w.far.Write(longFrame); err != nil {
					close(ended)
					return
				}
			}
		}()
		expectBytes(w.t, "before", w.down, string(longFrame))
		stopped := w.stop(time.Minute)
		w.client.Write(clientBye)
		rest, err := io.ReadAll(w.down)
		if err != nil || len(rest)%len(longFrame) != len(serverBye) || !bytes.HasSuffix(rest, serverBye) {
			w.t.Errorf("%d bytes after the frames, ending in %x, %v", len(rest)%len(longFrame), rest[max(0, len(rest)-4):], err)
		}
		within(w.t, 20*time.Second, "the back end learns of it", ended)
		within(w.t, 20*time.Second, "stopped", stopped)
	}},
	{"a back end that is gone", true, func(w *webSocket) {
		w.far.Write(longFrame[:100])
		w.far.Close()
		w.clientGets(longFrame[:100])
		w.client.Close()
		within(w.t, 20*time.Second, "stopped", w.stop(time.Minute))
	}},
}

// left waits until the tunnel has heard that it is to end.
func (w *webSocket) left() {
	w.t.Helper()
	eventually(w.t, "the tunnel is left", func() bool {
		s := w.f.proxy.streams
		s.mu.Lock()
		defer s.mu.Unlock()
		for st := range s.open {
			return st.left != nil
		}
		return false
	})
}

// TestWebSocketsSayGoodbye: when vestibule stops, the client of a WebSocket gets a
// close frame with 1001, wherever the frames of the back end were cut, and the back
// end one of the client's.
func TestWebSocketsSayGoodbye(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		for _, scheme := range []string{"http", "https"} {
			for _, g := range goodbyes {
				if scheme == "https" && g.plain {
					continue
				}
				t.Run(scheme+" "+g.name, func(t *testing.T) {
					t.Parallel()
					l, more := listenLocally(t), ""
					if scheme == "https" {
						a := newAuthority(t)
						l = a.listen(t, "app.example")
						more = fmt.Sprintf(", ca_file: %q, server_name: app.example", a.file)
					}
					app, ends := newSocketBackend(t, "app", l)
					url := strings.Replace(app.url(), "http", scheme, 1)
					f := e.front(t, oneSite(newBackend(t, "main"), fmt.Sprintf("    ntfy: { upstream: { url: %q%s } }\n", url, more)), true)
					client, down := f.upgraded()
					far := <-ends
					g.try(&webSocket{t: t, f: f, client: client, down: down, far: far.c, up: far.r})
					eventually(t, "the upstream is free", func() bool { return f.requests() == 0 })
				})
			}
		}
	})
}

// TestLateWebSocketSaysGoodbye: one that is upgraded while we stop ends as well.
func TestLateWebSocketSaysGoodbye(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		app, upgrade := newBackend(t, "app"), make(chan bool)
		asked := make(chan bool)
		app.answers(func(w net.Conn, r *bufio.Reader, _ seen) bool {
			asked <- true
			<-upgrade
			io.WriteString(w, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			io.Copy(io.Discard, r)
			return false
		})
		f := e.front(t, oneSite(newBackend(t, "main"), fmt.Sprintf("    ntfy: { upstream: %q }\n", app.url())), true)
		stopped := make(chan bool)
		go func() {
			<-asked
			go func() {
				f.server.Stop(time.Minute)
				stopped <- true
			}()
			eventually(t, "stopping", func() bool {
				s := f.proxy.streams
				s.mu.Lock()
				defer s.mu.Unlock()
				return !s.limit.IsZero()
			})
			upgrade <- true
		}()
		client, down := f.upgraded()
		expectBytes(t, "the client gets", down, string(serverBye))
		client.Write(clientBye)
		expectEnd(t, "the client gets", down, "")
		within(t, 20*time.Second, "stopped", stopped)
	})
}
