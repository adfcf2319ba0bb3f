package proxy

import (
	"encoding/binary"
	"net/http"
	"strings"

	"golang.org/x/net/http2/hpack"
)

const (
	// h2HeadRoom is what a head may have beyond limits.head: each field counts 32
	// bytes more than it is long (RFC 9113, section 6.5.2), and net/http's server
	// allows for ten.
	h2HeadRoom = 10 * 32
	// h2Continuations is how many frames may continue a head (CVE-2023-45288), beyond
	// those that limits.head needs.
	h2Continuations = 128
)

// h2Head is a block of fields that is being read: the head of a request, a trailer,
// or what nobody wants, which has to be decoded all the same.
type h2Head struct {
	open   bool // its end has not come
	stream uint32
	end    bool // the stream ends with it
	is     h2HeadKind
	frames int
	wire   int      // bytes, compressed
	size   int      // bytes, as RFC 7541, section 4.1 counts
	large  bool     // more than allowed
	fault  *h2Error // why it is malformed
	req    *h2Stream

	pseudo    byte // which pseudo-fields came, in bits
	regular   bool // another field came
	scheme    string
	authority string
	host      string
	hosts     int
	cookies   []string
	trailer   Header
}

type h2HeadKind byte

const (
	h2IsRequest h2HeadKind = iota
	h2IsTrailer
	h2IsIgnored
)

const (
	h2HasMethod = 1 << iota
	h2HasScheme
	h2HasPath
	h2HasAuthority
)

// takeHeaders begins a block.
func (c *h2Conn) takeHeaders(f h2Frame, p []byte) error {
	if f.stream%2 == 0 {
		return &h2Error{code: h2ProtocolError, why: "a request on a stream that is none of the client's"}
	}
	p, err := unpad(f, p)
	if err != nil {
		return err
	}
	h := &c.head
	*h = h2Head{stream: f.stream, end: f.has(h2EndStream), cookies: h.cookies[:0]}
	if f.has(h2HasPriority) {
		if len(p) < 5 {
			return &h2Error{code: h2FrameSizeError, why: "a priority of a wrong size"}
		}
		if binary.BigEndian.Uint32(p)&^(1<<31) == f.stream {
			h.fail("a stream that depends on itself")
		}
		p = p[5:]
	}
	if err := c.classify(h); err != nil {
		return err
	}
	return c.decode(p, f.has(h2EndHeaders))
}

// unpad removes the padding of a frame.
func unpad(f h2Frame, p []byte) ([]byte, error) {
	if !f.has(h2Padded) {
		return p, nil
	}
	if len(p) == 0 {
		return nil, &h2Error{code: h2FrameSizeError, why: "no length of the padding"}
	}
	padding := int(p[0])
	if p = p[1:]; padding > len(p) {
		return nil, &h2Error{code: h2ProtocolError, why: "more padding than there is"}
	}
	return p[:len(p)-padding], nil
}

// classify says what a block is.
func (c *h2Conn) classify(h *h2Head) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[h.stream]
	switch {
	case h.stream > c.seen:
		if c.seen = h.stream; c.leaving == h2Closes {
			h.is = h2IsIgnored
			c.noteCut(h.stream)
			return nil
		}
		h.req = newH2Stream(c, h.stream)
	case s == nil && c.wasCut(h.stream), s != nil && s.mayStillSend:
		h.is = h2IsIgnored
	case s == nil || s.ended():
		return &h2Error{code: h2StreamClosed, why: "a head on a stream that has ended"}
	case s.remote:
		h.is, h.fault = h2IsIgnored, &h2Error{h.stream, h2StreamClosed, "a head after the end"}
	default:
		h.is = h2IsTrailer
		if !h.end {
			h.fail("a second head")
		}
	}
	return nil
}

func (c *h2Conn) takeContinuation(f h2Frame, p []byte) error {
	h := &c.head
	if !h.open {
		return &h2Error{code: h2ProtocolError, why: "the continuation of nothing"}
	}
	if h.frames++; h.frames > h2Continuations+2*c.own.maxHead/h2FrameSize {
		return &h2Error{code: h2EnhanceYourCalm, why: "a head in too many pieces"}
	}
	return c.decode(p, f.has(h2EndHeaders))
}

// decode takes a piece of a block.
func (c *h2Conn) decode(p []byte, last bool) error {
	h := &c.head
	if h.wire += len(p); h.wire > 2*c.own.maxHead+h2FrameSize {
		return &h2Error{code: h2EnhanceYourCalm, why: "a head far beyond limits.head"}
	}
	h.open = !last
	if _, err := c.dec.Write(p); err != nil {
		return &h2Error{code: h2CompressionError, why: err.Error()}
	}
	if !last {
		return nil
	}
	if err := c.dec.Close(); err != nil {
		return &h2Error{code: h2CompressionError, why: err.Error()}
	}
	c.dec.SetEmitEnabled(true)
	return c.complete(h)
}

// field takes a field from the decoder.
func (c *h2Conn) field(f hpack.HeaderField) {
	h := &c.head
	if h.size += len(f.Name) + len(f.Value) + 32; h.size > c.own.maxHead+h2HeadRoom {
		h.large = true
		c.dec.SetEmitEnabled(false)
		return
	}
	switch {
	case h.is == h2IsIgnored || h.fault != nil:
	case !h2FieldValue(f.Value):
		h.fail("a value that is none")
	case f.Name != "" && f.Name[0] == ':':
		h.takePseudo(f.Name, f.Value)
	case !h2FieldName(f.Name):
		h.fail("a name that is none")
	default:
		h.regular = true
		h.takeField(f.Name, f.Value)
	}
}

func (h *h2Head) fail(why string) {
	if h.fault == nil {
		h.fault = &h2Error{h.stream, h2ProtocolError, why}
	}
}

// h2FieldName says whether a name is one, in lower case (RFC 9113, section 8.2.1).
func h2FieldName(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; !tokenChars[c] || c >= 'A' && c <= 'Z' {
			return false
		}
	}
	return s != ""
}

// h2FieldValue says whether a value is one: no control bytes, no blanks at its ends.
func h2FieldValue(s string) bool {
	if s == "" {
		return true
	}
	first, last := s[0], s[len(s)-1]
	return first != ' ' && first != '\t' && last != ' ' && last != '\t' && isFieldValue(s)
}

// takePseudo takes a pseudo-field of a request (RFC 9113, section 8.3.1).
func (h *h2Head) takePseudo(name, value string) {
	var bit byte
	var at *string
	if h.is == h2IsRequest {
		switch name {
		case ":method":
			bit, at = h2HasMethod, &h.req.req.Method
		case ":scheme":
			bit, at = h2HasScheme, &h.scheme
		case ":path":
			bit, at = h2HasPath, &h.req.req.Target
		case ":authority":
			bit, at = h2HasAuthority, &h.authority
		}
	}
	if at == nil || h.regular || h.pseudo&bit != 0 {
		h.fail("a pseudo-field that does not belong there")
		return
	}
	h.pseudo |= bit
	*at = value
}

// takeField takes another field.
func (h *h2Head) takeField(name, value string) {
	switch name {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
		h.fail("a field of HTTP/1.1's connections") // RFC 9113, section 8.2.2
		return
	case "te":
		if !sameToken(value, "trailers") {
			h.fail("a TE that HTTP/2 does not have")
			return
		}
	}
	if h.is == h2IsTrailer {
		h.trailer = append(h.trailer, Field{http.CanonicalHeaderKey(name), value})
		return
	}
	switch name {
	case "content-length":
		n, err := parseLength(value)
		if err != nil || h.req.req.Length >= 0 && h.req.req.Length != n {
			h.fail("a length that is none")
			return
		}
		h.req.req.Length = n
	case "host":
		h.host = value
		h.hosts++
		return
	case "cookie":
		h.cookies = append(h.cookies, value)
		return
	case "expect":
		h.req.expects = h.req.expects || strings.EqualFold(value, "100-continue")
	}
	h.req.header = append(h.req.header, Field{name, value})
}

// complete takes a block whose end has come.
func (c *h2Conn) complete(h *h2Head) error {
	switch {
	case h.is == h2IsIgnored && h.fault == nil:
		return c.spend(1)
	case h.is == h2IsRequest && h.large:
		h.req.tooLarge = true
		return c.begin(h)
	case h.large:
		h.fail("a trailer larger than allowed")
	case h.is == h2IsRequest && h.fault == nil:
		h.check()
	}
	if h.fault != nil {
		h.req = nil
		return h.fault
	}
	if h.is == h2IsTrailer {
		return c.endBody(h.stream, h.trailer)
	}
	return c.begin(h)
}

// check completes the head of a request.
func (h *h2Head) check() {
	r := &h.req.req
	const all = h2HasMethod | h2HasScheme | h2HasPath
	switch {
	case r.Method == "CONNECT":
		if h.pseudo != h2HasMethod|h2HasAuthority {
			h.fail("a CONNECT that is none") // RFC 9113, section 8.5
		}
		r.Target = h.authority
	case h.pseudo&all != all || r.Method == "":
		h.fail("a pseudo-field is missing")
	case h.scheme != "https" && h.scheme != "http": // as clients have to write them (RFC 3986, section 3.1)
		h.fail("a scheme that is none")
	case (r.Target == "" || r.Target[0] != '/') && (r.Target != "*" || r.Method != "OPTIONS"):
		h.fail("a path that is none")
	}
	switch r.Host = h.authority; {
	case h.pseudo&h2HasAuthority != 0:
	case h.hosts > 1:
		h.fail("more than one host")
	default:
		r.Host = h.host
	}
	if !isAuthority(r.Host) {
		h.fail("an authority that is none")
	}
	if h.end && r.Length > 0 {
		h.fail("a body shorter than declared")
	}
	if len(h.cookies) > 0 { // RFC 9113, section 8.2.3
		h.req.header = append(h.req.header, Field{"cookie", strings.Join(h.cookies, "; ")})
		clear(h.cookies)
	}
}

// isAuthority says whether s may be a host and a port (RFC 3986, section 3.2.2),
// which it then has to prove to routing; or nothing.
func isAuthority(s string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case ':', '[', ']', '(', ')', ',', ';', '=':
		case '#', '^', '`', '|':
			return false
		default:
			if !tokenChars[c] {
				return false
			}
		}
	}
	return true
}

// begin serves a request.
func (c *h2Conn) begin(h *h2Head) error {
	s := h.req
	h.req = nil
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.active-c.answered >= h2Streams || c.active >= 2*h2Streams {
		return &h2Error{h.stream, h2RefusedStream, "too many requests at a time"}
	}
	if c.leaving == h2Closes { // while the head came; GOAWAY has told the client so
		c.noteCut(s.id)
		return nil
	}
	if c.active == 0 && c.counted != nil && !c.counted.work() {
		return &h2Error{h.stream, h2RefusedStream, "the connection makes room for others"}
	}
	c.last = s.id
	s.begin(h.end)
	c.streams[s.id] = s
	c.active++
	go s.run()
	return nil
}
