package configs

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Site is one homeserver and what belongs to it.
type Site struct {
	// ServerName is the part of user ids after the colon, such as
	// "example.com". Required. One with a port needs federation.delegation: none,
	// for other servers then connect to it without a look at .well-known (Matrix
	// v1.16, server-server API, "Resolving server names", step 2).
	ServerName string `yaml:"server_name"`

	// Host is where clients reach Synapse. Optional. Defaults to
	// "matrix.<server_name>", or to the server_name when that is an IP address.
	Host string `yaml:"host"`

	// BaseDomain says whether server_name itself points here.
	BaseDomain BaseDomain `yaml:"base_domain"`

	// Synapse says where the homeserver's processes listen. Required.
	Synapse Synapse `yaml:"synapse"`

	// Internal is a plain HTTP entrypoint for bridges and bots of this site, any
	// Host. Optional. Defaults to off.
	Internal Internal `yaml:"internal"`

	// MAS is Matrix Authentication Service. Optional.
	MAS *MAS `yaml:"mas"`

	// Element is Element Web. Optional.
	Element *WebApp `yaml:"element"`

	// Ketesa is the administration page. Optional.
	Ketesa *Ketesa `yaml:"ketesa"`

	// AdminAPI opens or closes /_synapse/admin and MAS's admin API.
	AdminAPI AdminAPI `yaml:"admin_api"`

	// Federation says with whom and through which name.
	Federation Federation `yaml:"federation"`

	// ElementCall is MatrixRTC: LiveKit and its token service. Optional.
	ElementCall *ElementCall `yaml:"element_call"`

	// Ntfy is the push server. Optional.
	Ntfy *WebApp `yaml:"ntfy"`

	// Bridges maps a name to a bridge's provisioning API, published under
	// /bridges/NAME. Optional.
	Bridges map[string]Upstream `yaml:"bridges"`

	// WellKnown is merged over the generated documents and wins.
	WellKnown WellKnownDocuments `yaml:"well_known"`

	// Routes are the operator's own, tried before the built-in ones.
	Routes []Route `yaml:"routes"`

	Place Place `yaml:"-"`
}

// BaseDomain says what happens on server_name itself besides well-known.
type BaseDomain struct {
	// Serve is true when the DNS of server_name points here. Optional. Defaults
	// to false.
	Serve bool `yaml:"serve"`
	// Redirect is where everything else goes, such as
	// "https://www.example.com/". Optional.
	Redirect string `yaml:"redirect"`
	// Upstream answers everything else. Optional.
	Upstream *Upstream `yaml:"upstream"`

	Place Place `yaml:"-"`
}

// Internal is a plain HTTP entrypoint for a site's bridges and bots.
type Internal struct {
	// Addresses to listen on, such as ":8008" or "fd:NAME". Optional. Empty means off.
	Addresses []Address `yaml:"addresses"`
	// AdminAPI opens /_synapse/admin there. Optional. Defaults to false.
	AdminAPI bool `yaml:"admin_api"`

	Place Place `yaml:"-"`
}

// MAS is Matrix Authentication Service.
type MAS struct {
	// Host of its own, such as "auth.example.com". Optional. Defaults to the
	// site's host, under Path.
	Host string `yaml:"host"`
	// Path under which it lives; it is passed on, not stripped. Optional.
	// Defaults to "/" with a host of its own, else "/auth".
	Path string `yaml:"path"`
	// Upstream is its web listener, such as
	// "http://matrix-authentication-service:8080". Required.
	Upstream *Upstream `yaml:"upstream"`
	// Migrating leaves login with Synapse while accounts are moved. Optional.
	Migrating bool `yaml:"migrating"`

	Place Place `yaml:"-"`
}

// WebApp is a web application with a host of its own or under a path, which is
// stripped.
type WebApp struct {
	// Host; Element defaults to "element.<server_name>", or to the site's host
	// when Path is given; ntfy to "ntfy.<server_name>".
	Host string `yaml:"host"`
	// Path under which it is published. Optional. Defaults to "/".
	Path string `yaml:"path"`
	// Upstream answers. Required.
	Upstream *Upstream `yaml:"upstream"`

	Place Place `yaml:"-"`
}

// Ketesa is the administration page for Synapse and MAS.
type Ketesa struct {
	// Host; defaults to the site's host.
	Host string `yaml:"host"`
	// Path under which it is published; it is stripped. Optional. Defaults to
	// "/synapse-admin".
	Path string `yaml:"path"`
	// Upstream answers. Required.
	Upstream *Upstream `yaml:"upstream"`
	// Public opens the page to everybody instead of Admins. Optional.
	Public bool `yaml:"public"`

	Place Place `yaml:"-"`
}

// AdminAPI is the gate before /_synapse/admin and MAS's admin API.
type AdminAPI struct {
	// Public opens it to everybody instead of Admins. Optional. Defaults to
	// false.
	Public bool `yaml:"public"`

	Place Place `yaml:"-"`
}

// ElementCall is MatrixRTC: LiveKit and its token service.
type ElementCall struct {
	// JWT is lk-jwt-service, published under JWTPath. Required.
	JWT *Upstream `yaml:"jwt"`
	// SFU is LiveKit's signalling port, published under SFUPath. Required.
	SFU *Upstream `yaml:"sfu"`
	// JWTPath is stripped. Optional. Defaults to "/livekit-jwt-service".
	JWTPath string `yaml:"jwt_path"`
	// SFUPath is stripped. Optional. Defaults to "/livekit-server".
	SFUPath string `yaml:"sfu_path"`

	Place Place `yaml:"-"`
}

// Site gives the site of that server name, whatever its case; nil when there is
// none.
func (c *Config) Site(serverName string) *Site {
	for _, site := range c.Sites {
		if site != nil && strings.EqualFold(site.ServerName, serverName) {
			return site
		}
	}
	return nil
}

// hasPort tells whether the server name ends with a port. Other servers then
// connect to it directly, without a look at .well-known (Matrix v1.16,
// server-server API, "Resolving server names", step 2).
func (s *Site) hasPort() bool {
	_, _, found := splitPort(s.ServerName)
	return found
}

func (s *Site) check(at spot) {
	s.checkNames(at)
	s.BaseDomain.check(at.key("base_domain"), serverHost(s.ServerName))
	if at.key("synapse").written() {
		s.Synapse.check(at.key("synapse"))
	} else {
		at.key("synapse").fail("is required", `write { main: "http://matrix-synapse:8008" }`)
	}
	checkAddresses(at.key("internal").key("addresses"), s.Internal.Addresses)
	s.checkComponents(at)
	s.Federation.check(at.key("federation"))
	s.checkOpenID(at)
	s.checkBridges(at.key("bridges"))
	s.WellKnown.check(at.key("well_known"))
	for i := range s.Routes {
		s.Routes[i].check(at.key("routes").index(i))
	}
}

func (s *Site) checkNames(at spot) {
	at.require("server_name")
	name := at.key("server_name")
	name.valid(s.ServerName, serverNameMistake)
	if s.hasPort() && s.Federation.Delegation != "none" {
		name.fail("has a port: other servers connect to "+s.ServerName+" itself and never read its .well-known",
			"write federation: { delegation: none }, or a name without port")
	}
	if s.Federation.Delegation == "srv" && isIP(s.ServerName) {
		at.key("federation").key("delegation").fail(s.ServerName+" is an address, for which nobody looks for SRV records", "write none")
	}
	at.key("host").valid(s.Host, hostMistake)
}

func (s *Site) checkComponents(at spot) {
	if s.MAS != nil {
		checkPublished(at.key("mas"), s.MAS.Host, s.MAS.Path, s.MAS.Upstream)
	}
	if s.Element != nil {
		checkPublished(at.key("element"), s.Element.Host, s.Element.Path, s.Element.Upstream)
	}
	if s.Ketesa != nil {
		checkPublished(at.key("ketesa"), s.Ketesa.Host, s.Ketesa.Path, s.Ketesa.Upstream)
	}
	if s.Ntfy != nil {
		checkPublished(at.key("ntfy"), s.Ntfy.Host, s.Ntfy.Path, s.Ntfy.Upstream)
	}
	if s.ElementCall != nil {
		s.ElementCall.check(at.key("element_call"))
	}
}

// checkPublished checks what stands under a host and a path.
func checkPublished(at spot, host, path string, upstream *Upstream) {
	at.key("host").valid(host, hostMistake)
	at.key("path").valid(path, prefixMistake)
	if !at.require("upstream") && upstream != nil {
		upstream.check(at.key("upstream"))
	}
}

func (e *ElementCall) check(at spot) {
	if !at.require("jwt") && e.JWT != nil {
		e.JWT.check(at.key("jwt"))
	}
	if !at.require("sfu") && e.SFU != nil {
		e.SFU.check(at.key("sfu"))
	}
	at.key("jwt_path").valid(e.JWTPath, prefixMistake)
	at.key("sfu_path").valid(e.SFUPath, prefixMistake)
}

var namePattern = regexp.MustCompile(`^[a-z0-9_-]+$`)

func (s *Site) checkBridges(at spot) {
	for _, name := range slices.Sorted(maps.Keys(s.Bridges)) {
		if !namePattern.MatchString(name) {
			at.key(name).fail(quote(name)+" cannot be part of a path", "use the letters a to z, digits, hyphens and underscores")
		}
		upstream := s.Bridges[name]
		upstream.check(at.key(name))
		s.Bridges[name] = upstream
	}
}

func (b *BaseDomain) check(at spot, host string) {
	redirect, upstream := at.key("redirect"), at.key("upstream")
	if redirect.written() && upstream.written() {
		upstream.fail("cannot go together with redirect", "keep one of them")
	}
	for _, key := range []spot{redirect, upstream} {
		if key.written() && !b.Serve {
			key.fail("has no effect without serve: true", "write serve: true when the DNS of the base domain points here")
		}
	}
	redirect.valid(b.Redirect, func(target string) (string, string) { return redirectMistake(target, host) })
	if b.Upstream != nil {
		b.Upstream.check(upstream)
	}
}

// redirectMistake says what is wrong with where the base domain redirects to.
func redirectMistake(target, from string) (message, hint string) {
	if message, hint = urlMistake(target); message != "" {
		return message, hint
	}
	if parsed, err := url.Parse(target); err == nil && from != "" && strings.EqualFold(parsed.Hostname(), from) {
		return quote(target) + " leads back to " + from, "redirect to another host"
	}
	return "", ""
}

// urlMistake says what is wrong with a URL that a browser or a client is given.
func urlMistake(text string) (message, hint string) {
	parsed, err := url.Parse(text)
	switch {
	case !strings.Contains(text, "://"):
		return quote(text) + " has no scheme", "write " + quote("https://"+strings.TrimLeft(text, "/"))
	case err != nil:
		return quote(text) + " is not a URL", ""
	case parsed.Scheme != "https" && parsed.Scheme != "http":
		return "the scheme " + quote(parsed.Scheme) + " is not one of https, http", ""
	case parsed.User != nil:
		return "the URL holds a user name or a password", "remove it: everybody can read this URL"
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		return quote(text) + " holds a character that must be percent-encoded", ""
	}
	if _, err := url.Parse("//" + parsed.Host); err != nil || parsed.Hostname() == "" {
		return quote(text) + " has no host", ""
	}
	return authorityMistake(parsed.Host)
}
