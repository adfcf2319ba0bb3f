package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"
)

// heads seed the fuzzer besides the messages of testdata/messages.txt.
var heads = []string{
	"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.0\r\n\r\n", "GET /%4 HTTP/1.1\r\nHost: a\r\n\r\n",
	"\r\nPOST /x?%zz HTTP/1.9\r\nhost:a:1\r\nContent-Length: 007\r\nX:\t \r\nExpect: 100-Continue\r\n\r\nbody",
	"PUT / HTTP/1.1\r\nHost: [::1]\r\nTransfer-Encoding: Chunked\r\nConnection: a, close\r\n\r\n",
}

// FuzzH1Head holds our reading of heads against net/http's: what we take it takes,
// and as the same. Cut into two parts anywhere, a head is read as in one.
func FuzzH1Head(f *testing.F) {
	for _, h := range heads {
		f.Add([]byte(h), uint16(len(h)/2))
	}
	for _, m := range readMessages(f) {
		f.Add([]byte(m.send[:min(len(m.send), 4096)]), uint16(len(m.send)/3))
	}
	f.Fuzz(func(t *testing.T, text []byte, cut uint16) {
		var h, parts h1Head
		h.begin()
		parts.begin()
		done, err := h.read(text)
		half := text[:int(cut)%(len(text)+1)]
		again, err2 := parts.read(half)
		if !again && err2 == nil {
			again, err2 = parts.read(text)
		}
		if done != again || (err == nil) != (err2 == nil) || done && (parts.at != h.at || !slices.Equal(parts.header, h.header)) {
			t.Fatalf("%q: %v %v in one, %v %v when cut at %d", text, done, err, again, err2, len(half))
		}
		if done && err == nil {
			agrees(t, &h, text)
		}
	})
}

// agrees compares a head that was taken with what net/http makes of it.
func agrees(t *testing.T, h *h1Head, text []byte) {
	t.Helper()
	r := bufio.NewReader(bytes.NewReader(bytes.TrimPrefix(text, []byte("\r\n"))))
	req, err := http.ReadRequest(r)
	if err != nil {
		t.Fatalf("%q is taken; net/http says %v", text, err)
	}
	if req.Method != h.method || req.RequestURI != h.target || req.Host != h.host || req.ProtoMajor != 1 || req.ProtoMinor != h.minor {
		t.Fatalf("%q: %s %s %s of %s, net/http has %s %s %s", text, h.method, h.target, h.host, req.Proto, req.Method, req.RequestURI, req.Host)
	}
	length := max(h.length, 0)
	if h.chunked {
		length = -1
	}
	if h.chunked != (len(req.TransferEncoding) > 0) || req.ContentLength != length {
		t.Fatalf("%q: chunked %v, length %d; net/http has %v, %d", text, h.chunked, h.length, req.TransferEncoding, req.ContentLength)
	}
	got := http.Header{}
	for _, f := range h.header {
		name := textproto.CanonicalMIMEHeaderKey(f.Name)
		if name != "Host" && name != "Transfer-Encoding" && name != "Trailer" {
			got[name] = append(got[name], f.Value)
		}
	}
	delete(req.Header, "Trailer")
	if len(got) != len(req.Header) {
		t.Fatalf("%q: fields %v, net/http has %v", text, got, req.Header)
	}
	for name, values := range got {
		if !slices.Equal(values, req.Header[name]) {
			t.Fatalf("%q: %s is %q, net/http has %q", text, name, values, req.Header[name])
		}
	}
	if rest, _ := io.ReadAll(r); h.hasBody() == false && string(rest) != string(text[h.at:]) && !strings.HasPrefix(string(text), "\r\n") {
		t.Fatalf("%q: ends at %d, net/http leaves %q", text, h.at, rest)
	}
}

// FuzzH1Chunked holds our reading of chunks against net/http's: what we take it
// takes, and as the same bytes, whatever the pieces in which they come.
func FuzzH1Chunked(f *testing.F) {
	for _, text := range []string{"5\r\nhello\r\n0\r\n\r\n", "0\r\nX-A: b\r\n\r\n", "1;a=b\r\na\r\n000\r\n\r\n", "A;x\r\n0123456789\r\n0\r\n\r\nrest", "3\r\nabc"} {
		f.Add([]byte(text), byte(3), byte(7))
	}
	f.Add([]byte("0\r\nX-A: "+strings.Repeat("b", 5000)+"\r\n\r\n"), byte(9), byte(7))
	for _, m := range readMessages(f) {
		if _, body, ok := strings.Cut(m.send, "\r\n\r\n"); ok && strings.Contains(m.send, "chunked") {
			f.Add([]byte(body[:min(len(body), 4096)]), byte(1), byte(5))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte, piece, room byte) {
		body, rest, err := unchunk(text, int(piece)%64+1, int(room)+1)
		if err != nil {
			return
		}
		// Go wants a whole trailer in its buffer, which its server has 4 KiB of.
		head := strings.NewReader("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
		req, err := http.ReadRequest(bufio.NewReaderSize(io.MultiReader(head, bytes.NewReader(text)), 2*maxTrailer))
		if err != nil {
			t.Fatal(err)
		}
		want, err := io.ReadAll(req.Body)
		if err != nil || !bytes.Equal(body, want) {
			t.Fatalf("%q is %q; net/http has %q %v", text, body, want, err)
		}
		if !bytes.HasSuffix(text, rest) || !bytes.HasSuffix(text[:len(text)-len(rest)], []byte("\r\n\r\n")) && !bytes.HasSuffix(text[:len(text)-len(rest)], []byte("0\r\n\r\n")) {
			t.Fatalf("%q leaves %q", text, rest)
		}
	})
}

// unchunk reads a chunked body that comes in pieces of this size, so many bytes at
// a time; rest is what it leaves.
func unchunk(text []byte, piece, room int) (body, rest []byte, err error) {
	s := newSocket(&pieces{text: text, size: piece}, func() time.Duration { return 0 }, false)
	c := &h1Conn{nc: s, socket: s, in: h1Input{nc: s, socket: s}}
	turn := &h1Turn{c: c}
	b := &h1Body{c: c, turn: turn}
	b.begin(&h1Head{chunked: true, length: -1}, 0)
	for err == nil {
		p := make([]byte, room)
		var n int
		n, err = b.Read(p)
		body = append(body, p[:n]...)
	}
	if !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	rest, _ = io.ReadAll(&h1Tunnel{Conn: s, in: &c.in})
	return body, rest, nil
}

// pieces is a connection on which a text comes in pieces.
type pieces struct {
	net.Conn
	text []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.text) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.text[:min(p.size, len(p.text))])
	p.text = p.text[n:]
	return n, nil
}
