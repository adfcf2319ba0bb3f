package routing

import (
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"vestibule/configs"
)

// addSynapse adds the hosts under which a homeserver itself is known.
func (b *builder) addSynapse(s *site) {
	config := s.config
	for _, e := range public {
		areas, alone := areaAll, false
		if config.Federation.StrictPorts {
			// MDAD's listeners: the one for federation carries nothing else.
			areas, alone = areaClient|areaMedia, e == Federation
			if e == Federation {
				areas = areaFederation | areaMedia
			}
		}
		b.addHost(s, e, config.Host, areas, alone).hidden = true
		if federation := config.Federation.Host; federation != "" && Host(federation) != Host(config.Host) {
			b.addHost(s, e, federation, areas&(areaFederation|areaMedia), alone).hidden = true
		}
		base := b.addHost(s, e, config.ServerName, forServers(areas), alone)
		if !alone {
			b.addBaseDomain(s, base)
			b.addRoot(s, e)
		}
	}
}

// forServers are the areas that other servers ask under the server name, as they
// do without delegation or by SRV records: where that is federation, older ones
// fetch media as well.
func forServers(areas area) area {
	if areas&areaFederation == 0 {
		return 0
	}
	return areas & (areaFederation | areaMedia)
}

// addHost adds a host that serves some areas of Synapse's API and, unless these
// stand alone, the documents of delegation. A host may be added twice.
func (b *builder) addHost(s *site, e Entrypoint, host string, areas area, alone bool) *draft {
	d := b.draft(s, e, host)
	d.areas |= areas
	if !alone {
		d.addWellKnown()
	}
	return d
}

// wellKnownDocuments are published under /.well-known/matrix.
var wellKnownDocuments = []string{"client", "server", "support"}

// addWellKnown adds the documents for every method: what answers them also says
// which methods it wants.
func (d *draft) addWellKnown() {
	if d.claims("wellknown") {
		return
	}
	for _, document := range wellKnownDocuments {
		path := "/.well-known/matrix/" + document
		rt := &route{class: configs.ClassWellKnown, action: Local}
		rt.rule = Rule{Name: "wellknown", Pattern: path, Document: document}
		d.add(exactly(path), rt)
		d.add(exactly(path+"/"), rt)
	}
}

func (d *draft) add(p pattern, rt *route) { d.components = append(d.components, claim{p, rt}) }

// claims reports whether the draft has a rule of that name.
func (d *draft) claims(name string) bool {
	return slices.ContainsFunc(d.components, func(c claim) bool { return c.route.rule.Name == name })
}

// addBaseDomain adds what the server name answers besides delegation and
// federation, if it points here.
func (b *builder) addBaseDomain(s *site, d *draft) {
	base := &s.config.BaseDomain
	if !base.Serve || d.areas&areaClient != 0 {
		return
	}
	rt := &route{class: configs.ClassLocal, action: Local}
	rt.rule = Rule{Name: "base_domain", Place: base.Place, Pattern: "/**"}
	switch {
	case base.Redirect != "":
		rt.action, rt.location = Redirect, base.Redirect
		b.setRest(d, rt)
	case base.Upstream != nil:
		rt.action = Proxy
		rt.pool = b.pool(s.name, configs.ClassLocal, s.name+"/base_domain", []configs.Upstream{*base.Upstream})
		b.setRest(d, rt)
	default:
		rt.rule.Pattern, rt.rule.Document = "/", "base"
		d.add(exactly("/"), rt)
	}
}

// setRest gives a host what answers everything nobody else claims.
func (b *builder) setRest(d *draft, rt *route) {
	if d.rest != nil {
		b.fail("routing %s: %s and %s both take the whole host", d.host, d.rest.rule.Name, rt.rule.Name)
	}
	d.rest = rt
}

// addRoot leads a visitor of the site's host to Element Web, else to the page
// with which Synapse says that it runs.
func (b *builder) addRoot(s *site, e Entrypoint) {
	rt := &route{class: configs.ClassLocal, action: Redirect, location: "/_matrix/static/"}
	rt.rule = Rule{Name: "root", Place: s.config.Place, Pattern: "/"}
	if element := s.config.Element; element != nil {
		if Host(element.Host) == Host(s.config.Host) && isRoot(element.Path) {
			return
		}
		rt.location = b.publicURL(element.Host, element.Path)
	}
	b.draft(s, e, s.config.Host).add(exactly("/"), rt)
}

// publicURL is the address of a path as clients see it, with a slash at the end.
func (b *builder) publicURL(host, path string) string {
	if port := b.cfg.Entrypoints.HTTPS.PublicPort; port != 0 && port != 443 {
		host = net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(port))
	}
	return "https://" + host + strings.TrimRight(path, "/") + "/"
}

func isRoot(path string) bool { return strings.Trim(path, "/") == "" }

// app is a web application under a host and a path.
type app struct {
	name     string
	class    configs.Class
	host     string
	path     string
	pool     *Pool
	place    configs.Place
	gate     *gate
	keepPath bool   // the application knows its path, so it is not stripped
	only     string // what is published below the path; "" for everything
}

// addComponents adds what stands beside Synapse.
func (b *builder) addComponents(s *site) {
	config := s.config
	if mas := config.MAS; mas != nil {
		b.addMAS(s, mas)
	}
	if e := config.Element; e != nil {
		b.addApp(s, app{
			name: "element", class: configs.ClassElement, host: e.Host, path: e.Path, place: e.Place,
			pool: b.upstreamPool(s, configs.ClassElement, e.Upstream, "element"),
		})
	}
	if k := config.Ketesa; k != nil {
		a := app{
			name: "ketesa", class: configs.ClassKetesa, host: k.Host, path: k.Path, place: k.Place,
			pool: b.upstreamPool(s, configs.ClassKetesa, k.Upstream, "ketesa"),
		}
		if !k.Public {
			a.gate = s.admins
		}
		b.addApp(s, a)
	}
	if n := config.Ntfy; n != nil {
		b.addApp(s, app{
			name: "ntfy", class: configs.ClassNtfy, host: n.Host, path: n.Path, place: n.Place,
			pool: b.upstreamPool(s, configs.ClassNtfy, n.Upstream, "ntfy"),
		})
	}
	b.addElementCall(s)
	b.addBridges(s)
}

func (b *builder) addElementCall(s *site) {
	call := s.config.ElementCall
	if call == nil {
		return
	}
	for _, part := range []struct {
		name, path string
		upstream   *configs.Upstream
	}{
		{"element_call/jwt", call.JWTPath, call.JWT},
		{"element_call/sfu", call.SFUPath, call.SFU},
	} {
		b.addApp(s, app{
			name: part.name, class: configs.ClassElementCall, host: s.config.Host, path: part.path, place: call.Place,
			pool: b.upstreamPool(s, configs.ClassElementCall, part.upstream, part.name),
		})
	}
}

// addBridges publishes of each bridge the provisioning API alone: the same
// listener takes Synapse's transactions.
func (b *builder) addBridges(s *site) {
	for _, name := range slices.Sorted(maps.Keys(s.config.Bridges)) {
		upstream := s.config.Bridges[name]
		b.addApp(s, app{
			name: "bridge/" + name, class: configs.ClassBridge, host: s.config.Host,
			path: "/bridges/" + name, only: "/_matrix/provision", place: upstream.Place,
			pool: b.upstreamPool(s, configs.ClassBridge, &upstream, "bridges."+name),
		})
	}
}

// addApp adds an application on all entrypoints that serve its host. Its bare
// path leads to the one with a slash, from which a page's relative links work.
func (b *builder) addApp(s *site, a app) {
	path := strings.TrimRight(a.path, "/")
	rt := &route{class: a.class, action: Proxy, pool: a.pool, gate: a.gate}
	rt.rule = Rule{Name: a.name, Place: a.place, Pattern: path + a.only + "/**"}
	if !a.keepPath {
		rt.rule.Rewrite.Strip = path
	}
	if a.only != "" {
		rt.within = path + a.only
	}
	slash := &route{class: a.class, action: Redirect, addSlash: true, gate: a.gate}
	slash.rule = Rule{Name: a.name, Place: a.place, Pattern: path}
	for _, e := range public {
		if e == Federation && s.config.Federation.StrictPorts {
			continue
		}
		d := b.draft(s, e, a.host)
		if path == "" {
			b.setRest(d, rt)
			d.gatedAnywhere = d.gatedAnywhere || rt.restricted()
			continue
		}
		d.add(under(path+a.only), rt)
		if a.only == "" {
			d.add(exactly(path), slash)
		}
	}
}

// addMAS adds Matrix Authentication Service: its own host or path, its admin API
// behind the gate, and on Synapse's host the endpoints of Synapse it stands in
// for.
func (b *builder) addMAS(s *site, mas *configs.MAS) {
	pool := b.upstreamPool(s, configs.ClassMAS, mas.Upstream, "mas")
	b.addApp(s, app{
		name: "mas", class: configs.ClassMAS, host: mas.Host, path: mas.Path, place: mas.Place, pool: pool, keepPath: true,
	})
	path := strings.TrimRight(mas.Path, "/")
	admin := &route{class: configs.ClassMAS, action: Proxy, pool: pool, gate: s.adminAPI}
	admin.rule = Rule{Name: "mas/admin_api", Place: mas.Place, Pattern: path + "/api/admin/**"}
	if s.hasMAS() {
		s.compat = masCompat(mas, pool)
	}
	for _, e := range public {
		if e == Federation && s.config.Federation.StrictPorts {
			continue
		}
		host := b.draft(s, e, mas.Host)
		host.guards = append(host.guards, claim{under(path + "/api/admin"), admin})
		b.draft(s, e, s.config.Host).addCompat(s.compat)
	}
}

// masCompatPaths are the client endpoints that MAS answers in Synapse's place
// (MAS, docs/setup/reverse-proxy.md; crates/router/src/endpoints.rs). Each tail
// is exact: a pattern open at its end would take "login/get_token" and any room
// state that happens to be called login. Element iOS sends the slash after
// "redirect".
var masCompatPaths = []string{
	"/_matrix/client/(r0|v3|unstable|v1)/(login|logout|refresh|logout/all)",
	"/_matrix/client/(r0|v3|unstable|v1)/login/sso/redirect/?",
	"/_matrix/client/(r0|v3|unstable|v1)/login/sso/redirect/{}",
}

// masCompat are the claims of MAS on Synapse's host.
func masCompat(mas *configs.MAS, pool *Pool) []claim {
	var claims []claim
	for _, text := range masCompatPaths {
		rt := &route{class: configs.ClassMAS, action: Proxy, pool: pool}
		rt.rule = Rule{Name: "mas/compat", Place: mas.Place, Pattern: text}
		rt.rule.Rewrite.Add = strings.TrimRight(mas.Path, "/")
		rt.within = "/_matrix/client" // beside it is MAS's admin API, whose gate stands on its own host
		patterns, err := parsePatterns(text)
		if err != nil {
			panic(err) // the texts are constants
		}
		for _, p := range patterns {
			claims = append(claims, claim{p, rt})
		}
	}
	return claims
}

func (d *draft) addCompat(claims []claim) { d.components = append(d.components, claims...) }

// addInternal fills the entrypoint for a site's bridges and bots: Synapse's
// whole API with the same stand-ins, no web applications.
func (b *builder) addInternal(d *draft) {
	s := d.vhost.site
	d.areas, d.hidden = areaAll, true
	d.admin = nil
	if !s.config.Internal.AdminAPI {
		d.admin = &gate{}
	}
	d.addWellKnown()
	d.addCompat(s.compat)
}
