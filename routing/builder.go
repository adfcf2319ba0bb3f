package routing

import (
	"fmt"
	"maps"
	"slices"

	"vestibule/configs"
)

// builder turns a configuration into a Table.
type builder struct {
	cfg     *configs.Config
	running map[string]Release // of Synapse, by server_name
	synapse *catalogue
	table   *Table
	drafts  [2]map[string]*draft // by host, for HTTPS and Federation
	err     error                // the first
}

// draft is a host on its way to becoming a vhost.
type draft struct {
	vhost
	host       string
	guards     []claim
	routes     []*operatorRoute
	components []claim
}

// claim is a component's route and the pattern it takes.
type claim struct {
	pattern pattern
	route   *route
}

// public are the entrypoints whose requests are told apart by host.
var public = []Entrypoint{HTTPS, Federation}

func (b *builder) build() (*Table, error) {
	for _, e := range public {
		b.drafts[e] = make(map[string]*draft)
	}
	if b.cfg.Fallback != nil {
		b.table.fallback = b.pool("", configs.ClassFallback, "fallback", []configs.Upstream{*b.cfg.Fallback})
	}
	for _, config := range b.cfg.Sites {
		b.site(config)
	}
	for _, e := range public {
		b.table.hosts[e] = make(map[string]*vhost)
		for _, host := range slices.Sorted(maps.Keys(b.drafts[e])) {
			b.table.hosts[e][host] = b.finish(b.drafts[e][host])
		}
	}
	if b.err != nil {
		return nil, b.err
	}
	return b.table, nil
}

// fail keeps the first error.
func (b *builder) fail(format string, args ...any) {
	if b.err == nil {
		b.err = fmt.Errorf(format, args...)
	}
}

// site adds the hosts of a homeserver.
func (b *builder) site(config *configs.Site) {
	s := b.newSite(config)
	internal := &draft{host: "internal"}
	b.own(internal, s)
	b.addSynapse(s)
	b.addComponents(s)
	b.addInternal(internal)
	for i := range config.Routes {
		b.addRoute(s, &config.Routes[i], i, internal)
	}
	b.table.internal[s.name] = b.finish(internal)
}

func (b *builder) newSite(config *configs.Site) *site {
	s := &site{
		config: config, name: config.ServerName, running: b.running[config.ServerName],
		pools: make(map[configs.Class]*Pool), policy: newPolicy(config),
	}
	s.admins = &gate{allowed: b.cfg.Admins, list: "admins"}
	if !config.AdminAPI.Public {
		s.adminAPI = s.admins
	}
	s.main = b.upstreamPool(s, configs.ClassMain, config.Synapse.Main, "synapse.main")
	s.federation = s.main
	if f := config.Synapse.Federation; f != nil && *f != *config.Synapse.Main {
		s.federation = b.upstreamPool(s, configs.ClassMain, f, "synapse.federation")
	}
	for _, class := range configs.WorkerClasses {
		if upstreams := config.Synapse.Workers[class]; len(upstreams) > 0 {
			s.pools[class] = b.classPool(s, class, upstreams)
		}
	}
	for _, r := range b.synapse.rows {
		s.answers = append(s.answers, s.answer(r))
	}
	return s
}

// pool adds a pool to the table.
func (b *builder) pool(site string, class configs.Class, name string, upstreams []configs.Upstream) *Pool {
	p := &Pool{Index: len(b.table.Pools), Name: name, Site: site, Class: class, Upstreams: upstreams}
	b.table.Pools = append(b.table.Pools, p)
	return p
}

func (b *builder) classPool(s *site, class configs.Class, upstreams []configs.Upstream) *Pool {
	return b.pool(s.name, class, s.name+"/"+string(class), upstreams)
}

// upstreamPool makes a pool of one; key names the upstream in an error.
func (b *builder) upstreamPool(s *site, class configs.Class, upstream *configs.Upstream, key string) *Pool {
	if upstream == nil {
		b.fail("routing %s: %s has no upstream", s.name, key)
		upstream = &configs.Upstream{}
	}
	return b.classPool(s, class, []configs.Upstream{*upstream})
}

// draft returns the host of a site on an entrypoint, made on first use. Two
// sites cannot share one.
func (b *builder) draft(s *site, e Entrypoint, host string) *draft {
	host = Host(host)
	d := b.drafts[e][host]
	if d == nil {
		d = &draft{host: host}
		b.own(d, s)
		b.drafts[e][host] = d
	}
	if d.vhost.site != s {
		b.fail("routing %s: the host %s belongs to the site %s", s.name, host, d.vhost.site.name)
	}
	return d
}

func (b *builder) own(d *draft, s *site) {
	d.vhost.site, d.vhost.synapse, d.vhost.admin = s, b.synapse, s.adminAPI
}

// addRoute adds an operator's route to its hosts.
func (b *builder) addRoute(s *site, config *configs.Route, order int, internal *draft) {
	rt, err := newOperatorRoute(config, func(class configs.Class, upstreams []configs.Upstream) *Pool {
		return b.classPool(s, class, upstreams)
	})
	if err != nil {
		b.fail("%w", err)
		return
	}
	rt.order = order
	for _, d := range b.entrances(s, config, internal) {
		d.routes = append(d.routes, rt)
	}
}

// entrances are the hosts a route applies to. The internal entrypoint takes any
// host, so there it is one.
func (b *builder) entrances(s *site, config *configs.Route, internal *draft) []*draft {
	words, hosts := config.Entrypoints, config.Hosts
	if len(words) == 0 {
		words = []string{HTTPS.String(), Federation.String()}
	}
	if len(hosts) == 0 {
		hosts = []string{s.config.Host}
	}
	var drafts []*draft
	if slices.Contains(words, Internal.String()) {
		drafts = append(drafts, internal)
	}
	for _, e := range public {
		if !slices.Contains(words, e.String()) {
			continue
		}
		for _, host := range hosts {
			if d := b.draft(s, e, host); !slices.Contains(drafts, d) {
				drafts = append(drafts, d)
			}
		}
	}
	return drafts
}

// finish compiles a draft.
func (b *builder) finish(d *draft) *vhost {
	v := &d.vhost
	slices.SortStableFunc(d.routes, (*operatorRoute).precedes)
	b.checkTies(d)
	v.paths = d.compileRoutes(func(p pattern) []pattern { return []pattern{p} })
	escapes := false
	for _, c := range slices.Concat(d.guards, d.operator(), d.components) {
		spellings := c.pattern.spellings()
		escapes = escapes || len(spellings) > 1
		v.noteGates(spellings, c.route)
	}
	for _, rt := range v.regexps {
		v.gatedAnywhere = v.gatedAnywhere || rt.restricted()
	}
	if escapes {
		spelt := d.compileRoutes(pattern.spellings)
		v.spelt = &spelt
	}
	return v
}

// operator are the operator's routes that have a pattern.
func (d *draft) operator() []claim {
	var claims []claim
	for _, rt := range d.routes {
		if rt.regexp == nil {
			claims = append(claims, claim{rt.pattern(), &rt.route})
		}
	}
	return claims
}

// compileRoutes compiles the routes by the readings of their patterns.
func (d *draft) compileRoutes(readings func(pattern) []pattern) paths {
	p := paths{
		guard:    compileClaims(d.guards, readings),
		operator: compileClaims(d.operator(), readings),
		builtin:  compileClaims(d.components, readings),
	}
	for _, rt := range d.routes {
		if rt.regexp != nil {
			p.regexps = append(p.regexps, &rt.route)
		}
	}
	return p
}

func compileClaims(claims []claim, readings func(pattern) []pattern) layer {
	var l layer
	var patterns []pattern
	for _, c := range claims {
		for _, p := range readings(c.pattern) {
			patterns, l.routes = append(patterns, p), append(l.routes, c.route)
		}
	}
	if len(patterns) > 0 {
		l.machine = compile(patterns)
	}
	return l
}

// noteGates remembers how the paths begin that are not for everybody.
func (v *vhost) noteGates(spellings []pattern, rt *route) {
	if !rt.restricted() {
		return
	}
	for _, p := range spellings {
		switch {
		case len(p.segments) == 0 || p.segments[0].any:
			v.gatedAnywhere = true
		case !slices.Contains(v.gated, p.segments[0].text):
			v.gated = append(v.gated, p.segments[0].text)
		}
	}
}

// checkTies refuses routes of one host that only their order would tell apart.
func (b *builder) checkTies(d *draft) {
	byShape := make(map[string][]*operatorRoute)
	for _, rt := range d.routes {
		if rt.regexp != nil {
			continue
		}
		shape := shapeOf(rt.pattern())
		for _, other := range byShape[shape] {
			if rt.ties(other) {
				b.fail("routing %s: %s: route %s takes the same requests as %s at %s; give one of them a higher priority",
					d.host, rt.config.Place, rt.config.Name, other.config.Name, other.config.Place)
			}
		}
		byShape[shape] = append(byShape[shape], rt)
	}
	for i, c := range d.components {
		for _, other := range d.components[:i] {
			if shapeOf(c.pattern) == shapeOf(other.pattern) && c.route.rule.Name != other.route.rule.Name {
				b.fail("routing %s: %s takes the same requests as %s: %s", d.host, c.route.rule.Name, other.route.rule.Name, c.route.rule.Pattern)
			}
		}
	}
}
