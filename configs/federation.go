package configs

import "strings"

// Federation says with whom a site talks and how it is found.
type Federation struct {
	// With says which servers are answered: "all" (default); "none", so that
	// /_matrix/federation and /_matrix/key are closed on every host and
	// entrypoint of the site; or a list such as ["partner.example",
	// "*.friends.example"], which refuses requests that other servers sign. A
	// name is compared whole, port included, in any case; "*" stands for any
	// characters, "?" for one. What Synapse itself sends is Synapse's to decide
	// (federation_domain_whitelist).
	With FederationPolicy `yaml:"with"`
	// Host is the name other homeservers are sent to. Optional. Defaults to the
	// site's host.
	Host string `yaml:"host"`
	// Port is what well-known advertises. Optional. Defaults to 8448, or to 443
	// when the federation entrypoint is off.
	Port int `yaml:"port"`
	// Delegation says how other servers learn of Host and Port: by "well_known"
	// (default); by "srv", records in the zone of server_name, whose own
	// certificate they then want to see; or "none": they do not.
	Delegation string `yaml:"delegation"`
	// OpenID is about /_matrix/federation/v1/openid/userinfo, by which services
	// such as LiveKit's tell who a user is: "open"; "closed"; or "auto"
	// (default), which closes it where With is none and there is no
	// element_call.
	OpenID string `yaml:"openid"`
	// StrictPorts serves the client API only on https and the federation API
	// only on federation, as MDAD's listeners do. Optional. Defaults to false.
	StrictPorts bool `yaml:"strict_ports"`

	Place Place `yaml:"-"`
}

// FederationPolicy is "all", "none" or a list of server names with wildcards.
type FederationPolicy struct {
	All     bool
	Servers []string
}

// decodeFrom reads "all", "none" or a list of server names.
func (p *FederationPolicy) decodeFrom(at spot) {
	*p = FederationPolicy{}
	if at.node.kind == listNode {
		p.Servers = make([]string, 0, len(at.node.items))
		for i := range at.node.items {
			item := at.index(i)
			name, ok := item.text()
			if !ok {
				item.reject("expected a server name", "")
			}
			p.Servers = append(p.Servers, name)
		}
		return
	}
	switch word, _ := at.text(); word {
	case "all":
		p.All = true
	case "none":
	default:
		at.reject("expected all, none or a list of server names", policyHint(word))
		p.All = true
	}
}

// policyHint helps with a single name without its brackets, and with slips.
func policyHint(word string) string {
	if strings.ContainsAny(word, ".:*") {
		return "write [" + quote(word) + "]"
	}
	if meant := nearest(word, []string{"all", "none"}); meant != "" {
		return "did you mean " + quote(meant) + "?"
	}
	return ""
}

// Nobody tells whether the policy lets no server in.
func (p FederationPolicy) Nobody() bool { return !p.All && len(p.Servers) == 0 }

// OpenIDIsOpen tells whether /_matrix/federation/v1/openid/userinfo is answered.
// Services beside other homeservers and our own ask it who a user is, without a
// signature; LiveKit's token service is one of them.
func (s *Site) OpenIDIsOpen() bool {
	switch s.Federation.OpenID {
	case "open":
		return true
	case "closed":
		return false
	}
	return !s.Federation.With.Nobody() || s.ElementCall != nil
}

func (f *Federation) normalise() {
	lower(&f.Host)
	for i := range f.With.Servers {
		lower(&f.With.Servers[i])
	}
}

func (f *Federation) check(at spot) {
	at.key("host").valid(f.Host, hostMistake)
	at.key("port").inRange(f.Port, 1, 65535)
	at.key("delegation").oneOf(f.Delegation, "well_known", "srv", "none")
	at.key("openid").oneOf(f.OpenID, "auto", "open", "closed")
	f.With.check(at.key("with"))
}

// check looks at a list of servers.
func (p *FederationPolicy) check(at spot) {
	if !at.written() || at.node.kind != listNode {
		return
	}
	if len(p.Servers) == 0 {
		at.fail("the list is empty", "write none to federate with nobody")
	}
	first := map[string]Place{}
	for i, name := range p.Servers {
		item := at.index(i)
		item.valid(name, serverPatternMistake)
		if place, twice := first[name]; twice {
			item.fail(quote(name)+" is already in the list at "+place.String(), "keep one of them")
			continue
		}
		first[name] = item.place
	}
}

// checkOpenID warns of calls that cannot work.
func (s *Site) checkOpenID(at spot) {
	if s.ElementCall != nil && s.Federation.OpenID == "closed" {
		at.key("federation").key("openid").warn("element_call's token service cannot ask who a caller is", "write auto")
	}
}

// serverPatternMistake says what is wrong with a server name in which "*" stands
// for any run of characters and "?" for one.
func serverPatternMistake(pattern string) (message, hint string) {
	if name, server, found := strings.Cut(pattern, ":"); found && strings.IndexAny(name, "@!#") == 0 {
		return quote(pattern) + " is a user, a room or an alias", "write its server: " + quote(server)
	}
	switch {
	case pattern == "all" || pattern == "none":
		return quote(pattern) + " is not a server name", "write with: " + pattern + ", without a list"
	case !strings.ContainsAny(pattern, "*?"):
		return serverNameMistake(pattern)
	case strings.Trim(pattern, "*") == "":
		return quote(pattern) + " stands for every server", "write all instead of the list"
	}
	if _, rest, found := strings.Cut(pattern, "://"); found {
		name, _, _ := strings.Cut(rest, "/")
		return quote(pattern) + " is a URL", "write the name alone: " + quote(name)
	}
	if name, _, found := strings.Cut(pattern, "/"); found {
		return quote(pattern) + " has a path", "write the name alone: " + quote(name)
	}
	if strings.ContainsFunc(pattern, notInPattern) {
		return quote(pattern) + " stands for no server name", "a server name holds letters, digits, hyphens, dots and perhaps a port"
	}
	return "", ""
}

func notInPattern(r rune) bool { return notInName(r) && !strings.ContainsRune("*?:[]", r) }
