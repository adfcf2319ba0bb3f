package proxy

import (
	"errors"
	"sync"
	"time"

	"vestibule/configs"
	"vestibule/routing"
)

// exchange is one request on its way and what is known of it.
type exchange struct {
	watch    exchangeWatch
	proxy    *Proxy
	state    *state
	req      *Request
	w        Responder
	id       identity
	match    routing.Request
	decision routing.Decision
	response response
	body     responseBody
	trip
	record   Access
	proof    string // for an authority, on the http entrypoint
	hushed   bool   // its body was cut short by us
	maxBody  int64  // of the request, in bytes; 0 when there is no bound
	streamed bool   // a part of the body has been read that cannot be read again
	standsIn *pool  // the main process, while it answers for another class
	coding   coding // of the answer's body
	encoder  encoder
	events   *events // the answer, when it tells of events
	auth     [2]string
	// attended ends attend; nil while nobody looks whether the client is there.
	attended func() bool
}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

// Serve carries one request. It returns when the response has been handed to
// the Responder, or when nothing more can be done for it.
func (p *Proxy) Serve(req *Request, w Responder) {
	p.metrics.inflight.Add(1)
	defer p.metrics.inflight.Add(-1)
	x := exchanges.Get().(*exchange)
	if invariants {
		w = x.watchBegun(w)
	}
	x.begin(p, req, w)
	switch d := &x.decision; d.Action {
	case routing.Proxy:
		x.forward(x.state.pools[d.Pool.Index])
	case routing.Local:
		x.local()
	case routing.Redirect:
		x.redirect()
	case routing.Refuse:
		x.refuse()
	}
	x.end()
	exchanges.Put(x)
}

// begin finds out what is to become of the request. It is not inlined, nor are others
// like it, for they would leave their variables on the stack of each poll that waits.
//
//go:noinline
func (x *exchange) begin(p *Proxy, req *Request, w Responder) {
	x.proxy, x.state, x.req, x.w = p, p.state.Load(), req, w
	x.streamed, x.hushed, x.events = false, false, nil
	x.record = Access{Start: time.Now()}
	x.id = identify(req, x.state.trusted[req.Entrypoint.Role])
	x.match = routing.Request{
		Entrypoint: req.Entrypoint.Role, Site: req.Entrypoint.Site,
		Method: req.Method, Host: req.Host, Target: req.Target,
		Authorization: req.Header.Values(x.auth[:0], "Authorization"),
		Client:        x.id.client,
	}
	if x.guard() {
		return
	}
	if r := req.Entrypoint.redirect; r != nil {
		r.decide(x)
		return
	}
	x.state.table.Match(&x.match, &x.decision)
}

// end counts and logs the exchange.
//
//go:noinline
func (x *exchange) end() {
	x.proxy.metrics.observe(x)
	if x.state.access {
		x.log()
	}
	x.releaseEncoder()
	x.proxy, x.state, x.req, x.w = nil, nil, nil, nil
	clear(x.auth[:])
	clear(x.response.header)
	x.body = responseBody{}
	x.match = routing.Request{}
	if invariants {
		x.watchEnded()
	}
}

// upgrade says whether the request asks for a WebSocket where one may be had:
// never of Synapse, which has none, and not by HTTP/1.0, which cannot ask
// (RFC 9110, section 7.8).
func (x *exchange) upgrade(p *pool) bool {
	if p.synapse || x.req.Method != "GET" || x.req.Body != nil || x.req.Proto != "HTTP/1.1" {
		return false
	}
	var connection, upgrade [4]string
	return named("upgrade", x.req.Header.Values(connection[:0], "Connection")) &&
		named("websocket", x.req.Header.Values(upgrade[:0], "Upgrade"))
}

// local answers with a document of our own.
func (x *exchange) local() {
	d := &x.decision
	if d.Rule == ruleChallenge {
		x.answer(Answer{Status: 200, Header: Header{{"Content-Type", "application/octet-stream"}}, Body: []byte(x.proof)})
		return
	}
	if d.Rule.Document == "base" {
		x.answer(basePage(x.req.Method, d.Site))
		return
	}
	document := x.state.locals[d.Site]
	if document == nil {
		x.answer(x.refusal(404, "M_NOT_FOUND", "There is nothing here."))
		return
	}
	x.answer(document(x.req.Method, d.Rule.Document, func(name string) string {
		v, _ := x.req.Header.Get(name)
		return v
	}))
}

func (x *exchange) redirect() {
	a := Answer{Status: x.decision.Status, Header: Header{{"Location", x.decision.Location}}}
	if matrixPath(x.req.Target) {
		a.Header = append(a.Header, corsFields...)
	}
	for _, f := range x.decision.ResponseHeaders() {
		a.Header = setField(a.Header, f.Name, f.Value)
	}
	x.answer(a)
}

func (x *exchange) refuse() {
	d := &x.decision
	a := x.refusal(d.Status, d.Errcode, refusalText(d))
	for _, f := range d.ResponseHeaders() {
		a.Header = setField(a.Header, f.Name, f.Value)
	}
	x.answer(a)
}

// fail answers for an upstream that could not.
func (x *exchange) fail(err error) {
	if x.record.Error = err.Error(); x.left(err) {
		x.record.Error = "the client left before the answer came"
		if x.proxy.streams.over() {
			x.record.Error = whyCut
		}
		x.record.Status = 499
		x.w.Abort()
		return
	}
	if errors.Is(err, errLimited) {
		x.answer(x.limited())
		return
	}
	status, errcode, text := failure(err)
	a := x.refusal(status, errcode, text)
	if a.Status == 503 {
		a.Header = append(a.Header, Field{"Retry-After", "2"})
	}
	x.answer(a)
}

// left says whether the client is gone. Its context ends for net/http also when we
// stop reading its body, in whose place it then gets an answer.
func (x *exchange) left(err error) bool {
	return x.req.Context.Err() != nil && !x.hushed && !errors.Is(err, errStalled)
}

// failure maps what went wrong with an upstream to a status and a sentence. It
// is never 401 or 404: clients would believe that an account or a room is gone.
func failure(err error) (status int, errcode, text string) {
	switch {
	case errors.Is(err, errTooLarge):
		return 413, "M_TOO_LARGE", "This is larger than the server accepts."
	case errors.Is(err, errStalled):
		return 408, "M_UNKNOWN", "The request's body stopped coming."
	case errors.Is(err, errUpload):
		return 400, "M_UNKNOWN", "The request's body ended before its time."
	case busy(err) || errors.Is(err, errCrowded):
		return 503, "M_UNKNOWN", "This part of the server is busy. Try again in a moment."
	case absent(err):
		return 503, "M_UNKNOWN", "This part of the server is not running at the moment. Try again in a moment."
	case timedOut(err):
		return 504, "M_UNKNOWN", "This part of the server did not answer in time."
	}
	return 502, "M_UNKNOWN", "This part of the server gave no proper answer."
}

// answer sends an answer of our own.
func (x *exchange) answer(a Answer) {
	x.record.Status = a.Status
	length := int64(len(a.Body))
	if a.Status == 204 || a.Status == 304 {
		length = -1
	}
	x.head(a.Status, a.Header, length)
	if x.req.Method != "HEAD" && len(a.Body) > 0 && x.write(a.Body) {
		x.finish()
	}
}

// IsSynapse says whether a class is done by Synapse's processes.
func IsSynapse(c configs.Class) bool {
	if c == configs.ClassMain {
		return true
	}
	for _, w := range configs.WorkerClasses {
		if c == w {
			return true
		}
	}
	return false
}
