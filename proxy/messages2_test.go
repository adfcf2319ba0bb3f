package proxy

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// message2 is a request over HTTP/2 that would be two, or another, once it is
// written as HTTP/1.1.
type message2 struct {
	name, why string
	fields    string // "name: value" lines; a pseudo-field replaces the ordinary one, or with no value removes it
	body      string // "" for none; ends the stream
	trailer   string // likewise
	backend   string // what the back end receives; "" for nothing
	or        string // what is as safe: another single reading
}

const (
	sent2   = "POST /_matrix/x HTTP/1.1\r\n"
	length0 = sent2 + "Content-Length: 0\r\nHost: matrix.example.com\r\n\r\n"
	length5 = sent2 + "Content-Length: 5\r\nHost: matrix.example.com\r\n\r\nhello"
	chunks5 = sent2 + "Host: matrix.example.com\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n" // and the trailer
)

var messages2 = []message2{
	{name: "control", fields: "content-length: 5", body: "hello", backend: length5},
	{name: "no length", why: "RFC 9113, section 8.1.1: the stream frames it", body: "hello",
		backend: chunks5 + "\r\n"},
	{name: "trailer", why: "RFC 9110, section 6.5: passed on; Go's server discards what was not announced", fields: "trailer: x-checksum, x-forwarded-for, x_real_ip", body: "hello", trailer: "x-checksum: abc\nx-forwarded-for: 6.6.6.6\nx_real_ip: 6.6.6.6",
		backend: chunks5 + "X-Checksum: abc\r\n\r\n"},
	{name: "length shorter than the body", why: "RFC 9113, section 8.1.1: malformed; what is over would be a request", fields: "content-length: 0", body: hidden},
	{name: "length longer than the body", why: "RFC 9113, section 8.1.1: malformed; the next request would be swallowed", fields: "content-length: 500", body: "hello", backend: "unfinished"},
	{name: "two lengths", why: "RFC 9110, section 8.6: malformed; Go's server holds the stream against the first, and the other goes nowhere", fields: "content-length: 5\ncontent-length: 0", body: "hello", or: length5},
	{name: "two lengths, the second right", why: "as above", fields: "content-length: 0\ncontent-length: 5", body: "hello"},
	{name: "two equal lengths", why: "RFC 9110, section 8.6: one of them, or refused", fields: "content-length: 5\ncontent-length: 5", body: "hello", or: length5},
	{name: "length that is no number", why: "RFC 9110, section 8.6", fields: "content-length: +5", body: "hello"},
	{name: "list of lengths", why: "RFC 9110, section 8.6", fields: "content-length: 5, 5", body: "hello"},
	{name: "transfer-encoding", why: "RFC 9113, section 8.2.2: malformed", fields: "transfer-encoding: chunked", body: "0\r\n\r\n" + hidden},
	{name: "transfer-encoding and a length", why: "RFC 9113, section 8.2.2", fields: fmt.Sprintf("transfer-encoding: chunked\ncontent-length: %d", 5+len(hidden)), body: "0\r\n\r\n" + hidden},
	{name: "transfer_encoding", why: "a gateway in the manner of CGI may read it as Transfer-Encoding", fields: "transfer_encoding: chunked\ncontent-length: 5", body: "hello",
		backend: length5},
	{name: "connection", why: "RFC 9113, section 8.2.2", fields: "connection: authorization"},
	{name: "upgrade", why: "RFC 9113, section 8.2.2", fields: "upgrade: websocket"},
	{name: "keep-alive", why: "RFC 9113, section 8.2.2", fields: "keep-alive: timeout=9"},
	{name: "proxy-connection", why: "RFC 9113, section 8.2.2", fields: "proxy-connection: keep-alive"},
	{name: "te", why: "RFC 9113, section 8.2.2: trailers alone", fields: "te: gzip"},
	{name: "CRLF in a value", why: "RFC 9113, section 8.2.1: malformed; it would be a field of its own", fields: "x-a: b\r\\nx-b: c"},
	{name: "CRLF and a request in a value", why: "RFC 9113, section 8.2.1", fields: `x-a: b\r\n\r\nGET /_matrix/hidden HTTP/1.1\r\nHost: matrix.example.com`},
	{name: "LF in a value", why: "RFC 9113, section 8.2.1", fields: `x-a: b\nx-b: c`},
	{name: "CR in a value", why: "RFC 9113, section 8.2.1", fields: `x-a: b\rx-b: c`},
	{name: "NUL in a value", why: "RFC 9113, section 8.2.1", fields: `x-a: b\x00c`},
	{name: "CRLF in a name", why: "RFC 9113, section 8.2.1", fields: `x-a\r\nx-b: c`},
	{name: "blank in a name", why: "RFC 9113, section 8.2.1", fields: "content-length : 5"},
	{name: "colon in a name", why: "RFC 9113, section 8.2.1", fields: `x\x3aa: b`},
	{name: "capitals in a name", why: "RFC 9113, section 8.2: malformed", fields: "X-A: b"},
	{name: "empty name", why: "RFC 9113, section 8.2.1", fields: ": b"},
	{name: "blank in the method", why: "RFC 9110, section 9.1", fields: ":method: GET /_matrix/hidden HTTP/1.1"},
	{name: "CRLF in the method", why: "RFC 9110, section 9.1", fields: `:method: GET /_matrix/hidden HTTP/1.1\r\nX: `},
	{name: "no method", why: "RFC 9113, section 8.3.1", fields: ":method:"},
	{name: "two methods", why: "RFC 9113, section 8.3", fields: ":method: POST\n:method : GET"},
	{name: "method CONNECT", why: "RFC 9113, section 8.5: we are no tunnel", fields: ":method: CONNECT\n:path:\n:scheme:"},
	{name: "method CONNECT with a path", why: "RFC 9113, section 8.5", fields: ":method: CONNECT"},
	{name: "extended CONNECT", why: "RFC 8441, section 3: not announced", fields: ":method: CONNECT\n:protocol: websocket"},
	{name: "method TRACE", why: "RFC 9110, section 9.3.8", fields: ":method: TRACE"},
	{name: "blank in the path", why: "RFC 9113, section 8.3.1: it would end the target", fields: ":path: /_matrix/hidden HTTP/1.1"},
	{name: "CRLF in the path", why: "RFC 9113, section 8.3.1", fields: `:path: /_matrix/x HTTP/1.1\r\nHost: evil.example\r\n\r\nGET /_matrix/hidden`},
	{name: "empty path", why: "RFC 9113, section 8.3.1", fields: ":path:"},
	{name: "path without a slash", why: "RFC 9113, section 8.3.1", fields: ":path: _matrix/x"},
	{name: "absolute path", why: "RFC 9113, section 8.3.1: path and query alone", fields: ":path: http://evil.example/_matrix/x"},
	{name: "asterisk", why: "RFC 9113, section 8.3.1: with OPTIONS alone", fields: ":path: *"},
	{name: "no scheme", why: "RFC 9113, section 8.3.1", fields: ":scheme:"},
	{name: "scheme with more in it", why: "RFC 9113, section 8.3.1: a target made of it would be another", fields: ":scheme: https://evil.example/_matrix/hidden?", or: length0},
	{name: "scheme in capitals", why: "RFC 3986, section 3.1: to be sent in lower case", fields: ":scheme: HTTPS"},
	{name: "authority with a path", why: "RFC 9113, section 8.3.1", fields: ":authority: matrix.example.com/x"},
	{name: "authority with a user", why: "RFC 9113, section 8.3.1: no user information", fields: ":authority: evil@matrix.example.com"},
	{name: "authority with CRLF", why: "RFC 9113, section 8.2.1", fields: `:authority: matrix.example.com\r\nX-A: b`},
	{name: "authority with a broken port", why: "RFC 3986, section 3.2.3", fields: ":authority: matrix.example.com:443x"},
	{name: "two authorities", why: "RFC 9113, section 8.3", fields: ":authority: matrix.example.com\n:authority : evil.example"},
	{name: "authority and another host", why: "RFC 9113, section 8.3.1: must be refused, or host ignored", fields: "host: evil.example",
		backend: length0},
	{name: "host alone", why: "RFC 9113, section 8.3.1: stands for the authority", fields: ":authority:\nhost: matrix.example.com",
		backend: length0},
	{name: "two hosts alone", why: "RFC 9110, section 7.2: one", fields: ":authority:\nhost: matrix.example.com\nhost: evil.example", or: length0},
	{name: "unknown pseudo-field", why: "RFC 9113, section 8.3", fields: ":x: y"},
	{name: "pseudo-field of an answer", why: "RFC 9113, section 8.3", fields: ":status: 200"},
	{name: "pseudo-field after the others", why: "RFC 9113, section 8.3", fields: "x-a: b\n:path : /_matrix/hidden"},
	{name: "pseudo-field in a trailer", why: "RFC 9113, section 8.1", body: "hello", trailer: ":path : /_matrix/hidden", backend: "unfinished"},
	{name: "framing in a trailer", why: "RFC 9110, section 6.5.1", body: "hello", trailer: "transfer-encoding: chunked", backend: "unfinished", or: chunks5 + "\r\n"},
	{name: "CRLF in a trailer", why: "RFC 9113, section 8.2.1", body: "hello", trailer: `x-a: b\r\n\r\nGET /_matrix/hidden HTTP/1.1`, backend: "unfinished"},
	{name: "crumbs of a cookie", why: "RFC 9113, section 8.2.3: one field again", fields: "cookie: a=b\ncookie: c=d",
		backend: "POST /_matrix/x HTTP/1.1\r\nContent-Length: 0\r\nCookie: a=b; c=d\r\nHost: matrix.example.com\r\n\r\n"},
	{name: "spellings of the identity", fields: "x-forwarded-for: 6.6.6.6\nx_forwarded_for: 6.6.6.6\nforwarded: for=6.6.6.6\nx-real-ip: 6.6.6.6",
		backend: length0},
	{name: "expect", why: "RFC 9110, section 10.1.1: for this hop", fields: "expect: 100-continue\ncontent-length: 5", body: "hello",
		backend: length5},
	{name: "huge head", why: "bounded", fields: "x-a: " + strings.Repeat("a", 200000)},
	{name: "very many fields", why: "bounded", fields: strings.Repeat("x-a: b\n", 20000) + "x-a: b"},
}

// TestMessages2 sends each, at once and with its body a moment after its head, and
// looks at what the back end got. What is not forwarded is answered with an error
// or its stream or connection is ended.
func TestMessages2(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		var wg sync.WaitGroup
		for _, m := range messages2 {
			for _, late := range []time.Duration{0, 20 * time.Millisecond} {
				if late > 0 && m.body == "" {
					continue
				}
				b := newRecorder(t, nil)
				f := e.front(t, fmt.Sprintf("sites: [{ server_name: example.com, synapse: { main: %q, hold: 1s } }]", b.url()), true)
				wg.Go(func() { m.check(t, f, b, late) })
			}
		}
		wg.Wait()
	})
}

// lateTrailer says which front ends let a trailer pass that comes after the reset of
// its stream, as one does that was on its way (RFC 9113, section 5.1). net/http ends
// the connection, with all that is under way on it (h2_bundle.go, processHeaders).
var lateTrailer = map[string]bool{"own": true}

func TestLateTrailer(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		b := newRecorder(t, &scripted{text: "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", early: true, close: true})
		f := e.front(t, fmt.Sprintf("sites: [{ server_name: example.com, synapse: { main: %q, hold: 1s } }]", b.url()), true)
		c := f.rawConn(f.https, "h2")
		framer := http2.NewFramer(c, c)
		framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		io.WriteString(c, http2.ClientPreface)
		framer.WriteSettings()
		m := message2{fields: "trailer: x-checksum"}
		framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: m.block(), EndHeaders: true})
		for {
			frame, err := framer.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			switch f := frame.(type) {
			case *http2.GoAwayFrame:
				if lateTrailer[e.name] {
					t.Errorf("the connection ends: %v", f.ErrCode)
				}
				return
			case *http2.RSTStreamFrame:
				framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: compress2([][2]string{{"x-checksum", "abc"}}), EndStream: true, EndHeaders: true})
				framer.WritePing(false, [8]byte{1})
			case *http2.PingFrame:
				if f.IsAck() {
					if !lateTrailer[e.name] {
						t.Error("the connection lives on: say so in docs/conformance.md")
					}
					return
				}
			}
		}
	})
}

func (m *message2) check(t *testing.T, f *front, b *recorder, late time.Duration) {
	status := m.ask(f.https, late)
	time.Sleep(20 * time.Millisecond)
	requests, rest := b.received()
	for i, r := range requests {
		requests[i] = withoutIdentity(strings.Replace(r, "X-Forwarded-Proto: https", "X-Forwarded-Proto: http", 1))
	}
	var want []string
	if m.backend != "" && m.backend != "unfinished" {
		want = []string{m.backend}
	}
	if m.or != "" && slices.Equal(requests, []string{m.or}) {
		want = requests
	}
	if !slices.Equal(requests, want) || len(rest) > 0 && m.backend != "unfinished" {
		t.Errorf("%s (%s): answered %q; the back end got %q and %q, want %q", m.name, m.why, status, requests, rest, want)
	}
	if ok := status == "200"; ok != (len(want) > 0) || status == "waits" {
		t.Errorf("%s (%s): answered %q", m.name, m.why, status)
	}
}

// block is the head, compressed.
func (m *message2) block() []byte {
	fields := [][2]string{{":method", "POST"}, {":scheme", "https"}, {":authority", "matrix.example.com"}, {":path", "/_matrix/x"}}
	for _, f := range parse2(m.fields) {
		at := slices.IndexFunc(fields, func(g [2]string) bool { return g[0] == f[0] })
		switch {
		case at < 0 || at > 3:
			if f[0][:min(1, len(f[0]))] == ":" {
				f[0] = strings.TrimSuffix(f[0], " ") // ":path : x" is one more
			}
			fields = append(fields, f)
		case f[1] == "":
			fields = slices.Delete(fields, at, at+1)
		default:
			fields[at] = f
		}
	}
	return compress2(fields)
}

// parse2 reads "name: value" lines with Go's escapes.
func parse2(text string) (fields [][2]string) {
	for _, line := range strings.Split(text, "\n") {
		if line == "" {
			continue
		}
		colon := strings.Index(line[1:], ":") + 1
		name, _ := readBytes(line[:colon])
		value, err := readBytes(strings.TrimPrefix(line[colon+1:], " "))
		if err != nil {
			panic(err)
		}
		fields = append(fields, [2]string{name, value})
	}
	return fields
}

func compress2(fields [][2]string) []byte {
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range fields {
		enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	return block.Bytes()
}

// ask sends the message on a connection of its own, its body so late, and returns
// the status, or how it ended without.
func (m *message2) ask(address string, late time.Duration) string {
	c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(3 * time.Second))
	framer := http2.NewFramer(c, c)
	framer.AllowIllegalWrites = true
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	go func() {
		io.WriteString(c, http2.ClientPreface)
		framer.WriteSettings()
		block := m.block()
		first := block[:min(len(block), 16<<10)]
		framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: first, EndStream: m.body == "", EndHeaders: len(first) == len(block)})
		for rest := block[len(first):]; len(rest) > 0; {
			part := rest[:min(len(rest), 16<<10)]
			rest = rest[len(part):]
			framer.WriteContinuation(1, len(rest) == 0, part)
		}
		time.Sleep(late)
		if m.body != "" {
			framer.WriteData(1, m.trailer == "", []byte(m.body))
		}
		if m.trailer != "" {
			fields := parse2(m.trailer)
			for i := range fields {
				fields[i][0] = strings.TrimSuffix(fields[i][0], " ")
			}
			framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: compress2(fields), EndStream: true, EndHeaders: true})
		}
	}()
	for {
		frame, err := framer.ReadFrame()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return "waits"
		}
		if err != nil {
			return "closed"
		}
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			if status := f.PseudoValue("status"); status[0] != '1' {
				return status
			}
		case *http2.RSTStreamFrame:
			return "reset"
		case *http2.GoAwayFrame:
			return "goaway"
		}
	}
}
