package configs

import (
	"slices"
	"strings"
)

// placedRoute is a route with its site.
type placedRoute struct {
	*Route
	site int
	at   spot
}

// checkRoutes reports routes that cannot be told apart: two of one name in a
// site, on another site's host, or two that match the same requests at the same
// priority.
func (c *Config) checkRoutes(at spot) {
	var routes []placedRoute
	for i, site := range c.Sites {
		names := map[string]Place{}
		for j := range site.Routes {
			route := placedRoute{&site.Routes[j], i, at.index(i).key("routes").index(j)}
			routes = append(routes, route)
			if first, twice := names[route.Name]; twice && route.Name != "" {
				route.at.key("name").fail(quote(route.Name)+" is already a route at "+first.String(), "give one of them another name")
			} else {
				names[route.Name] = route.at.key("name").place
			}
			c.checkRouteHosts(route)
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

func (c *Config) checkRouteHosts(route placedRoute) {
	for i, host := range route.Hosts {
		if owner := c.owner(host); owner >= 0 && owner != route.site {
			other := c.Sites[owner]
			route.at.key("hosts").index(i).fail(quote(host)+" belongs to the site "+other.ServerName+" at "+other.Place.String(),
				"write the route there")
		}
	}
}

// ties tells whether nothing but the order in the file would decide between the
// routes.
func (r placedRoute) ties(other placedRoute) bool {
	return r.Priority == other.Priority &&
		r.samePaths(other.Route) &&
		(len(r.Methods) == 0 || len(other.Methods) == 0 || meet(r.Methods, other.Methods)) &&
		r.shareEntrance(other)
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
func (r *Route) samePaths(other *Route) bool {
	switch {
	case r.Path != "":
		return r.Path == other.Path
	case r.PathPrefix != "":
		return r.PathPrefix == other.PathPrefix
	case r.PathRegexp != "" && other.PathRegexp != "":
		a, b := literalPrefix(r.PathRegexp), literalPrefix(other.PathRegexp)
		return strings.HasPrefix(a, b) || strings.HasPrefix(b, a)
	}
	return false
}
