package configs

import (
	"maps"
	"slices"
)

// claim is a path on a host that something answers. A (host, path) belongs to
// one of them, else which one answers would depend on the order in a file.
type claim struct {
	host, path string
	at         spot
	site       string
	synapse    bool // one site's Synapse may claim the same several times
}

func (c claim) meets(other claim) bool {
	return c.host == other.host && c.path == other.path && !(c.synapse && other.synapse && c.site == other.site)
}

// foreign tells whether the host is another site's: whose admins may pass its
// gates could not be said of one that two sites share.
func (c claim) foreign(other claim) bool { return c.host == other.host && c.site != other.site }

// checkClaims reports what is claimed twice, naming both places.
func (c *Config) checkClaims(at spot) {
	var claims []claim
	for i, site := range c.Sites {
		claims = append(claims, site.claims(at.index(i))...)
	}
	reported := map[string]bool{} // a claim of several paths is reported once
	for i, later := range claims {
		if later.host == "" || later.path == "" || reported[later.at.path] {
			continue
		}
		what, remedy := later.host+later.path, "give one of them another host or path"
		earlier := slices.IndexFunc(claims[:i], later.meets)
		if earlier < 0 {
			what, remedy = later.host, "give one of them another host"
			earlier = slices.IndexFunc(claims[:i], later.foreign)
		}
		if earlier < 0 {
			continue
		}
		reported[later.at.path] = true
		other := claims[earlier]
		later.at.fail(what+" is already claimed by "+other.at.path+" at "+other.at.place.String(), remedy)
	}
	c.checkReserved(claims)
}

// checkReserved reports a component under a path that belongs to Synapse or to
// the delegation on every host of theirs.
func (c *Config) checkReserved(claims []claim) {
	for _, claim := range claims {
		if claim.synapse {
			continue
		}
		for _, prefix := range []string{"/_matrix", "/_synapse", "/.well-known"} {
			if under(claim.path, prefix) {
				at := claim.at
				if path := at.key("path"); path.written() {
					at = path
				}
				at.fail(quote(claim.path)+" lies under "+prefix+", which is Matrix's own", "choose another path")
			}
		}
	}
}

// claims lists what a site answers besides the operator's routes.
func (s *Site) claims(at spot) []claim {
	var claims []claim
	add := func(at spot, host string, synapse bool, paths ...string) {
		for _, path := range paths {
			claims = append(claims, claim{host: host, path: path, at: at, site: s.ServerName, synapse: synapse})
		}
	}
	add(at.key("host"), s.Host, true, "/", "/_matrix")
	if s.BaseDomain.Serve {
		add(at.key("base_domain"), serverHost(s.ServerName), true, "/", "/_matrix")
	} else {
		add(at.key("server_name"), serverHost(s.ServerName), true, "/_matrix")
	}
	if s.Federation.Host != s.Host {
		add(at.key("federation").key("host"), s.Federation.Host, true, "/_matrix")
	}
	if s.MAS != nil {
		add(at.key("mas"), s.MAS.Host, false, s.MAS.Path)
	}
	if s.Element != nil {
		add(at.key("element"), s.Element.Host, false, s.Element.Path)
	}
	if s.Ketesa != nil {
		add(at.key("ketesa"), s.Ketesa.Host, false, s.Ketesa.Path)
	}
	if s.ElementCall != nil {
		add(at.key("element_call").key("jwt_path"), s.Host, false, s.ElementCall.JWTPath)
		add(at.key("element_call").key("sfu_path"), s.Host, false, s.ElementCall.SFUPath)
	}
	if s.Ntfy != nil {
		add(at.key("ntfy"), s.Ntfy.Host, false, s.Ntfy.Path)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Bridges)) {
		add(at.key("bridges").key(name), s.Host, false, "/bridges/"+name)
	}
	return claims
}

// owners gives the site of each host that something but a route answers on.
func (c *Config) owners(at spot) map[string]int {
	owners := map[string]int{}
	for i, site := range c.Sites {
		for _, claim := range site.claims(at.index(i)) {
			if _, owned := owners[claim.host]; !owned {
				owners[claim.host] = i
			}
		}
	}
	return owners
}

// hides tells whether a host does not show /health and /metrics, which its
// Synapse has for its monitoring.
func (c *Config) hides(host string) bool {
	return slices.ContainsFunc(c.Sites, func(s *Site) bool {
		return host != "" && (s.Host == host || s.Federation.Host == host)
	})
}
