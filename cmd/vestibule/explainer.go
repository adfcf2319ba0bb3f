package main

import (
	"strings"

	"vestibule/configs"
	"vestibule/proxy"
	"vestibule/routing"
)

// explainer answers questions about one configuration.
type explainer struct {
	cfg    *configs.Config
	table  *routing.Table
	health map[string]proxy.UpstreamStatus // by URL, from the running server
}

func newExplainer(path string) (*explainer, error) {
	cfg, problems := configs.Load(path)
	if cfg == nil {
		return nil, problems
	}
	e := &explainer{cfg: cfg, health: map[string]proxy.UpstreamStatus{}}
	var err error
	e.table, err = routing.NewFor(cfg, e.askServer())
	return e, err
}

// askServer asks the running server, if there is one, how its upstreams are and
// which releases of Synapse its sites run.
func (e *explainer) askServer() map[string]routing.Release {
	var running statusReport
	if ask(e.cfg.Control, "GET", "status", &running) != nil {
		return nil
	}
	for _, p := range running.Pools {
		for _, u := range p.Upstreams {
			e.health[u.URL] = u
		}
	}
	releases := map[string]routing.Release{}
	for _, s := range running.Sites {
		if release, err := routing.ParseRelease(s.Synapse); err == nil {
			releases[s.ServerName] = release
		}
	}
	return releases
}

// decide asks what a server asks, in its order.
func (e *explainer) decide(q *question) (found routing.Explanation) {
	if proxy.Guard(q.Method, q.Host, &found.Decision) {
		return found
	}
	return e.table.Explain(&q.Request)
}

// answer is the explanation without details.
func (e *explainer) answer(q *routing.Request, d *routing.Decision) explanation {
	x := explanation{
		Entrypoint: q.Entrypoint.String(), Site: d.Site, Route: d.Rule.Name, Endpoint: string(d.Endpoint), Class: string(d.Class),
		HashKey: d.Key.String(), Action: d.Action.String(), Status: d.Status, Location: d.Location,
		Pattern: d.Rule.Pattern, File: d.Rule.Place.File, Line: d.Rule.Place.Line,
	}
	if d.Pool != nil {
		x.Pool = d.Pool.Name
		x.Upstream = e.choose(d)
	}
	return x
}

// detailed explains a request with all that is known.
func (e *explainer) detailed(q *question) explanation {
	found := e.decide(q)
	d := &found.Decision
	x := e.answer(&q.Request, d)
	for _, l := range found.Lost {
		x.Lost = append(x.Lost, lostRule{l.Rule.Name, string(l.Class), l.Why, l.Rule.Place.File, l.Rule.Place.Line})
	}
	x.Limits = &limits{Head: e.cfg.Limits.Head.String()}
	if d.Pool != nil {
		x.Candidates = e.candidates(d.Pool)
		e.addSpares(q.Method, d, &x)
		e.addLimits(q, d, &x)
	}
	e.addHeaders(q, d, &x)
	return x
}

// candidates lists the upstreams of a pool with their health.
func (e *explainer) candidates(p *routing.Pool) []candidate {
	var list []candidate
	for _, u := range p.Upstreams {
		c := candidate{URL: u.URL, Health: "unknown", Weight: u.Weight, MaxConns: u.MaxConns}
		if known, ok := e.health[u.URL]; ok {
			c.Health, c.Addresses = known.Health, known.Addresses
		}
		list = append(list, c)
	}
	return list
}

// choose returns the upstream that the key picks, or "" when the choice is by
// load.
func (e *explainer) choose(d *routing.Decision) string {
	var urls []string
	var weights []int
	for _, u := range d.Pool.Upstreams {
		urls, weights = append(urls, u.URL), append(weights, max(u.Weight, 1))
	}
	switch {
	case len(urls) == 1:
		return urls[0]
	case len(d.Key.Value) == 0:
		return ""
	}
	ranks := routing.NewRendezvous(urls, weights)
	i := ranks.Rank(d.Key.Value, func(i int) bool { return e.health[urls[i]].Health == "down" })
	if i < 0 {
		i = ranks.Rank(d.Key.Value, nil)
	}
	return urls[i]
}

// addSpares tells who stands in, where one process of Synapse may for another.
func (e *explainer) addSpares(method string, d *routing.Decision, x *explanation) {
	if !proxy.IsSynapse(d.Pool.Class) {
		return
	}
	x.Spares = []standIn{}
	for _, p := range proxy.Spares(method, d) {
		x.Spares = append(x.Spares, standIn{p.Name, e.candidates(p)})
	}
}

func (e *explainer) addLimits(q *question, d *routing.Decision, x *explanation) {
	response, key := proxy.Deadline(&e.cfg.Timeouts, d, q.Target)
	x.Limits.Response, x.Limits.ResponseKey = configs.Duration(response).String(), key
	if hold := proxy.Hold(e.cfg, d.Pool); hold > 0 {
		x.Limits.Hold = configs.Duration(hold).String()
	}
	for _, c := range x.Candidates {
		if c.URL == x.Upstream {
			x.Limits.MaxConns = c.MaxConns
		}
	}
	if l, ok := proxy.EndpointLimit(e.cfg, q.Method, d); ok {
		x.Limits.Concurrent, x.Limits.Queue = l.Concurrent, l.Queue.String()
	}
	if most := proxy.MaxBody(e.cfg, d); most > 0 {
		x.Limits.MaxUpload = most.String()
	}
}

// addHeaders tells what is set and dropped on the way there and back.
func (e *explainer) addHeaders(q *question, d *routing.Decision, x *explanation) {
	h := &headers{}
	switch d.Action {
	case routing.Proxy:
		x.ForwardedTarget = h.forward(q, d)
	case routing.Redirect:
	case routing.Refuse:
		if len(d.ResponseHeaders()) == 0 {
			return
		}
	default:
		return // no route changes the headers of those
	}
	for _, f := range d.ResponseHeaders() {
		if f.Value == "" {
			h.ResponseRemoved = append(h.ResponseRemoved, f.Name)
		} else {
			h.ResponseSet = append(h.ResponseSet, headerField{f.Name, shown(f.Name, f.Value)})
		}
	}
	x.Headers = h
}

// forward tells of the way to the upstream, and returns the target there if it
// is another.
func (h *headers) forward(q *question, d *routing.Decision) (target string) {
	v := proxy.NewPreview(&proxy.Request{Method: q.Method, Target: q.Target, Host: q.Host, Header: q.header, Proto: "HTTP/1.1"}, d, q.Client, q.secure)
	if !q.Client.IsValid() {
		h.Set = append(h.Set, headerField{"X-Forwarded-For", "(the client's address)"}, headerField{"X-Real-IP", "(the client's address)"})
	}
	for _, f := range v.Set {
		h.Set = append(h.Set, headerField{f.Name, shown(f.Name, f.Value)})
	}
	for _, f := range d.Rule.RequestHeaders {
		if f.Value == "" {
			h.Removed = append(h.Removed, f.Name)
		}
	}
	for _, f := range v.Dropped {
		h.Dropped = append(h.Dropped, droppedHeader(f))
	}
	if v.Target != q.Target {
		return v.Target
	}
	return ""
}

// shown is a header's value, unless its name says that it is secret: what
// explain prints is pasted into chats.
func shown(name, value string) string {
	name = strings.ToLower(name)
	for _, word := range []string{"auth", "cookie", "token", "secret", "key", "password", "signature"} {
		if strings.Contains(name, word) {
			return "[redacted]"
		}
	}
	return value
}
