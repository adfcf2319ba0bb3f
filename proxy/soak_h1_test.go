package proxy

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// dial connects a client, which offers one protocol.
func (s *soak) dial(protocol string) (net.Conn, error) {
	s.dials.Add(1)
	cfg := s.tls.Clone()
	cfg.NextProtos = []string{protocol}
	c, err := net.Dial("tcp", s.front.https)
	if err != nil {
		return nil, err
	}
	tc := tls.Client(c, cfg)
	tc.SetDeadline(time.Now().Add(soakLimit))
	if err := tc.Handshake(); err != nil {
		c.Close()
		return nil, err
	}
	return tc, nil
}

// caller1 asks over HTTP/1.1, one request after another.
type caller1 struct {
	s   *soak
	c   net.Conn // nil when there is none
	r   *bufio.Reader
	buf []byte
}

func (c *caller1) close() {
	if c.c != nil {
		c.c.Close()
		c.c = nil
	}
}

// ask implements caller.
func (c *caller1) ask(p *plan) *answered {
	a := &answered{plan: p, length: -1}
	if c.c == nil {
		var err error
		if c.c, err = c.s.dial("http/1.1"); err != nil {
			a.err = fmt.Errorf("connecting: %w", err)
			return a
		}
		c.r = bufio.NewReader(c.c)
	}
	a.conn = "HTTP/1.1 " + c.c.LocalAddr().String()
	c.c.SetDeadline(time.Now().Add(soakLimit))
	keep := false
	switch p.leaves {
	case leavesBeforeHead, leavesInUpload, leavesConnection:
		a.left = true
		c.leaveEarly(p)
	default:
		keep, a.err = c.converse(a)
	}
	if timedOut(a.err) {
		c.s.lost(a)
	}
	if !keep || p.leaves != stays {
		c.close()
	}
	return a
}

// leaveEarly sends the request, or half of it, and is gone.
func (c *caller1) leaveEarly(p *plan) {
	b := c.appendHead(p)
	if p.leaves == leavesInUpload {
		b = appendPart(b, p, p.text[:len(p.text)/2])
	} else {
		b = appendEnd(appendPart(b, p, p.text), p)
	}
	c.write(c.c, b)
	time.Sleep(p.pause)
	c.c.(*tls.Conn).NetConn().(*net.TCPConn).SetLinger(rand.IntN(2) - 1) // with a reset or without
}

// write is for requests whose answer, or the lack of one, says what came of it.
func (c *caller1) write(w io.Writer, b []byte) { w.Write(b) }

// converse sends the request and reads the answer; keep says whether another may
// follow.
func (c *caller1) converse(a *answered) (keep bool, err error) {
	p := a.plan
	b := c.appendHead(p)
	var sending sync.WaitGroup
	switch {
	case p.expect:
		c.write(c.c, b)
		if goOn, err := c.awaitContinue(a); err != nil || !goOn {
			return false, err
		}
		c.write(c.c, appendEnd(appendPart(nil, p, p.text), p))
	case p.leaves == stallsInUpload:
		c.write(c.c, appendPart(b, p, p.text[:len(p.text)/2]))
	case p.body > 1<<20: // more than there is room for on the way
		w := c.c
		sending.Go(func() { c.write(w, append(b, p.text...)) })
	default:
		b = appendEnd(appendPart(b, p, p.text), p)
		c.write(c.c, b)
	}
	defer sending.Wait()
	defer func() {
		if !keep {
			c.c.Close() // and end what is still sent
		}
	}()
	h, err := c.readHeads(a)
	if err != nil {
		return false, err
	}
	if err := c.readBody(a, h); err != nil {
		return false, err
	}
	return !h.last && !a.left, nil
}

func (c *caller1) appendHead(p *plan) []byte {
	b := append(c.buf[:0], p.method...)
	b = append(append(b, ' '), p.path...)
	b = append(b, '?')
	if strings.Contains(p.path, "?") {
		b[len(b)-1] = '&'
	}
	b = append(append(b, "id="...), p.id...)
	b = append(b, " HTTP/1.1\r\nHost: matrix.example.com\r\n"...)
	for _, f := range p.fields() {
		b = appendField(b, f.Name, f.Value)
	}
	if p.body >= 0 && !p.counted {
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	c.buf = append(b, "\r\n"...)
	return c.buf
}

// fields are what both protocols send.
func (p *plan) fields() Header {
	h := Header{{"X-Id", p.id}, {"X-Plan", fmt.Sprint(p.kind, p.status, p.length)}}
	if strings.HasPrefix(p.path, "/_matrix") {
		h = append(h, Field{"Authorization", "Bearer syt_" + encodedUser(p.user) + "_abcdefghijklmnopqrst_0aBcDe"})
	}
	if p.body >= 0 && p.counted {
		h = append(h, Field{"Content-Length", strconv.Itoa(p.body)})
	}
	if p.trailer {
		h = append(h, Field{"Trailer", "X-Sum"}, Field{"X-Trailer", "1"})
	}
	if p.expect {
		h = append(h, Field{"Expect", "100-continue"})
	}
	return h
}

// appendPart appends a part of the body, in a few chunks if there is no length.
func appendPart(b []byte, p *plan, text []byte) []byte {
	if p.body < 0 || p.counted {
		return append(b, text...)
	}
	for size := 1 + len(text)/3; len(text) > 0; {
		part := text[:min(size, len(text))]
		text = text[len(part):]
		b = fmt.Appendf(b, "%x\r\n%s\r\n", len(part), part)
	}
	return b
}

// appendEnd ends a body without a length.
func appendEnd(b []byte, p *plan) []byte {
	if p.body < 0 || p.counted {
		return b
	}
	b = append(b, "0\r\n"...)
	if p.trailer {
		b = appendField(b, "X-Sum", p.id)
	}
	return append(b, "\r\n"...)
}

// awaitContinue waits for 100, or for an answer without it.
func (c *caller1) awaitContinue(a *answered) (goOn bool, err error) {
	h, err := c.readHead()
	if err != nil {
		return false, err
	}
	if h.status < 200 {
		a.interim(h)
		return true, nil
	}
	a.head(h)
	return false, c.readBody(a, h)
}

// readHeads reads the head of the answer and those before it.
func (c *caller1) readHeads(a *answered) (*answerHead, error) {
	if a.plan.leaves == stallsInAnswer {
		defer time.Sleep(3 * soakStall)
	}
	for {
		h, err := c.readHead()
		switch {
		case err != nil:
			return nil, err
		case h.status >= 200:
			a.head(h)
			return h, nil
		}
		a.interim(h)
	}
}

func (c *caller1) readHead() (*answerHead, error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	h := &answerHead{length: -1}
	if len(line) < 15 || string(line[:9]) != "HTTP/1.1 " {
		return nil, fmt.Errorf("no answer: %q", line)
	}
	if h.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return nil, fmt.Errorf("no answer: %q", line)
	}
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		if len(line) == 2 {
			return h, nil
		}
		name, value, _ := strings.Cut(string(line[:len(line)-2]), ": ")
		if err := h.set(name, value); err != nil {
			return nil, err
		}
	}
}

// set takes a field; the names are those of net/http.
func (h *answerHead) set(name, value string) (err error) {
	switch name {
	case "X-Id", "x-id":
		if h.id != "" {
			return fmt.Errorf("an answer of %q and of %q", h.id, value)
		}
		h.id = value
	case "X-Digest", "x-digest":
		h.digest = value
	case "Content-Length", "content-length":
		h.length, err = strconv.Atoi(value)
	case "Transfer-Encoding":
		h.chunked = value == "chunked"
	case "Connection":
		h.last = value == "close"
	}
	return err
}

// readBody reads the body as its head says.
func (c *caller1) readBody(a *answered, h *answerHead) error {
	var err error
	switch {
	case a.plan.method == "HEAD" || h.status == 204 || h.status == 304:
	case h.chunked:
		err = c.readChunks(a)
	case h.length >= 0:
		err = c.readPart(a, h.length)
	default:
		return errors.New("an answer without a framing")
	}
	if err == nil && !a.left {
		a.end()
	}
	return err
}

// readPart reads n bytes of the body.
func (c *caller1) readPart(a *answered, n int) error {
	for n > 0 && !a.left {
		if _, err := c.r.Peek(1); err != nil {
			return err
		}
		p, _ := c.r.Peek(min(n, c.r.Buffered()))
		a.data(p)
		n -= len(p)
		c.r.Discard(len(p))
		if a.plan.leaves == leavesInAnswer && n > 0 {
			a.left = true
			time.Sleep(a.plan.pause)
		}
	}
	return nil
}

func (c *caller1) readChunks(a *answered) error {
	for !a.left {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		size, err := strconv.ParseUint(strings.TrimSuffix(string(line), "\r\n"), 16, 31)
		if err != nil {
			return err
		}
		if size == 0 {
			return c.readTrailer(a)
		}
		if err := c.readPart(a, int(size)); err != nil || a.left {
			return err
		}
		if _, err := c.r.Discard(2); err != nil {
			return err
		}
	}
	return nil
}

func (c *caller1) readTrailer(a *answered) error {
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil || len(line) == 2 {
			return err
		}
		if name, value, _ := strings.Cut(string(line[:len(line)-2]), ": "); name == "X-Sum" {
			a.trailer = value
		}
	}
}
