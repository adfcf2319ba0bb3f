package main

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"vestibule/routing"
)

// comparison is what changes from one configuration to another; diff --json
// prints it.
type comparison struct {
	Old      string `json:"old"`
	New      string `json:"new"`
	Compared int    `json:"compared"`           // requests
	Changed  int    `json:"changed"`            // of them
	LeftOut  int    `json:"left_out,omitempty"` // of them, beyond what is bearable
	// OnlyOld and OnlyNew are sites, hosts and entrypoints whose requests were not
	// compared, for the other side has nothing of the kind.
	OnlyOld []string `json:"only_old,omitempty"`
	OnlyNew []string `json:"only_new,omitempty"`
	// Keys differ, whether or not a decision shows it.
	Keys     []string `json:"keys,omitempty"`
	Changes  []change `json:"changes"`
	Untested []string `json:"untested,omitempty"` // such as routes that no request reached

	old, now  *side
	visitors  []visitor
	decisions int // asked of each side
}

// change is a request that is answered differently.
type change struct {
	Entrypoint string `json:"entrypoint"`
	Site       string `json:"site,omitempty"` // of an internal entrypoint
	Method     string `json:"method"`
	Host       string `json:"host"`
	Target     string `json:"target"`
	// Authorization holds tokens and signatures that nobody accepts.
	Authorization []string `json:"authorization,omitempty"`
	// From is who is answered so, where that depends on the address.
	From string   `json:"from,omitempty"`
	Old  outcome  `json:"old"`
	New  outcome  `json:"new"`
	Ways []string `json:"differs"`

	site        string // that answers, or did
	differences []fieldChange
}

// mostDecisions bounds what is asked of each side, for configurations with
// hundreds of sites or long lists of addresses.
const mostDecisions = 2_000_000

// compare asks both sides the samples of both.
func compare(old, now *side) *comparison {
	c := &comparison{Old: old.path, New: now.path, Keys: changedKeys(old.cfg, now.cfg), Changes: []change{},
		old: old, now: now}
	var left int
	if c.visitors, left = visitors(old.cfg, now.cfg); left > 0 {
		c.Untested = append(c.Untested, counted(left, "range")+" of addresses under admins or allow, for there are too many")
	}
	c.OnlyOld, c.OnlyNew = onlyOn(old, now), onlyOn(now, old)
	seen := map[string]bool{}
	for _, s := range []*side{old, now} {
		samples, unmet := s.table.Samples()
		for _, r := range samples {
			id := sampleID(&r)
			if seen[id] || !askable(old, now, &r) {
				continue
			}
			seen[id] = true
			c.ask(r)
		}
		for _, u := range unmet {
			c.Untested = append(c.Untested, "route "+u.Rule.Name+" of "+u.Site+" at "+u.Rule.Place.String()+": "+u.Why)
		}
	}
	return c
}

func sampleID(r *routing.Request) string {
	return strings.Join(append([]string{r.Entrypoint.String(), r.Site, r.Method, r.Host, r.Target}, r.Authorization...), "\x00")
}

// askable says whether both sides listen there and know the host, or neither
// knows it.
func askable(old, now *side, r *routing.Request) bool {
	if r.Entrypoint == routing.Internal {
		return old.hosts(r.Entrypoint)[r.Site] != "" && now.hosts(r.Entrypoint)[r.Site] != ""
	}
	_, before := old.hosts(r.Entrypoint)[r.Host]
	_, after := now.hosts(r.Entrypoint)[r.Host]
	return before == after && old.listens(r.Entrypoint) && now.listens(r.Entrypoint)
}

// routed are the entrypoints that requests are routed on.
var routed = []routing.Entrypoint{routing.HTTPS, routing.Federation, routing.Internal}

// onlyOn lists what one side has and the other has not: sites, entrypoints, and
// the hosts of what both have.
func onlyOn(one, other *side) []string {
	var list []string
	for _, site := range difference(siteNames(one.cfg), siteNames(other.cfg)) {
		list = append(list, "site "+site)
	}
	entrypoints := map[string][]string{} // by host
	for _, e := range routed {
		switch {
		case one.listens(e) && other.listens(e):
			for _, host := range hostsOnlyOn(one, other, e) {
				if e == routing.Internal {
					list = append(list, "internal entrypoint of "+host)
					continue
				}
				entrypoints[host] = append(entrypoints[host], e.String())
			}
		case one.listens(e):
			list = append(list, "entrypoint "+e.String())
		}
	}
	for _, host := range slices.Sorted(maps.Keys(entrypoints)) {
		list = append(list, "host "+host+" on "+strings.Join(entrypoints[host], " and "))
	}
	return list
}

// hostsOnlyOn lists the hosts that only one side serves although both have the
// site.
func hostsOnlyOn(one, other *side, e routing.Entrypoint) []string {
	var list []string
	for host, site := range one.hosts(e) {
		if _, both := other.hosts(e)[host]; !both && other.cfg.Site(site) != nil {
			list = append(list, host)
		}
	}
	slices.Sort(list)
	return list
}

// ask compares what becomes of a request. Only a gate asks who it comes from,
// and it never lets everybody in.
func (c *comparison) ask(r routing.Request) {
	if c.decisions >= mostDecisions {
		c.LeftOut++
		return
	}
	c.Compared++
	changed := len(c.Changes)
	ordinary := c.visitors[0]
	r.Client = ordinary.first
	was, is := c.decide(&r)
	from := ""
	if ordinary.listed || was.Status == 403 || is.Status == 403 {
		for _, v := range c.visitors[1:] {
			r.Client = v.first
			wasTo, isTo := c.decide(&r)
			if wasTo.equals(was) && isTo.equals(is) {
				continue
			}
			from = ordinary.String()
			c.add(&r, v.String(), wasTo, isTo)
		}
	}
	c.add(&r, from, was, is)
	if len(c.Changes) > changed {
		c.Changed++
	}
}

func (c *comparison) decide(r *routing.Request) (was, is outcome) {
	c.decisions++
	return c.old.decide(r), c.now.decide(r)
}

// add notes a request if it is answered differently.
func (c *comparison) add(r *routing.Request, from string, was, is outcome) {
	if was.equals(is) {
		return
	}
	x := change{Entrypoint: r.Entrypoint.String(), Site: r.Site, Method: r.Method, Host: r.Host, Target: r.Target, Authorization: r.Authorization,
		From: from, Old: was, New: is, site: cmp.Or(was.site, is.site), differences: was.differs(&is)}
	for _, d := range x.differences {
		x.Ways = append(x.Ways, d.field)
	}
	c.Changes = append(c.Changes, x)
}
