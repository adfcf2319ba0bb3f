package configs

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// check reports every mistake and fills the defaults that depend on other keys.
// What belongs to one value is checked before they are filled, what two values
// have against each other after.
func (c *Config) check(at spot) {
	c.normalise()
	c.Entrypoints.check(at.key("entrypoints"), c)
	c.Certificates.check(at.key("certificates"))
	c.checkSites(at.key("sites"))
	c.checkRest(at)
	c.fill(at)
	c.checkAddresses(at)
	c.checkClaims(at.key("sites"))
	c.checkMains(at.key("sites"))
	c.checkRoutes(at, at.key("sites"))
	c.checkProofs(at.key("certificates"))
	c.checkExport(at.key("certificates").key("export"))
	c.checkSupported(at)
}

func (c *Config) checkSites(at spot) {
	if len(c.Sites) == 0 {
		at.fail("at least one site is required", "write sites: [{ server_name: example.com, … }]")
	}
	names := map[string]Place{}
	for i, site := range c.Sites {
		if site == nil {
			c.Sites[i] = &Site{} // reported when it was read
			continue
		}
		site.check(at.index(i))
		if first, twice := names[site.ServerName]; twice && site.ServerName != "" {
			at.index(i).key("server_name").fail(quote(site.ServerName)+" is already a site at "+first.String(), "keep one of them")
			continue
		}
		names[site.ServerName] = at.index(i).key("server_name").place
	}
}

// checkMains warns of sites that share a main process, which knows one of their
// names only. Layouts make that easy: they call it the same on every machine.
func (c *Config) checkMains(at spot) {
	first := map[string]*Site{}
	for i, site := range c.Sites {
		main := site.Synapse.Main
		if main == nil || main.URL == "" {
			continue
		}
		if other := first[main.Address()]; other != nil {
			at.index(i).key("synapse").warn(quote(main.URL)+" is already the main process of "+other.ServerName+" at "+other.Synapse.Main.Place.String(),
				"a Synapse has one server_name: write the addresses of each site's own")
			continue
		}
		first[main.Address()] = site
	}
}

func (c *Config) checkRest(at spot) {
	if c.Fallback != nil {
		c.Fallback.check(at.key("fallback"))
	}
	at.key("control").valid(c.Control, socketPathMistake)
	at.key("trusted_proxies").believesAll(c.TrustedProxies)
	c.Timeouts.check(at.key("timeouts"))
	c.Limits.check(at.key("limits"), c.Sites)
	at.key("engine").oneOf(c.Engine, "own", "standard")
	at.key("logging").key("level").oneOf(c.Logging.Level, "debug", "info", "warn", "error")
	at.key("logging").key("addresses").oneOf(c.Logging.Addresses, "full", "masked")
}

func (t *Timeouts) check(at spot) {
	for _, timeout := range []struct {
		key   string
		value Duration
		most  time.Duration
	}{
		{"head", t.Head, 10 * time.Minute},
		{"idle", t.Idle, 24 * time.Hour},
		{"connect", t.Connect, 10 * time.Minute},
		{"stall", t.Stall, time.Hour},
		{"response", t.Response, 24 * time.Hour},
		{"sync_margin", t.SyncMargin, time.Hour},
		{"initial_sync", t.InitialSync, 24 * time.Hour},
		{"federation", t.Federation, 24 * time.Hour},
		{"grace", t.Grace, time.Hour},
	} {
		at.key(timeout.key).atMost(timeout.value, timeout.most)
	}
	for key, value := range map[string]Duration{ // initial_sync is at least that of any other /sync
		"response": t.Response, "sync_margin": t.SyncMargin, "federation": t.Federation,
	} {
		if wait := at.key(key); wait.written() && value == 0 {
			wait.fail("0 leaves no time for any answer", "write how long it may take, such as 60s, or remove it")
		}
	}
	if stall := at.key("stall"); stall.written() && t.Stall.Std() < time.Second {
		stall.fail(t.Stall.String()+" is too short", "write at least 1s; without it, 60s is the bound")
	}
}

// atMost reports a duration that can only be a slip of the keyboard.
func (s spot) atMost(value Duration, most time.Duration) {
	if s.written() && value.Std() > most {
		s.fail(fmt.Sprintf("%s is too long", value), fmt.Sprintf("write at most %s", Duration(most)))
	}
}

// believesAll warns of a list of proxies that holds everybody: any client could
// then claim any address, an administrator's among them.
func (s spot) believesAll(prefixes []netip.Prefix) {
	for i, prefix := range prefixes {
		if prefix.IsValid() && prefix.Bits() == 0 {
			s.index(i).warn(quote(prefix.String())+" believes the X-Forwarded-For of everybody", "name the proxies alone")
		}
	}
}

// normalise writes hosts in lower case (RFC 4343) and paths without a trailing
// slash, so that all that follows compares them as they are.
func (c *Config) normalise() {
	for _, role := range c.Entrypoints.all() {
		lower(&role.entrypoint.DefaultSite)
	}
	for i := range c.Certificates.ExtraNames {
		lower(&c.Certificates.ExtraNames[i])
	}
	if c.Certificates.ACME != nil {
		c.Certificates.ACME.normalise()
	}
	if c.Certificates.Export != nil {
		c.Certificates.Export.normalise()
	}
	for _, site := range c.Sites {
		if site != nil {
			site.normalise()
		}
	}
}

func (s *Site) normalise() {
	lower(&s.ServerName)
	lower(&s.Host)
	s.Federation.normalise()
	if s.MAS != nil {
		lower(&s.MAS.Host)
		trimSlash(&s.MAS.Path)
	}
	for _, app := range []*WebApp{s.Element, s.Ntfy} {
		if app != nil {
			lower(&app.Host)
			trimSlash(&app.Path)
		}
	}
	if s.Ketesa != nil {
		lower(&s.Ketesa.Host)
		trimSlash(&s.Ketesa.Path)
	}
	if s.ElementCall != nil {
		trimSlash(&s.ElementCall.JWTPath)
		trimSlash(&s.ElementCall.SFUPath)
	}
	for i := range s.Routes {
		route := &s.Routes[i]
		trimSlash(&route.PathPrefix)
		trimSlash(&route.AddPrefix)
		for j := range route.Hosts {
			lower(&route.Hosts[j])
		}
	}
}

func lower(text *string) { *text = strings.ToLower(*text) }

// trimSlash drops one slash at the end; "/" alone stays.
func trimSlash(path *string) {
	if len(*path) > 1 {
		*path = strings.TrimSuffix(*path, "/")
	}
}
