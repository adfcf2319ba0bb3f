package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"vestibule/configs"
	"vestibule/proxy"
	"vestibule/routing"
)

// side is one of the two configurations that diff compares.
type side struct {
	path      string
	cfg       *configs.Config
	table     *routing.Table
	upstreams map[*routing.Pool]texts
	known     map[routing.Entrypoint]map[string]string // hosts
	decision  routing.Decision
}

func newSide(path string, cfg *configs.Config) (*side, error) {
	table, err := routing.New(cfg)
	if err != nil {
		return nil, err
	}
	s := &side{path: path, cfg: cfg, table: table, upstreams: map[*routing.Pool]texts{}, known: map[routing.Entrypoint]map[string]string{}}
	for _, p := range table.Pools {
		s.upstreams[p] = upstreamTexts(p)
	}
	return s, nil
}

func upstreamTexts(p *routing.Pool) texts {
	var list []string
	for _, u := range p.Upstreams {
		text := u.URL
		if u.Weight > 1 {
			text += fmt.Sprintf(" (weight %d)", u.Weight)
		}
		list = append(list, text)
	}
	slices.Sort(list)
	return texts(strings.Join(list, "\n"))
}

// decide is the outcome of a request.
func (s *side) decide(r *routing.Request) outcome {
	d := &s.decision
	s.table.Match(r, d)
	o := outcome{
		Action: d.Action.String(), Route: d.Rule.Name, site: d.Site, Endpoint: string(d.Endpoint), Class: string(d.Class), Key: d.Key.Kind.String(),
		Status: d.Status, Errcode: d.Errcode, Location: d.Location,
	}
	switch d.Action {
	case routing.Proxy:
		s.forward(r, d, &o)
	case routing.Local:
		o.Document = d.Site + "/" + d.Rule.Document
	}
	o.addResponseHeaders(d)
	return o
}

// forward adds what only a forwarded request has.
func (s *side) forward(r *routing.Request, d *routing.Decision, o *outcome) {
	o.Pool, o.Upstreams = d.Pool.Name, s.upstreams[d.Pool]
	for _, spare := range proxy.Spares(r.Method, d) {
		o.Spares.add(spare.Name)
	}
	if d.Rule.Rewrite != (routing.Rewrite{}) {
		o.Target = string(d.Rule.Rewrite.Append(nil, r.Target))
	}
	for _, f := range d.Rule.RequestHeaders {
		o.RequestHeaders.add(o.header(f))
	}
	response, key := proxy.Deadline(&s.cfg.Timeouts, d, r.Target)
	o.Response, o.ResponseKey = configs.Duration(response).String(), key
}

// listens says whether an entrypoint is on. Those of sites are told apart by
// hosts.
func (s *side) listens(e routing.Entrypoint) bool {
	switch e {
	case routing.HTTPS:
		return len(s.cfg.Entrypoints.HTTPS.Addresses) > 0
	case routing.Federation:
		return len(s.cfg.Entrypoints.Federation.Addresses) > 0
	case routing.Internal:
	}
	return true
}

// hosts are the hosts that a side serves on an entrypoint, with their sites.
func (s *side) hosts(e routing.Entrypoint) map[string]string {
	if hosts, ok := s.known[e]; ok {
		return hosts
	}
	hosts := s.table.Hosts(e)
	if e == routing.Internal {
		maps.DeleteFunc(hosts, func(_, site string) bool { return len(s.cfg.Site(site).Internal.Addresses) == 0 })
	}
	s.known[e] = hosts
	return hosts
}

// url is a request as a person would write it, with the port of its entrypoint
// and as much of the target as there is room for.
func (s *side) url(x *change, room int) string {
	target, port := shorten(x.Target, room), ""
	switch x.Entrypoint {
	case routing.HTTPS.String():
		if p := s.cfg.Entrypoints.HTTPS.PublicPort; p != 0 && p != 443 {
			port = ":" + strconv.Itoa(p)
		}
	case routing.Federation.String():
		port = ":" + strconv.Itoa(cmp.Or(s.cfg.Entrypoints.Federation.PublicPort, 8448))
	case routing.Internal.String():
		return x.Method + " " + target + " on the internal entrypoint of " + x.Site
	}
	return x.Method + " https://" + x.Host + port + target
}
