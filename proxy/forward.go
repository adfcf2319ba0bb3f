package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"vestibule/configs"
)

// inlineBody is the largest body, in bytes, that is sent together with its
// head: it costs no goroutine and can be sent again on a fresh connection.
const inlineBody = 16 << 10

// errUpload marks an error of the client's body, not of the upstream.
var errUpload = errors.New("reading the request's body")

// errUnsent marks a failure before the upstream can have acted on the request.
var errUnsent = errors.New("the connection ended before an answer began")

var headBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 4096); return &b }}

// forward sends the request to the decision's pool and the answer back.
func (x *exchange) forward(p *pool) {
	head := headBuffers.Get().(*[]byte)
	defer func() { headBuffers.Put(head) }()
	inline, err := x.inlineBody()
	if err != nil {
		x.fail(err)
		return
	}
	ctx := x.req.Context
	for attempt := 0; ; attempt++ {
		c, err := p.connect(ctx, x.decision.Key.Value)
		if spare := x.decision.Spare; err != nil && absent(err) && spare != nil {
			p = x.state.pools[spare.Index]
			c, err = p.connect(ctx, nil)
		}
		if err != nil {
			x.fail(err)
			return
		}
		x.record.Upstream = c.up.Name
		*head = x.appendHead((*head)[:0], p, inline)
		err = x.converse(ctx, c, p, *head, inline)
		if err == nil {
			return
		}
		if attempt == 0 && errors.Is(err, errUnsent) && x.repeatable(c) {
			continue
		}
		x.fail(err)
		return
	}
}

// repeatable says whether the exchange may be tried again: the connection had
// served before, so its end may have crossed our request; nothing came back;
// the body is still ours to send; and doing it twice would be harmless
// (RFC 9110, section 9.2.2).
func (x *exchange) repeatable(c *conn) bool {
	if !c.reused || c.received || x.streamed || x.req.Context.Err() != nil {
		return false
	}
	switch x.req.Method {
	case "GET", "HEAD", "OPTIONS", "PUT", "DELETE":
		return true
	}
	return false
}

// inlineBody reads a short body of known length whole.
func (x *exchange) inlineBody() ([]byte, error) {
	if x.req.Body == nil || x.req.Length < 0 || x.req.Length > inlineBody {
		return nil, nil
	}
	body := make([]byte, x.req.Length)
	n, err := io.ReadFull(x.req.Body, body)
	x.record.received.Add(int64(n))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUpload, err)
	}
	return body, nil
}

// converse carries one exchange over c. It returns an error only when nothing
// of the answer has reached the client.
func (x *exchange) converse(ctx context.Context, c *conn, p *pool, head, inline []byte) error {
	c.received = false
	// A client that leaves frees its upstream at once, a parked one too.
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	reuse := false
	defer func() { c.up.release(c, stop() && reuse) }()

	up, err := x.send(ctx, c, head, inline)
	if err != nil {
		return err
	}
	resp := &x.response
	err = x.await(ctx, c, resp, up, p)
	switch {
	case err != nil:
	case resp.upgrade:
		return x.tunnel(c, resp)
	default:
		reuse = x.relay(c, resp, p) && up.ended.Load()
	}
	if !reuse {
		c.close() // which also wakes an upload that is stuck in a write
	}
	up.settle(x.req)
	reuse = reuse && up.err == nil
	if err != nil {
		return up.explain(err, c)
	}
	return nil
}

// upload is a request body on its way while the answer is awaited.
type upload struct {
	done  chan struct{} // closed when nothing is sent any more; nil when nothing is streamed
	err   error         // why it stopped early; read after done
	ended atomic.Bool   // the client's body has been read to its end

	mu       sync.Mutex
	awaiting bool // the response's head has not come yet
}

// newUpload is an upload that is to be streamed, or one that needs no streaming.
func newUpload(streamed bool) *upload {
	u := new(upload)
	if streamed {
		u.done = make(chan struct{})
	} else {
		u.ended.Store(true)
	}
	return u
}

// end notes how the upload ended and starts the clock of a response that is
// still awaited. No answer to half a request is of use.
func (u *upload) end(ctx context.Context, c *conn, err error, limit time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.err = err
	if u.awaiting {
		if errors.Is(err, errUpload) {
			limit = -time.Hour
		}
		c.limitRead(ctx, time.Now().Add(limit))
	}
	close(u.done)
}

// await starts the clock now, or leaves that to end.
func (u *upload) await(ctx context.Context, c *conn, limit time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.done == nil {
		c.limitRead(ctx, time.Now().Add(limit))
		return
	}
	select {
	case <-u.done:
	default:
		u.awaiting = true
	}
}

// arrived stops the clock.
func (u *upload) arrived(ctx context.Context, c *conn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.awaiting = false
	c.limitRead(ctx, time.Time{})
}

// settle waits for the upload's goroutine, so that the request's memory is free
// again. A body that nobody wants any more is not waited for.
func (u *upload) settle(req *Request) {
	if u.done == nil {
		return
	}
	if !u.ended.Load() && req.StopBody != nil {
		req.StopBody()
	}
	<-u.done
}

// limitRead sets a read deadline, unless the client has left meanwhile.
func (c *conn) limitRead(ctx context.Context, t time.Time) {
	c.SetReadDeadline(t)
	if ctx.Err() != nil {
		c.SetDeadline(time.Unix(1, 0))
	}
}

// explain prefers the client's failure to the upstream's silence after it. It
// is called after settle.
func (u *upload) explain(err error, c *conn) error {
	if errors.Is(u.err, errUpload) && (!c.received || errors.Is(err, os.ErrDeadlineExceeded)) {
		return u.err
	}
	if !c.received && !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w: %w", errUnsent, err)
	}
	return err
}

// send writes the head with a short body, or starts to stream a long one.
func (x *exchange) send(ctx context.Context, c *conn, head, inline []byte) (*upload, error) {
	if x.req.Body == nil || inline != nil {
		if _, err := c.Write(append(head, inline...)); err != nil && !c.answered() {
			return nil, fmt.Errorf("%w: %w", errUnsent, err)
		}
		return newUpload(false), nil
	}
	if _, err := c.Write(head); err != nil && !c.answered() {
		return nil, fmt.Errorf("%w: %w", errUnsent, err)
	}
	x.streamed = true
	up := newUpload(true)
	limit := x.deadline()
	go func() { up.end(ctx, c, x.stream(c, up), limit) }()
	return up, nil
}

// answered says whether an answer lies ready although writing failed, as when
// a back end refuses a body early and closes.
func (c *conn) answered() bool {
	c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	_, err := c.r.Peek(1)
	c.SetReadDeadline(time.Time{})
	return err == nil
}

// stream copies the request's body to the upstream, in its own framing.
func (x *exchange) stream(c *conn, up *upload) error {
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	var scratch []byte
	for {
		n, err := x.req.Body.Read(*buf)
		x.record.received.Add(int64(n))
		if errors.Is(err, io.EOF) {
			up.ended.Store(true) // before the upstream can know, and answer
		}
		if n > 0 {
			var werr error
			if x.req.Length >= 0 {
				_, werr = c.Write((*buf)[:n])
			} else {
				scratch, werr = writeChunk(c, scratch, (*buf)[:n])
			}
			if werr != nil {
				return werr
			}
		}
		if errors.Is(err, io.EOF) {
			return x.endBody(c)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errUpload, err)
		}
	}
}

// endBody ends a chunked body, with the client's trailer.
func (x *exchange) endBody(c *conn) error {
	if x.req.Length >= 0 {
		return nil
	}
	end := []byte("0\r\n")
	if x.req.Trailer != nil {
		for _, f := range x.req.Trailer() {
			if !dropped(f.Name, nil) {
				end = appendField(end, f.Name, f.Value)
			}
		}
	}
	_, err := c.Write(append(end, "\r\n"...))
	return err
}

// await reads the response's head, passing interim ones on, within the
// deadline of the endpoint. The clock starts when the request is sent whole.
func (x *exchange) await(ctx context.Context, c *conn, resp *response, up *upload, p *pool) error {
	up.await(ctx, c, x.deadline())
	defer up.arrived(ctx, c)
	for {
		if err := c.readResponse(x.req.Method, resp); err != nil {
			return err
		}
		switch {
		case resp.status == 101:
			if !resp.upgrade || !x.upgrade(p) {
				return fmt.Errorf("%w: 101 without a request for it", errResponse)
			}
			fallthrough
		case resp.status >= 200:
			return nil
		case resp.status != 100:
			x.w.Inform(resp.status, x.responseHeader(resp, nil))
		}
	}
}

// deadline is how long the response's head may take.
func (x *exchange) deadline() time.Duration {
	t := &x.state.cfg.Timeouts
	switch x.decision.Endpoint {
	case configs.ClassSync:
		return x.pollTime() + t.SyncMargin.Std()
	case configs.ClassInitialSync:
		return max(t.InitialSync.Std(), x.pollTime()+t.SyncMargin.Std())
	}
	if x.decision.Rule.Remote {
		return t.Federation.Std()
	}
	return t.Response.Std()
}

// pollTime is the timeout parameter of a long poll; at most an hour, so that
// no client keeps a connection for ever.
func (x *exchange) pollTime() time.Duration {
	_, query, _ := strings.Cut(x.req.Target, "?")
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if v, ok := strings.CutPrefix(pair, "timeout="); ok {
			ms, err := strconv.ParseInt(v, 10, 64)
			if err == nil && ms > 0 {
				return min(time.Duration(ms)*time.Millisecond, time.Hour)
			}
		}
	}
	return 0
}

// relay sends the response to the client and says whether the connection to
// the upstream may be used again.
func (x *exchange) relay(c *conn, resp *response, p *pool) bool {
	x.record.Status = resp.status
	length := resp.length
	if resp.chunked {
		length = -1
	}
	body := &responseBody{c: c, resp: resp, left: max(resp.length, 0)}
	if resp.bodyless(x.req.Method) {
		x.w.Head(resp.status, x.responseHeader(resp, p), length)
		return resp.reuse && c.r.Buffered() == 0
	}
	first := x.misrouted(p, resp, body)
	x.w.Head(resp.status, x.responseHeader(resp, p), length)
	if !x.copyBody(body, first) {
		return false
	}
	return resp.reuse && body.complete && c.r.Buffered() == 0
}

// copyBody streams the body. When it ends wrongly on either side the client
// sees a broken response, never a short one that looks whole.
func (x *exchange) copyBody(body *responseBody, first []byte) bool {
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	if len(first) > 0 && !x.write(first) {
		return false
	}
	if body.coming() && x.w.Flush() != nil {
		return false // the head does not wait for a body that is still to come
	}
	for {
		n, err := body.Read(*buf)
		if n > 0 && !x.write((*buf)[:n]) {
			return false
		}
		if errors.Is(err, io.EOF) {
			x.endResponse(body)
			return true
		}
		if err != nil {
			x.record.Error = "the upstream's response broke off: " + err.Error()
			x.w.Abort()
			return false
		}
		if more := body.resp.length < 0 || body.left > 0; more && n < len(*buf) && x.w.Flush() != nil {
			return false
		}
	}
}

func (x *exchange) endResponse(body *responseBody) {
	var trailer Header
	for _, f := range body.trailer {
		if !droppedFromResponse(f.Name, nil) {
			trailer = append(trailer, f)
		}
	}
	if len(trailer) == 0 {
		return
	}
	if x.record.Sent == 0 && x.w.Flush() != nil { // or the empty body gets a length, and no trailer
		return
	}
	x.w.Trailer(trailer)
}

// write sends a part of the body to the client.
func (x *exchange) write(p []byte) bool {
	n, err := x.w.Write(p)
	x.record.Sent += int64(n)
	if err != nil {
		x.record.Error = "the client left: " + err.Error()
		x.w.Abort()
		return false
	}
	return true
}

// misroutedMark is what Synapse's processes answer to a path that they do not
// serve (synapse/http/server.py, UnrecognizedRequestError).
var misroutedMark = []byte(`"M_UNRECOGNIZED"`)

// misrouted counts a worker's 404 M_UNRECOGNIZED: the catalogue sent it
// something it does not serve. It returns what it read of the body.
func (x *exchange) misrouted(p *pool, resp *response, body *responseBody) []byte {
	const most = 512 // such an answer is short; Synapse declares no length for it
	if resp.status != 404 || !p.synapse || p.Class == configs.ClassMain || resp.length > most {
		return nil
	}
	first := make([]byte, most)
	n, _ := io.ReadFull(body, first) // what goes wrong shows again in copyBody
	if body.complete && bytes.Contains(first[:n], misroutedMark) {
		x.state.metrics.misrouted(p, x.record.Upstream)
	}
	return first[:n]
}

// responseHeader is what of the upstream's fields goes to the client.
func (x *exchange) responseHeader(resp *response, p *pool) Header {
	var buf [4]string
	connection := resp.header.Values(buf[:0], "Connection")
	out := resp.header[:0]
	for _, f := range resp.header {
		if !droppedFromResponse(f.Name, connection) {
			out = append(out, f)
		}
	}
	if p == nil {
		return out
	}
	for _, f := range x.decision.Rule.ResponseHeaders {
		out = setField(out, f.Name, f.Value)
	}
	return out
}

// setField replaces all fields of a name by one, or removes them.
func setField(h Header, name, value string) Header {
	out := h[:0]
	for _, f := range h {
		if !strings.EqualFold(f.Name, name) {
			out = append(out, f)
		}
	}
	if value != "" {
		out = append(out, Field{name, value})
	}
	return out
}

// timedOut says whether an error is a deadline of ours.
func timedOut(err error) bool {
	var ne net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &ne) && ne.Timeout()
}
