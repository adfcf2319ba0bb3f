package proxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// standard is the front end on net/http's server: it turns what that parsed
// into a Request, and a Responder's calls into what that sends.
type standard struct {
	proxy      *Proxy
	entrypoint *Entrypoint
}

// carried is what one request needs of the front end. It is used again, as most
// requests come and go faster than the memory is collected.
type carried struct {
	watch  carriedWatch
	req    Request
	resp   responder
	header Header
}

var carriers = sync.Pool{New: func() any { return new(carried) }}

// ServeHTTP implements http.Handler. What it needs before and after the request
// is under way has functions of its own: a request may be parked here for long, and
// with a smaller frame its goroutine's stack shrinks to half.
func (s *standard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := carriers.Get().(*carried)
	if invariants {
		c.watchLent()
	}
	c.load(s, w, r)
	s.proxy.Serve(&c.req, &c.resp)
	c.unload(w)
}

// load takes in what net/http parsed.
func (c *carried) load(s *standard, w http.ResponseWriter, r *http.Request) {
	c.header = fields(c.header[:0], r.Header)
	c.req = Request{
		Context: r.Context(), Entrypoint: s.entrypoint, Proto: r.Proto, Method: r.Method,
		Target: r.RequestURI, Host: r.Host, Header: c.header,
		Length: r.ContentLength, Secure: r.TLS != nil, Peer: peer(r.RemoteAddr),
	}
	stall := s.proxy.stall()
	c.resp = responder{w: w, r: r, clock: stallClock{stall: stall}}
	if r.Body != nil && r.Body != http.NoBody {
		c.resp.receive(&c.req, stall)
	}
}

// unload leaves c for the next request, and to net/http what the connection needs
// after this one.
func (c *carried) unload(w http.ResponseWriter) {
	aborted, unread := c.resp.aborted, c.resp.unread()
	c.req, c.resp = Request{}, responder{}
	clear(c.header)
	if invariants {
		c.watchReturned()
	}
	carriers.Put(c)
	if aborted {
		panic(http.ErrAbortHandler)
	}
	if unread {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(lingerBody))
		waitToClose(w)
	}
}

// waitToClose has net/http's server wait for half a second between its end of the
// connection and closing it. It does so by itself when it gives up reading away what
// is left of a body, but not when that fails, as it does after a Read that was
// stopped; and then what the client still sends makes a reset (server.go,
// closeWriteAndWait). A body over its bound is how to ask for it.
func waitToClose(w http.ResponseWriter) {
	_, _ = http.MaxBytesReader(w, io.NopCloser(strings.NewReader("x")), 0).Read(make([]byte, 1))
}

// lingerBody is how long what is left of a body is read and thrown away after
// the answer, before the connection is closed: closed at once, it would be
// reset, and the client might lose the answer (RFC 9112, section 9.6).
const lingerBody = time.Second

// requestBody is the body of a request. It knows whether it was read to its end,
// and when the client stopped sending it.
type requestBody struct {
	io.ReadCloser
	w       http.ResponseWriter
	clock   stallClock
	ended   atomic.Bool
	stopped atomic.Bool // by stop
}

// Read implements io.Reader. The deadline it leaves behind is net/http's to remove
// when the body has ended (server.go, startBackgroundRead); on HTTP/2 it is the
// body's alone.
func (b *requestBody) Read(p []byte) (int, error) {
	if b.ended.Load() {
		return 0, io.EOF // without another deadline, which nobody would remove
	}
	if deadline, ok := b.clock.wind(); ok {
		_ = http.NewResponseController(b.w).SetReadDeadline(deadline)
		if b.stopped.Load() {
			b.stop()
		}
	}
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		b.ended.Store(true)
	case timedOut(err) && b.clock.ranOut(): // stop may come at the same time
		err = errStalled
	}
	return n, err
}

// stop has a Read end that waits, and those to come.
func (b *requestBody) stop() {
	b.stopped.Store(true)
	_ = http.NewResponseController(b.w).SetReadDeadline(time.Unix(1, 0))
}

// fields appends a map of fields to h; net/http has lost their order.
func fields(h Header, m http.Header) Header {
	for name, values := range m {
		for _, v := range values {
			h = append(h, Field{name, v})
		}
	}
	return h
}

func peer(addr string) netip.AddrPort {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return netip.AddrPort{} // a Unix socket
	}
	return netip.AddrPortFrom(ap.Addr().WithZone(""), ap.Port())
}

// responder is a Responder on a http.ResponseWriter.
type responder struct {
	w       http.ResponseWriter
	r       *http.Request
	body    *requestBody // nil when there is none, or on HTTP/2
	aborted bool
	clock   stallClock // of what is written on HTTP/2
	endless bool
}

// receive gives req the body. On HTTP/1.1 both directions run at once, or an
// early answer would wait for the body; on HTTP/2 that is so anyway.
func (r *responder) receive(req *Request, stall time.Duration) {
	from := r.r
	req.Trailer = func() Header { return fields(nil, from.Trailer) }
	body := &requestBody{ReadCloser: from.Body, w: r.w, clock: stallClock{stall: stall}}
	req.Body = body
	if from.ProtoMajor != 1 {
		req.StopBody = func() {
			body.stopped.Store(true)
			_ = from.Body.Close()
		}
		return
	}
	r.body = body
	_ = http.NewResponseController(r.w).EnableFullDuplex()
	req.StopBody = body.stop
}

// unread says whether a part of the body may still be on the connection.
func (r *responder) unread() bool { return r.body != nil && !r.body.ended.Load() }

// doubtful says whether somebody in front of us may have seen the end of this
// request elsewhere: the connection must not outlive the answer then (RFC 9112,
// section 6.1). net/http reads chunks and forgets a Content-Length beside them,
// and forgets the chunks of HTTP/1.0, so that neither can be told from what is in
// order; both are rare enough to close after each.
func (r *responder) doubtful() bool {
	return r.r.ProtoMajor == 1 && (r.r.ProtoMinor == 0 || len(r.r.TransferEncoding) > 0)
}

// Inform implements Responder. HTTP/1.0 knows no interim responses (RFC 9110,
// section 15.2).
func (r *responder) Inform(status int, h Header) {
	if !r.r.ProtoAtLeast(1, 1) {
		return
	}
	r.set(h)
	m := r.w.Header()
	// Over HTTP/2 net/http may still be writing these when the stream has been reset.
	// A length, which it never sends here, has it write a copy.
	m["Content-Length"] = nil
	r.w.WriteHeader(status)
	clear(m)
}

// Head implements Responder.
func (r *responder) Head(status int, h Header, length int64) {
	r.set(h)
	m := r.w.Header()
	if _, ok := m["Content-Type"]; !ok {
		m["Content-Type"] = nil // or net/http would guess one
	}
	r.endless = endless(h)
	if length >= 0 && status != http.StatusNotModified {
		// A 304 may tell the length of what it has not sent (RFC 9110, section 8.6),
		// but Go's client waits for it over HTTP/2.
		m["Content-Length"] = []string{strconv.FormatInt(length, 10)}
	}
	if r.unread() || r.doubtful() {
		// What is left of the body must never be read as another request, and
		// with both directions at once net/http does not see to that itself.
		m["Connection"] = []string{"close"}
	}
	r.w.WriteHeader(status)
}

// set copies the fields, for net/http may write them only when Serve has returned:
// into one piece of memory, and their values into another.
func (r *responder) set(h Header) {
	m := r.w.Header()
	size := 0
	for _, f := range h {
		size += len(f.Name) + len(f.Value)
	}
	var text strings.Builder
	text.Grow(size)
	for _, f := range h {
		text.WriteString(f.Name)
		text.WriteString(f.Value)
	}
	rest := text.String()
	values := make([]string, len(h))
	for i, f := range h {
		name := http.CanonicalHeaderKey(rest[:len(f.Name)])
		value := rest[len(f.Name) : len(f.Name)+len(f.Value)]
		rest = rest[len(f.Name)+len(f.Value):]
		if had := m[name]; had != nil {
			m[name] = append(had, value)
			continue
		}
		values[i] = value
		m[name] = values[i : i+1 : i+1]
	}
}

// Write implements Responder.
func (r *responder) Write(p []byte) (int, error) {
	r.limit()
	return r.w.Write(p)
}

// Flush implements Responder.
func (r *responder) Flush() error {
	r.limit()
	err := http.NewResponseController(r.w).Flush()
	if r.endless {
		r.unlimit()
	}
	return err
}

// limit bounds how long a client on HTTP/2 may give its stream no room for what
// is written; stallConn does it for whole connections. The deadline counts while
// nothing is written, too, so it leaves that of the upstream time to pass.
func (r *responder) limit() {
	if r.r.ProtoMajor == 1 {
		return
	}
	if deadline, ok := r.clock.wind(); ok {
		_ = http.NewResponseController(r.w).SetWriteDeadline(deadline.Add(r.clock.stall / 4))
	}
}

// unlimit lets the upstream be silent for as long as it likes.
func (r *responder) unlimit() {
	if stall := r.clock.stall; r.clock.stop() {
		_ = http.NewResponseController(r.w).SetWriteDeadline(time.Time{})
		r.clock.stall = stall
	}
}

// Trailer implements Responder.
func (r *responder) Trailer(h Header) {
	m := r.w.Header()
	for _, f := range h {
		name := http.TrailerPrefix + http.CanonicalHeaderKey(f.Name)
		m[name] = append(m[name], strings.Clone(f.Value))
	}
}

// Abort implements Responder.
func (r *responder) Abort() { r.aborted = true }

// Switch implements Responder.
func (r *responder) Switch(h Header) (Tunnel, error) {
	nc, buf, err := http.NewResponseController(r.w).Hijack()
	if err != nil {
		return nil, err
	}
	if err := nc.SetDeadline(time.Time{}); err != nil {
		nc.Close()
		return nil, err
	}
	head := []byte("HTTP/1.1 101 Switching Protocols\r\n")
	for _, f := range h {
		head = appendField(head, f.Name, f.Value)
	}
	if _, err := nc.Write(append(head, "\r\n"...)); err != nil {
		nc.Close()
		return nil, err
	}
	return &hijacked{Conn: nc, r: buf.Reader}, nil
}

// hijacked is a client's connection after an upgrade; what net/http had read
// ahead comes first.
type hijacked struct {
	net.Conn
	r *bufio.Reader
}

// Read implements io.Reader.
func (h *hijacked) Read(p []byte) (int, error) {
	if h.r.Buffered() > 0 {
		return h.r.Read(p[:min(len(p), h.r.Buffered())])
	}
	return h.Conn.Read(p)
}

// CloseWrite ends the direction to the client.
func (h *hijacked) CloseWrite() error {
	if cw, ok := h.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return errors.ErrUnsupported
}
