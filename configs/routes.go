package configs

import (
	"cmp"
	"slices"
	"strings"
)

// placedRoute is a route with its site.
type placedRoute struct {
	*Route
	site int
	at   spot
	// beginning is what every path begins with that its expression matches.
	beginning string
}

// checkRoutes reports routes that cannot be told apart: two of one name in a
// site, on another site's host, or two that match the same requests at the same
// priority.
func (c *Config) checkRoutes(root, at spot) {
	var routes []placedRoute
	processes, owners := c.synapseProcesses(), c.owners(at)
	if f := c.Fallback; f != nil && f.URL != "" && processes[f.Address()] {
		// Of a host that nobody knows, nothing is closed before its fallback.
		root.key("fallback").fail(quote(f.URL)+" is a process of Synapse, whose closed paths any unknown host would open", "remove it, or name another front door")
	}
	for i, site := range c.Sites {
		site.checkApps(at.index(i), processes)
		names := map[string]Place{}
		for j := range site.Routes {
			route := placedRoute{Route: &site.Routes[j], site: i, at: at.index(i).key("routes").index(j)}
			route.beginning = literalPrefix(route.PathRegexp)
			routes = append(routes, route)
			if first, twice := names[route.Name]; twice && route.Name != "" {
				route.at.key("name").fail(quote(route.Name)+" is already a route at "+first.String(), "give one of them another name")
			} else {
				names[route.Name] = route.at.key("name").place
			}
			c.checkRouteHosts(route, owners)
			c.Sites[i].checkNamesClosed(route)
			route.checkRewriteTarget(processes)
			if slices.Contains(route.Entrypoints, "internal") && len(site.Internal.Addresses) == 0 {
				route.at.key("entrypoints").fail("the site has no internal entrypoint", "write internal: { addresses: [\":8008\"] } in the site, or remove internal here")
			}
		}
	}
	for i, later := range routes {
		earlier := slices.IndexFunc(routes[:i], later.ties)
		if earlier >= 0 {
			later.at.key("name").fail("matches the same requests as "+quote(routes[earlier].Name)+" at "+routes[earlier].at.place.String(),
				"give one of them a higher priority")
		}
	}
}

// checkRouteHosts reports hosts of another site, and paths that some hosts hide
// before any route is tried. A host that nobody has goes to the site whose route names it first.
func (c *Config) checkRouteHosts(route placedRoute, owners map[string]int) {
	for i, host := range route.Hosts {
		owner, owned := owners[host]
		if !owned {
			owner, owners[host] = route.site, route.site
		}
		if other := c.Sites[owner]; owner != route.site {
			route.at.key("hosts").index(i).fail(quote(host)+" belongs to the site "+other.ServerName+" at "+other.Place.String(),
				"write the route there")
		}
		if path := strings.TrimSuffix(route.Path, "/"); c.hides(host) && (path == "/health" || path == "/metrics") {
			route.at.key("path").fail(quote(route.Path)+" is answered with 404 on "+host+", whatever the routes", "choose another path")
		}
	}
}

// checkNamesClosed warns of a route that closes what other servers ask, on the
// site's host alone: the same is answered under the server name, as servers ask
// without delegation or by SRV records, and under federation.host.
func (s *Site) checkNamesClosed(route placedRoute) {
	if route.at.key("hosts").written() || len(route.Allow) == 0 && route.Status < 400 {
		return
	}
	if !slices.Contains(route.Entrypoints, "https") && !slices.Contains(route.Entrypoints, "federation") {
		return // the internal one takes any host
	}
	path := cmp.Or(route.Path, route.PathPrefix, route.beginning)
	if !forServers(path) {
		return
	}
	names := []string{s.Host}
	for _, name := range []string{serverHost(s.ServerName), s.Federation.Host} {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) > 1 {
		route.at.key("name").warn("closes "+path+" on "+s.Host+" alone, and other servers may ask for "+strings.Join(names[1:], " and "),
			"write hosts: ["+strings.Join(names, ", ")+"]")
	}
}

// forServers tells whether a path is one of those that servers ask of each other.
func forServers(path string) bool {
	return under(path, "/_matrix/federation") || under(path, "/_matrix/key") || under(path, "/_matrix/media")
}

// synapseProcesses gives the addresses of all sites' Synapse processes.
func (c *Config) synapseProcesses() map[string]bool {
	processes := map[string]bool{}
	for _, site := range c.Sites {
		for _, upstream := range []*Upstream{site.Synapse.Main, site.Synapse.Federation} {
			if upstream != nil {
				processes[upstream.Address()] = true
			}
		}
		for _, upstreams := range site.Synapse.Workers {
			for _, upstream := range upstreams {
				processes[upstream.Address()] = true
			}
		}
	}
	return processes
}

// checkRewriteTarget reports a route that changes the path of what it sends to
// Synapse. Closed paths are recognised as clients write them, so a prefix that
// comes or goes on the way would open them; and signed requests would no longer
// bear their signature.
func (r placedRoute) checkRewriteTarget(processes map[string]bool) {
	if !r.StripPrefix && r.AddPrefix == "" {
		return
	}
	for i, upstream := range r.Upstreams {
		if upstream.URL != "" && processes[upstream.Address()] {
			r.at.key("upstreams").index(i).fail(quote(upstream.URL)+" is a process of Synapse, which must get paths as they came",
				"remove strip_prefix and add_prefix, or use replace_path")
		}
	}
}

// checkApps reports a process of Synapse behind a path that is stripped, for the
// same reason.
func (s *Site) checkApps(at spot, processes map[string]bool) {
	check := func(upstream *Upstream, at spot) {
		if upstream != nil && upstream.URL != "" && processes[upstream.Address()] {
			at.fail(quote(upstream.URL)+" is a process of Synapse, which needs no path of its own", "name the application's own address")
		}
	}
	if s.Element != nil {
		check(s.Element.Upstream, at.key("element").key("upstream"))
	}
	if s.Ketesa != nil {
		check(s.Ketesa.Upstream, at.key("ketesa").key("upstream"))
	}
	if s.Ntfy != nil {
		check(s.Ntfy.Upstream, at.key("ntfy").key("upstream"))
	}
	if s.ElementCall != nil {
		check(s.ElementCall.JWT, at.key("element_call").key("jwt"))
		check(s.ElementCall.SFU, at.key("element_call").key("sfu"))
	}
}

// ties tells whether nothing but the order in the file would decide between the
// routes.
func (r placedRoute) ties(other placedRoute) bool {
	return r.Priority == other.Priority &&
		r.samePaths(other) &&
		r.shareMethods(other.Route) &&
		r.shareEntrance(other)
}

// shareMethods tells whether both take some method; who takes GET takes HEAD.
func (r *Route) shareMethods(other *Route) bool {
	if len(r.Methods) == 0 || len(other.Methods) == 0 || meet(r.Methods, other.Methods) {
		return true
	}
	readers := []string{"GET", "HEAD"}
	return meet(r.Methods, readers) && meet(other.Methods, readers)
}

// shareEntrance tells whether a request can reach both: over an entrypoint of
// both, for a host of both. An internal entrypoint is one site's and takes any
// host.
func (r placedRoute) shareEntrance(other placedRoute) bool {
	const internal = "internal"
	both := slices.DeleteFunc(slices.Clone(r.Entrypoints), func(word string) bool {
		return !slices.Contains(other.Entrypoints, word)
	})
	if slices.Contains(both, internal) && r.site == other.site {
		return true
	}
	both = slices.DeleteFunc(both, func(word string) bool { return word == internal })
	return len(both) > 0 && meet(r.Hosts, other.Hosts)
}

func meet(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

// samePaths tells whether the two have one shape and one pattern. Of two
// regular expressions it is enough that the beginnings they require do not
// exclude each other: whether they can both match is beyond reading.
func (r placedRoute) samePaths(other placedRoute) bool {
	switch {
	case r.Path != "":
		return r.Path == other.Path
	case r.PathPrefix != "":
		return r.PathPrefix == other.PathPrefix
	case r.PathRegexp != "" && other.PathRegexp != "":
		return strings.HasPrefix(r.beginning, other.beginning) || strings.HasPrefix(other.beginning, r.beginning)
	}
	return false
}
