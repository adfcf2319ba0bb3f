package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// targets seed the fuzzer with what other proxies have changed, or let through.
var targets = []string{
	"/_matrix/client/v3/sync?since=s1&timeout=0", "/_matrix/client/v3/rooms/%21a%2Fb%3aexample.org/state/m.room.name/",
	"/_matrix//client/./v3/../versions", "/_matrix/client/v3/profile/%E2%98%95?", "/_matrix/media/v3/download/a/b;c=d", "/_synapse/client/pick_idp?a=%zz",
	"/_synapse/admin/v1/users", "//_synapse/mas/x", "/%5fsynapse/mas", "/_synapse%2fmas", "/_matrix/%2e%2e/_synapse/metrics", "/_matrix/..;/x",
	"*", "", "http://matrix.example.com/_matrix/x", "matrix.example.com:443", "/\\..\\", "/a b", "/a#b", "/\x00", "/\xff", "/ä", "/%", "/%2", "?x", "/_matrix\tx",
}

// FuzzTarget sends any bytes as a request-target over HTTP/1.1 and HTTP/2. They
// arrive as they are or not at all, and never where Synapse would read them as
// what is closed.
func FuzzTarget(f *testing.F) {
	for _, target := range targets {
		f.Add([]byte(target))
	}
	synapse := newBackend(f, "synapse")
	door := newPlainFront(f, synapse)
	door.h2 = &stream2{f: door.front}
	f.Fuzz(func(t *testing.T, target []byte) {
		if len(target) > 32<<10 {
			return
		}
		if !bytes.ContainsAny(target, "\r\n") { // else it is more than a target
			arrives(t, synapse, target, door.ask1(t, target))
		}
		arrives(t, synapse, target, door.h2.ask(t, target))
	})
}

// plainFront is a front door whose https entrypoint has no TLS, which would only
// cost the fuzzer time; its federation entrypoint has.
type plainFront struct {
	*front
	h2 *stream2
}

func newPlainFront(t testing.TB, main *backend) *plainFront {
	f := &front{t: t}
	cfg := f.load(oneSite(main, ""))
	cfg.Entrypoints.HTTPS.TLS = false
	f.open(cfg)
	return &plainFront{front: f}
}

// arrives compares what the back end received with what was sent.
func arrives(t *testing.T, b *backend, target []byte, status int) {
	t.Helper()
	b.mu.Lock()
	received := b.seen
	b.seen = nil
	b.mu.Unlock()
	switch {
	case len(received) > 1:
		t.Fatalf("%q became %d requests", target, len(received))
	case len(received) == 1 && received[0].line != "GET "+string(target)+" HTTP/1.1":
		t.Fatalf("%q arrived as %q", target, received[0].line)
	case len(received) == 1 && closedToAll(string(target)):
		t.Fatalf("%q arrived", target)
	case len(received) == 0 && status/100 == 2:
		t.Fatalf("%q was answered %d by nobody", target, status)
	}
}

// closedToAll reads a path as Synapse's tree of resources does: its segments
// decoded once each, empty ones at the front passed over.
func closedToAll(target string) bool {
	path, _, _ := strings.Cut(target, "?")
	path = strings.TrimLeft(path, "/")
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if decoded, err := url.PathUnescape(s); err == nil {
			segments[i] = decoded
		}
	}
	return len(segments) > 1 && segments[0] == "_synapse" && segments[1] != "client"
}

// ask1 asks over HTTP/1.1, on a connection of its own, and returns the status; 0
// when there was none.
func (f *plainFront) ask1(t *testing.T, target []byte) int {
	c := dialFromAnywhere(t, f.https)
	defer c.Close()
	c.SetDeadline(time.Now().Add(3 * time.Second))
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: matrix.example.com\r\nConnection: close\r\n\r\n", target)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("h1: %q is not answered", target)
	}
	if err != nil {
		return 0
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return resp.StatusCode
}

// dialFromAnywhere dials from any address of this machine: a single one has too few
// ports for as many connections as a fuzzer makes in a minute.
func dialFromAnywhere(t *testing.T, address string) net.Conn {
	from := net.IPv4(127, byte(1+mathrand.IntN(250)), byte(mathrand.IntN(250)), byte(1+mathrand.IntN(250)))
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}
	c, err := dialer.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// stream2 is an HTTP/2 connection on which one stream follows the other.
type stream2 struct {
	f      *front
	c      net.Conn
	framer *http2.Framer
	id     uint32
}

// ask sends a request and returns the status; 0 when the stream or the connection
// was ended instead, which the next request makes anew.
func (s *stream2) ask(t *testing.T, target []byte) int {
	if s.c == nil || s.id > 10000 {
		s.connect(t)
	}
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	enc.SetMaxDynamicTableSize(0)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "matrix.example.com"}, {":path", string(target)}} {
		enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	s.id += 2
	s.c.SetDeadline(time.Now().Add(3 * time.Second))
	first, rest := block.Bytes(), []byte(nil)
	if len(first) > 16<<10 {
		first, rest = first[:16<<10], first[16<<10:]
	}
	s.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: s.id, BlockFragment: first, EndStream: true, EndHeaders: rest == nil})
	for rest != nil {
		part := rest[:min(len(rest), 16<<10)]
		if rest = rest[len(part):]; len(rest) == 0 {
			rest = nil
		}
		s.framer.WriteContinuation(s.id, rest == nil, part)
	}
	return s.answer(t)
}

// answer reads frames up to the end of the stream.
func (s *stream2) answer(t *testing.T) (status int) {
	for {
		frame, err := s.framer.ReadFrame()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("h2: stream %d is not answered", s.id)
		}
		if err != nil {
			s.c.Close()
			s.c = nil
			return status
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			status, _ = strconv.Atoi(frame.PseudoValue("status"))
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				s.framer.WriteSettingsAck()
			}
		case *http2.DataFrame:
			if n := frame.Length; n > 0 {
				s.framer.WriteWindowUpdate(0, n)
			}
		case *http2.RSTStreamFrame:
			return status
		case *http2.GoAwayFrame:
			s.c.Close()
			s.c = nil
			return status
		}
		if f, ok := frame.(interface{ StreamEnded() bool }); ok && f.StreamEnded() {
			return status
		}
	}
}

func (s *stream2) connect(t *testing.T) {
	if s.c != nil {
		s.c.Close()
	}
	s.c = tls.Client(dialFromAnywhere(t, s.f.fed), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	io.WriteString(s.c, http2.ClientPreface)
	s.framer = http2.NewFramer(s.c, s.c)
	s.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	s.framer.WriteSettings()
	s.id = ^uint32(0)
}

// TestSeedsReachBothWays makes sure that the fuzzer's oracle has something to
// look at: some targets arrive, some do not.
func TestSeedsReachBothWays(t *testing.T) {
	synapse := newBackend(t, "synapse")
	door := newPlainFront(t, synapse)
	door.h2 = &stream2{f: door.front}
	arrived := map[string]int{}
	for _, target := range targets {
		for name, status := range map[string]int{"h1": door.ask1(t, []byte(target)), "h2": door.h2.ask(t, []byte(target))} {
			if status == http.StatusOK {
				arrived[name]++
			}
		}
	}
	if arrived["h1"] != 7 || arrived["h2"] != 7 {
		t.Errorf("%v of %d seeds arrived", arrived, len(targets))
	}
}
