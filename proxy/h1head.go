package proxy

import (
	"bytes"
	"strings"
	"unsafe"
)

// maxFields bounds the fields of a request's head. Browsers send twenty, and
// proxies in front of us add ten.
const maxFields = 256

// h1Refusal is why a head is not understood, or not wanted, and how its client is
// told; then its connection ends, for nobody knows where the next request begins.
type h1Refusal struct {
	status  int
	errcode string
	text    string
}

// Error implements error.
func (r *h1Refusal) Error() string { return r.text }

var (
	errLine      = &h1Refusal{400, "M_UNKNOWN", "The request line is not one of HTTP/1.1."}
	errTarget    = &h1Refusal{400, "M_UNKNOWN", "The request-target is not a path."}
	errLineEnd   = &h1Refusal{400, "M_UNKNOWN", "A line of the request does not end in CRLF."}
	errField     = &h1Refusal{400, "M_UNKNOWN", "A line of the request is no header field."}
	errHost      = &h1Refusal{400, "M_UNKNOWN", "The request does not name one host."}
	errLength    = &h1Refusal{400, "M_UNKNOWN", "The request does not declare one length of its body."}
	errFraming   = &h1Refusal{400, "M_UNKNOWN", "The request frames its body in more than one way."}
	errSlowHead  = &h1Refusal{408, "M_UNKNOWN", "The request did not come in time."}
	errExpect    = &h1Refusal{417, "M_UNKNOWN", "The server does not do what the request expects."}
	errLargeHead = &h1Refusal{431, "M_TOO_LARGE", "The request's header fields are larger than the server accepts."}
	errCoding    = &h1Refusal{501, "M_UNRECOGNIZED", "The server does not know the request's transfer coding."}
	errTunnel    = &h1Refusal{501, "M_UNRECOGNIZED", "The server is no tunnel."}
	errVersion   = &h1Refusal{505, "M_UNRECOGNIZED", "The server speaks HTTP/1.1 here."}
)

// h1Head is a request's head (RFC 9112, sections 2 to 6), read line by line as it
// comes. Where the RFC leaves a choice between understanding and refusing, the
// head is refused. Its strings are parts of the buffer that it was read from.
type h1Head struct {
	method string
	target string
	host   string
	minor  int // HTTP/1.minor
	header Header
	// length is the declared one, -1 when none was declared.
	length  int64
	chunked bool
	close   bool // the client wants the connection closed
	expects bool // to be asked for the body
	// bodyless is true when the answer has no body. refuse must not look at the
	// method, which may have moved with a head that is cut off.
	bodyless bool

	at      int // where the next line begins
	seen    int // up to where there is no further line's end
	lined   bool
	skipped bool // an empty line before the request line
	hosts   int
	codings int
	odd     bool // an expectation that is none of ours
}

// begin makes the head ready for another request.
func (h *h1Head) begin() {
	clear(h.header)
	*h = h1Head{header: h.header[:0], length: -1}
}

// read takes those of a head's lines that have come. b begins where the head does,
// and holds what of it has come so far; done is true when that is all of it, up to
// h.at.
func (h *h1Head) read(b []byte) (done bool, err error) {
	for {
		n := bytes.IndexByte(b[h.seen:], '\n')
		if n < 0 {
			h.seen = len(b)
			return false, h.promising(b[h.at:])
		}
		end := h.seen + n
		line := b[h.at:end]
		h.at, h.seen = end+1, end+1
		if len(line) == 0 || line[len(line)-1] != '\r' {
			// RFC 9112, section 2.2, lets a bare LF pass. Who reads otherwise than
			// the next in line is the one who gets fooled.
			return false, errLineEnd
		}
		line = line[:len(line)-1]
		switch {
		case h.lined && len(line) == 0:
			return true, h.check()
		case h.lined:
			err = h.field(line)
		case len(line) == 0 && !h.skipped:
			h.skipped = true // RFC 9112, section 2.2
		default:
			err = h.requestLine(line)
		}
		if err != nil {
			return false, err
		}
	}
}

// promising refuses early what begins like nothing that could become a request,
// such as TLS where none is spoken.
func (h *h1Head) promising(b []byte) error {
	if len(b) > 0 && !h.lined && !tokenChars[b[0]] && b[0] != '\r' {
		return errLine
	}
	return nil
}

// requestLine reads RFC 9112, section 3: one blank after the method, one before
// the version, and none elsewhere.
func (h *h1Head) requestLine(line []byte) error {
	blank := bytes.IndexByte(line, ' ')
	version := len(line) - len(" HTTP/1.1")
	if blank < 1 || version <= blank || line[version] != ' ' {
		return errLine
	}
	h.method, h.target, h.lined = view(line[:blank]), view(line[blank+1:version]), true
	h.bodyless = h.method == "HEAD"
	if !isToken(h.method) || !visible(h.target) {
		return errLine
	}
	v := line[version+1:]
	if string(v[:5]) != "HTTP/" || !isDigit(v[5]) || v[6] != '.' || !isDigit(v[7]) {
		return errLine
	}
	if v[5] != '1' {
		return errVersion
	}
	h.minor = int(v[7] - '0')
	switch {
	case h.target[0] == '/':
		return h.path()
	case h.method == "CONNECT":
		return errTunnel
	}
	return errTarget
}

// path refuses escapes that are none: each reader makes something else of them.
func (h *h1Head) path() error {
	path, _, _ := strings.Cut(h.target, "?")
	for {
		i := strings.IndexByte(path, '%')
		if i < 0 {
			return nil
		}
		if len(path) < i+3 || !isHex(path[i+1]) || !isHex(path[i+2]) {
			return errTarget
		}
		path = path[i+3:]
	}
}

// field reads RFC 9112, section 5.
func (h *h1Head) field(line []byte) error {
	colon := bytes.IndexByte(line, ':')
	if colon < 0 {
		return errField
	}
	f := Field{view(line[:colon]), trimBlanks(view(line[colon+1:]))}
	if !isToken(f.Name) || !isFieldValue(f.Value) {
		return errField
	}
	if len(h.header) == maxFields {
		return errLargeHead
	}
	h.header = append(h.header, f)
	return h.know(f)
}

// know takes notice of the fields that say how the request is to be read.
func (h *h1Head) know(f Field) error {
	switch len(f.Name) {
	case len("Host"):
		if strings.EqualFold(f.Name, "Host") {
			h.hosts++
			h.host = f.Value
		}
	case len("Expect"):
		if strings.EqualFold(f.Name, "Expect") {
			h.odd = h.odd || h.expects || !strings.EqualFold(f.Value, "100-continue")
			h.expects = true
		}
	case len("Connection"):
		if strings.EqualFold(f.Name, "Connection") {
			h.close = h.close || hasToken(f.Value, "close")
		}
	case len("Content-Length"):
		if strings.EqualFold(f.Name, "Content-Length") {
			return h.declared(f.Value)
		}
	case len("Transfer-Encoding"):
		if strings.EqualFold(f.Name, "Transfer-Encoding") {
			h.codings++
			h.chunked = sameToken(f.Value, "chunked")
		}
	}
	return nil
}

// declared reads a Content-Length. RFC 9112, section 6.3, lets the same one pass
// when it stands there twice; nobody who means well writes that.
func (h *h1Head) declared(value string) error {
	n, err := parseLength(value)
	if err != nil || h.length >= 0 {
		return errLength
	}
	h.length = n
	return nil
}

// check looks at the head as a whole.
func (h *h1Head) check() error {
	switch {
	case h.hosts > 1 || h.hosts == 0 && h.minor > 0 || !isHost(h.host):
		return errHost // RFC 9112, section 3.2
	case h.codings > 1 || h.codings == 1 && !h.chunked:
		return errCoding // RFC 9112, section 6.1
	case h.chunked && (h.length >= 0 || h.minor == 0):
		return errFraming // RFC 9112, section 6.1: it may be an attempt to smuggle
	case h.odd:
		return errExpect // RFC 9110, section 10.1.1
	}
	h.close = h.close || h.minor == 0
	h.expects = h.expects && h.minor > 0 && h.hasBody()
	return nil
}

func (h *h1Head) hasBody() bool { return h.chunked || h.length > 0 }

// view is b as a string that shares its memory.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// visible says whether there is neither a blank nor a control byte in s.
func visible(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] == 0x7f {
			return false
		}
	}
	return s != ""
}

// hostChars are what a host and its port are made of (RFC 3986, section 3.2.2).
var hostChars = func() (t [256]bool) {
	for c := range t {
		t[c] = c < 0x80 && (isDigit(byte(c)) || 'a' <= lower(byte(c)) && lower(byte(c)) <= 'z')
	}
	for _, c := range "-._~%!$&'()*+,;=:[]" {
		t[c] = true
	}
	return t
}()

func isHost(s string) bool {
	for i := 0; i < len(s); i++ {
		if !hostChars[s[i]] {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isHex(c byte) bool { return isDigit(c) || 'a' <= lower(c) && lower(c) <= 'f' }
