package proxy

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"time"

	"vestibule/configs"
)

// relay sends the response to the client and says whether the connection to
// the upstream may be used again. Its error is errMisrouted.
func (x *exchange) relay(c *conn, resp *response, p *pool) (reuse bool, err error) {
	x.record.Status = resp.status
	length := resp.length
	if resp.chunked {
		length = -1
	}
	body := &x.body
	*body = responseBody{c: c, resp: resp, left: max(resp.length, 0)}
	if resp.bodyless(x.req.Method) {
		x.head(resp.status, x.responseHeader(resp, p), length)
		return resp.reuse && c.r.Buffered() == 0, nil
	}
	first, misrouted := x.misrouted(p, resp, body)
	if misrouted && x.mainMayKnow() {
		return resp.reuse && c.r.Buffered() == 0, errMisrouted
	}
	switch {
	case endless(resp.header) && x.req.Method == "GET": // of anything else the client wants the end
		defer x.proxy.streams.remove(x.tell(c))
	case !endless(resp.header):
		c.expect(x.state.cfg.Timeouts.Stall.Std())
		defer c.expectNone()
	}
	buf := copyBuffers.lend()
	defer copyBuffers.takeBack(buf)
	if length < 0 {
		if first = body.ahead(*buf, first, minCompressed); body.complete && len(body.trailer) == 0 {
			length = int64(len(first))
		}
	}
	x.head(resp.status, x.responseHeader(resp, p), length)
	if !x.copyBody(body, first, *buf) {
		return false, nil
	}
	return resp.reuse && body.complete && c.r.Buffered() == 0, nil
}

// copyBody streams the body, of which first was read already, through buf. When it
// ends wrongly on either side the client sees a broken response, never a short one
// that looks whole.
func (x *exchange) copyBody(body *responseBody, first, buf []byte) bool {
	if len(first) > 0 && !x.write(first) {
		return false
	}
	if body.waits() && !x.pause(body) {
		return false // the head does not wait for a body that is still to come
	}
	for {
		n, err := body.Read(buf)
		if invariants {
			x.watchHolds(body.c)
		}
		if n > 0 && !x.write(buf[:n]) {
			return false
		}
		if errors.Is(err, io.EOF) {
			if !x.finish() {
				return false
			}
			x.endResponse(body)
			return true
		}
		if err != nil {
			x.breakOff(body, err)
			return false
		}
		if body.waits() && !x.pause(body) {
			return false
		}
	}
}

// pause sends what there is before the rest of the body is waited for.
func (x *exchange) pause(body *responseBody) bool {
	x.attend(body.c)
	return x.flush()
}

// breakOff ends an answer in its middle. Events may end anywhere: whoever listens
// asks again, and an event that is not whole is none (HTML Living Standard,
// "Server-sent events", "Interpreting an event stream").
func (x *exchange) breakOff(body *responseBody, err error) {
	x.record.Error = "the upstream's response broke off: " + err.Error()
	if x.req.Context.Err() != nil { // which is why reading was cut short
		x.record.Error = "the client left"
		if x.proxy.streams.over() {
			x.record.Error = whyCut
		}
	} else if why := x.events.left(); why != "" {
		x.record.Error = why
		if body.resp.length < 0 {
			return
		}
	}
	x.w.Abort()
}

func (x *exchange) endResponse(body *responseBody) {
	var trailer Header
	for _, f := range body.trailer {
		if !droppedFromResponse(f.Name, nil) && !barredFromTrailer(f.Name) && (x.coding == uncoded || !isDigest(f.Name)) {
			trailer = append(trailer, f)
		}
	}
	if len(trailer) > 0 && x.reached(x.w.Flush()) { // or a short body gets a length, and no trailer
		x.w.Trailer(trailer)
	}
}

// reached says whether what was sent got to the client.
func (x *exchange) reached(err error) bool {
	if err != nil {
		x.record.Error = "the client left: " + clientError(err)
		if timedOut(err) {
			x.record.Error = "the client stopped reading its answer"
		}
		x.w.Abort()
	}
	return err == nil
}

// misroutedMark is what Synapse's processes answer to a path that they do not
// serve (synapse/http/server.py, UnrecognizedRequestError).
var misroutedMark = []byte(`"M_UNRECOGNIZED"`)

// misrouted counts a worker's 404 M_UNRECOGNIZED: the catalogue sent it
// something it does not serve. It returns what it read of the body, all of it in
// that case.
func (x *exchange) misrouted(p *pool, resp *response, body *responseBody) (first []byte, is bool) {
	const most = 512 // such an answer is short; Synapse declares no length for it
	if resp.status != 404 || !p.synapse || p.Class == configs.ClassMain || resp.length > most {
		return nil, false
	}
	limit, _ := Deadline(&x.state.cfg.Timeouts, &x.decision, x.req.Target)
	x.attend(body.c)
	body.c.limitRead(x.req.Context, time.Now().Add(limit)) // for the head waits for it
	defer body.c.limitRead(x.req.Context, time.Time{})
	first = make([]byte, most)
	n, _ := io.ReadFull(body, first) // what goes wrong shows again in copyBody
	first = first[:n]
	if is = body.complete && bytes.Contains(first, misroutedMark); is {
		x.state.metrics.misrouted(p, x.record.Upstream)
	}
	return first, is
}

// mainMayKnow says whether the main process is asked what a worker did not know:
// it serves all endpoints. Only of a GET is it sure that the worker did nothing.
func (x *exchange) mainMayKnow() bool {
	return x.req.Method == "GET" && x.decision.Main != nil && !x.streamed
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
	for _, f := range x.decision.ResponseHeaders() {
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
