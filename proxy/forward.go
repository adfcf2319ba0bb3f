package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"time"

	"vestibule/routing"
)

// inlineBody is the largest body, in bytes, that is sent together with its
// head: it costs no goroutine and can be sent again on a fresh connection.
const inlineBody = 16 << 10

// errUpload marks an error of the client's body, not of the upstream.
var errUpload = errors.New("reading the request's body")

// errUnsent marks a failure before the upstream can have acted on the request.
var errUnsent = errors.New("the connection ended before an answer began")

var headBuffers = newBuffers(0, 4096)

// errMisrouted marks an answer by which a process says that it does not know the
// endpoint. Nothing of it has reached the client.
var errMisrouted = errors.New("the process does not know this endpoint")

// trip is where an exchange is on its way to a process and back. It is not on the
// stack, of which a poll that waits shall need little.
type trip struct {
	asked  *pool           // whose process is to answer
	spares []*routing.Pool // whose can stand in for it
	passed *turnstile      // nil when there was none
	tries  int             // how often it has been sent
	inline []byte          // the request's body, when it is sent at once
	whole  upload          // of a request that was sent at once

	conn  *conn // to the process; nil when none is held
	by    *pool // whose process it is
	up    *upload
	reuse bool // the connection may carry another exchange
}

// forward sends the request to the decision's pool and the answer back.
func (x *exchange) forward(p *pool) {
	defer x.comeHome()
	if err := x.setOut(p); err != nil {
		x.fail(err)
		return
	}
	for {
		err := x.depart()
		if err == nil {
			err = x.arrive(x.await())
		}
		if !x.again(err) {
			return
		}
	}
}

// setOut does what is done once, however often the request is sent.
func (x *exchange) setOut(p *pool) error {
	x.maxBody = int64(maxBody(p.maxUpload, x.decision.Endpoint))
	if !x.fits(x.req.Length) {
		return errTooLarge
	}
	var err error
	if x.inline, err = x.inlineBody(); err != nil {
		return err
	}
	if err := x.enter(); err != nil { // not before: a body that does not come is no work for anybody
		return err
	}
	x.recognise(p)
	x.asked, x.spares = p, Spares(x.req.Method, &x.decision)
	return nil
}

// comeHome gives back all that is held for the exchange.
func (x *exchange) comeHome() {
	x.reuse = false // of what is still held nobody knows how it ended
	x.release()
	x.standDown()
	if x.passed != nil {
		x.passed.leave()
	}
	x.trip = trip{}
}

// depart sends the request to a process. On an error the connection may be held.
func (x *exchange) depart() (err error) {
	if x.conn, x.by, err = x.connect(x.asked, x.spares); err != nil {
		return err
	}
	x.tries++
	x.record.Upstream = x.conn.at.up.Name
	x.conn.sent, x.conn.received, x.reuse = false, false, false
	if invariants {
		x.conn.watchBegun(x)
	}
	x.up, err = x.send(x.conn, x.by)
	return err
}

// arrive brings the client the answer whose head await has read, or failed to. It
// returns an error only when nothing of the answer has reached the client.
func (x *exchange) arrive(err error) error {
	x.up.await(false)
	switch {
	case err != nil:
	case x.response.upgrade:
		return x.tunnel(x.conn, &x.response)
	default:
		x.reuse, err = x.relay(x.conn, &x.response, x.by)
	}
	x.reuse = x.up.settle(x.req, x.reuse)
	x.hushed = x.up.hushed
	if err != nil {
		return x.up.explain(err)
	}
	return nil
}

// again ends a try and says whether there is to be another.
func (x *exchange) again(err error) bool {
	c := x.conn
	if c == nil {
		x.fail(err)
		return false
	}
	x.release()
	x.judge(c, err)
	x.standDown()
	switch {
	case err == nil:
		return false
	case errors.Is(err, errMisrouted):
		x.asked, x.spares = x.state.pools[x.decision.Main.Index], nil
	case x.tries < maxTries && errors.Is(err, errUnsent) && x.repeatable(c):
		if c.reused {
			c.at.forget() // the others that are idle are as likely to be closed
		}
	default:
		x.fail(err)
		return false
	}
	return true
}

// release gives the connection back.
func (x *exchange) release() {
	if c := x.conn; c != nil {
		x.conn = nil
		c.at.release(c, x.unattend() && x.reuse && !c.isCut.Load())
	}
}

// maxTries bounds how often a request is sent: over a connection that had been
// kept and turned out to be closed, to a process that ended over it, and to
// another.
const maxTries = 3

// judge lets the health of a process know how an exchange with it ended. A kept
// connection that was closed meanwhile says nothing about it, nor does a client
// that left. Nor does what a client can bring about: Synapse breaks the connection
// over a body that is too large (synapse/http/site.py, handleContentChunk), and is
// slow when it waits for another server. Whether it hangs, its probes tell.
func (x *exchange) judge(c *conn, err error) {
	switch {
	case err == nil || errors.Is(err, errMisrouted):
		c.at.health.answered()
	case x.left(err) || errors.Is(err, errUpload):
	case (c.reused || x.streamed) && errors.Is(err, errUnsent):
	case x.by.synapse && timedOut(err):
	default:
		c.at.failed(err)
	}
}

// repeatable says whether the exchange may be tried again: nothing came back; the
// body is still ours to send; and either nothing was sent or doing it twice would
// be harmless (RFC 9110, section 9.2.2).
func (x *exchange) repeatable(c *conn) bool {
	if c.received || x.streamed || x.req.Context.Err() != nil {
		return false
	}
	if !c.sent {
		return true
	}
	switch x.req.Method {
	case "GET", "HEAD", "OPTIONS", "PUT", "DELETE":
		return true
	case "POST":
		return x.decision.Rule.Repeatable
	}
	return false
}

// inlineBody reads a short body of known length whole, and its end: over HTTP/2
// the stream frames it, and one that goes on is no such request (RFC 9113, section
// 8.1.1), of which nothing may be sent.
func (x *exchange) inlineBody() ([]byte, error) {
	if x.req.Body == nil || x.req.Length < 0 || x.req.Length > inlineBody {
		return nil, nil
	}
	body := make([]byte, x.req.Length+1)
	n, err := io.ReadFull(x.req.Body, body[:x.req.Length])
	x.record.received.Add(int64(n))
	if err != nil {
		return nil, uploadError(err)
	}
	switch _, err := io.ReadFull(x.req.Body, body[n:]); {
	case err == nil:
		return nil, fmt.Errorf("%w: it is longer than declared", errUpload)
	case !errors.Is(err, io.EOF):
		return nil, uploadError(err)
	}
	return body[:n], nil
}

// attend has a client that leaves free its upstream, a parked one at once. It costs
// more than most answers take, so it is called when something has to be waited for.
func (x *exchange) attend(c *conn) {
	if x.attended == nil {
		x.attended = x.req.afterGone(c.cutter)
	}
}

// unattend ends attend, and says whether the client was there all the while, as far
// as anybody looked.
func (x *exchange) unattend() bool {
	stop := x.attended
	x.attended = nil
	return stop == nil || stop()
}

// send writes the head with a short body, or starts to stream a long one.
func (x *exchange) send(c *conn, p *pool) (*upload, error) {
	n, err := x.sendHead(c, p)
	c.sent = n > 0
	if err != nil && (!c.sent && c.reused || !c.answered()) { // an answer to nothing is another's, or none
		return nil, fmt.Errorf("%w: %w", errUnsent, err)
	}
	limit, _ := Deadline(&x.state.cfg.Timeouts, &x.decision, x.req.Target)
	if err != nil || x.req.Body == nil || x.inline != nil { // behind a part of a head, a body would go on with it
		x.whole = upload{ctx: x.req.Context, c: c, limit: limit, sent: true, partly: err != nil}
		return &x.whole, nil
	}
	up := &upload{ctx: x.req.Context, c: c, limit: limit, done: make(chan struct{})}
	x.streamed = true
	x.attend(c)
	go func() { up.finish(x.stream(c, up)) }()
	return up, nil
}

// sendHead writes the head with a short body. The memory for it is given back at
// once: thousands of requests wait for their answers at the same time.
func (x *exchange) sendHead(c *conn, p *pool) (int, error) {
	head := headBuffers.lend()
	defer headBuffers.takeBack(head)
	*head = append(x.appendHead((*head)[:0], p), x.inline...)
	return c.Write(*head)
}

// promptly says whether a whole head comes within d.
func (c *conn) promptly(ctx context.Context, d time.Duration) bool {
	c.limitRead(ctx, time.Now().Add(d))
	runtime.Gosched() // a read that came too early would be a system call for nothing
	return c.r.await() == nil && bytes.Contains(c.r.ahead(), headEnd)
}

// answered says whether an answer lies ready although writing failed, as when
// a back end refuses a body early and closes.
func (c *conn) answered() bool {
	c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	err := c.r.await()
	c.SetReadDeadline(time.Time{})
	return err == nil
}

// maxInterim bounds the answers before an answer. One that says every few seconds
// that it is still at work has enough of them for the longest deadline.
const maxInterim = 100

// unattendedWait is how long an answer is awaited before anybody looks whether the
// client is still there.
const unattendedWait = 50 * time.Millisecond

// await reads the response's head, passing interim ones on, within the
// deadline of the endpoint. The clock starts when the request is sent whole. A poll
// spends its life here: see TestParkedStack before another call comes between it
// and its connection.
func (x *exchange) await() error {
	if x.attended != nil || !x.conn.promptly(x.req.Context, min(unattendedWait, x.up.limit)) {
		x.attend(x.conn)
		x.up.await(true)
	}
	for interim := 0; ; interim++ {
		if err := x.conn.r.await(); err != nil {
			return err
		}
		if final, err := x.readHead(interim); final || err != nil {
			return err
		}
	}
}

// readHead reads a head, after a number of interim ones, and passes it on if it is
// one more of those: the upstream has as long as before for the next.
func (x *exchange) readHead(interim int) (final bool, err error) {
	resp := &x.response
	if err := x.conn.readResponse(x.req.Method, resp); err != nil {
		return false, err
	}
	switch {
	case interim > maxInterim:
		return false, fmt.Errorf("%w: more than %d interim ones before it", errResponse, maxInterim)
	case resp.status == 101:
		if !resp.upgrade || !x.upgrade(x.by) {
			return false, fmt.Errorf("%w: 101 without a request for it", errResponse)
		}
		return true, nil
	case resp.status >= 200:
		return true, nil
	case resp.status != 100:
		x.w.Inform(resp.status, x.responseHeader(resp, nil))
	}
	x.attend(x.conn)
	x.up.await(true)
	return false, nil
}

// timedOut says whether an error is a deadline of ours.
func timedOut(err error) bool {
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return err != nil
	}
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
