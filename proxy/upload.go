package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// upload is a request body on its way while the answer is awaited, and the clock
// of that answer, which starts when the request is sent whole.
type upload struct {
	ctx    context.Context
	c      *conn
	limit  time.Duration // from the whole request to the head of the answer
	done   chan struct{} // closed when nothing is sent any more; nil when nothing is streamed
	partly bool          // the head, or a short body with it, could not be written whole
	ended  atomic.Bool   // the client's body has been read to its end
	ends   atomic.Bool   // nobody wants the rest of it
	// hushed is true when it was stopped while the client was there.
	hushed bool

	mu       sync.Mutex
	sent     bool  // nothing is sent any more
	awaiting bool  // the answer's head is awaited
	err      error // why sending stopped early; free to read after done
}

// errUnwanted is a body that was not read to its end because nobody wants it.
var errUnwanted = errors.New("the rest of the request's body is not wanted")

// finish notes how the upload ended.
func (u *upload) finish(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	// For net/http the client is gone when its body stalls, so that settle may have
	// come first.
	if err != nil && u.ends.Load() && !errors.Is(err, errStalled) && !errors.Is(err, errTooLarge) {
		err = errUnwanted
	}
	u.sent, u.err = true, err
	u.wind()
	close(u.done)
}

// await says whether the answer's head is still to come.
func (u *upload) await(awaiting bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.awaiting = awaiting
	if !awaiting {
		u.c.limitRead(u.ctx, time.Time{})
	}
	u.wind()
}

// wind sets the clock. No answer to half a request is of use, and none comes from
// an upstream that does not read it any more. The body of an answer has a clock of
// its own.
func (u *upload) wind() {
	switch {
	case errors.Is(u.err, errUpload):
		u.c.cut()
	case !u.awaiting:
	case timedOut(u.err):
		u.c.cut()
	case u.sent:
		u.c.limitRead(u.ctx, time.Now().Add(u.limit))
	default:
		u.c.limitRead(u.ctx, time.Time{})
	}
}

// lastWrite is how long the end of a body may be on its way to an upstream that
// has answered already.
const lastWrite = 50 * time.Millisecond

// settle waits for the upload's goroutine, so that the request's memory is free
// again, and says whether the connection may carry another request. A body that
// nobody wants any more is not waited for: not what the client still has to
// send, and not what the upstream does not read.
func (u *upload) settle(req *Request, reuse bool) bool {
	if u.done == nil {
		return reuse && !u.partly
	}
	if reuse && u.ended.Load() {
		select {
		case <-u.done:
			return u.err == nil
		case <-time.After(lastWrite):
		}
	}
	u.ends.Store(true)
	u.c.close() // wakes a write that is stuck
	if !u.ended.Load() && req.StopBody != nil {
		u.hushed = u.ctx.Err() == nil
		req.StopBody() // and a read
	}
	<-u.done
	return false
}

// limitRead sets a read deadline, unless the client has left meanwhile.
func (c *conn) limitRead(ctx context.Context, t time.Time) {
	c.setReadDeadline(t)
	if ctx.Err() != nil {
		c.cut()
	}
}

// explain prefers the client's failure to the upstream's silence after it. It
// is called after settle.
func (u *upload) explain(err error) error {
	if errors.Is(u.err, errUpload) && (!u.c.received || errors.Is(err, os.ErrDeadlineExceeded)) {
		return u.err
	}
	if !u.c.received && !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w: %w", errUnsent, err)
	}
	return err
}

// stream copies the request's body to the upstream, in its own framing.
func (x *exchange) stream(c *conn, up *upload) error {
	buf := copyBuffers.lend()
	defer copyBuffers.takeBack(buf)
	var scratch []byte
	var sent int64
	for {
		n, err := x.req.Body.Read(*buf)
		x.record.received.Add(int64(n))
		if errors.Is(err, io.EOF) {
			up.ended.Store(true) // before the upstream can know, and answer
		}
		if sent += int64(n); !x.fits(sent) {
			return errTooLarge
		}
		if invariants {
			x.watchHolds(c)
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
			return uploadError(err)
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
			if !isToken(f.Name) || !isFieldValue(f.Value) { // net/http takes "X-A : b"
				return fmt.Errorf("%w: a trailer that is no field", errUpload)
			}
			if !dropped(f.Name, nil) && !barredFromTrailer(f.Name) && !x.replaced(f.Name) {
				end = appendField(end, f.Name, f.Value)
			}
		}
	}
	_, err := c.Write(append(end, "\r\n"...))
	return err
}
