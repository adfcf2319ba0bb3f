package configs

import "slices"

// role is an entrypoint and the key it is written under.
type role struct {
	name       string
	entrypoint *Entrypoint
}

// all gives the entrypoints in the order of the file format.
func (e *Entrypoints) all() []role {
	return []role{{"http", &e.HTTP}, {"https", &e.HTTPS}, {"federation", &e.Federation}, {"admin", &e.Admin}}
}

func (e *Entrypoints) check(at spot, c *Config) {
	for _, role := range e.all() {
		routed := role.name == "https" || role.name == "federation"
		role.entrypoint.check(at.key(role.name), routed, c)
	}
	for i, address := range e.Admin.Addresses {
		if address.public() {
			at.key("admin").key("addresses").index(i).warn(
				quote(string(address))+" may be reached from outside: the admin entrypoint has no password",
				`write "127.0.0.1:9180", or keep the port closed in the firewall`)
		}
	}
}

func (e *Entrypoint) check(at spot, routed bool, c *Config) {
	checkAddresses(at.key("addresses"), e.Addresses)
	at.key("trusted_proxies").believesAll(e.TrustedProxies)
	if !routed {
		for _, name := range []string{"tls", "public_port", "proxy_protocol", "trusted_proxies", "default_site"} {
			if key := at.key(name); key.written() {
				key.fail("is only for https and federation", "remove it")
			}
		}
		return
	}
	at.key("public_port").inRange(e.PublicPort, 1, 65535)
	if e.DefaultSite != "" && c.Site(e.DefaultSite) == nil {
		at.key("default_site").fail(quote(e.DefaultSite)+" is not a site", "write the server_name of one of the sites")
	}
}

func checkAddresses(at spot, addresses []Address) {
	for i, address := range addresses {
		at.index(i).failIf(address.mistake())
	}
}

func (e *Entrypoint) off() bool { return len(e.Addresses) == 0 }

// listening is an address and where it was asked for.
type listening struct {
	address Address
	at      spot
}

// checkAddresses reports addresses that cannot be listened on together, and a
// configuration that serves nothing.
func (c *Config) checkAddresses(at spot) {
	var open []listening
	add := func(at spot, addresses []Address) {
		for i, address := range addresses {
			open = append(open, listening{address, at.index(i)})
		}
	}
	for _, role := range c.Entrypoints.all() {
		add(at.key("entrypoints").key(role.name).key("addresses"), role.entrypoint.Addresses)
	}
	internal := 0
	for i, site := range c.Sites {
		add(at.key("sites").index(i).key("internal").key("addresses"), site.Internal.Addresses)
		internal += len(site.Internal.Addresses)
	}
	for i, later := range open {
		earlier := slices.IndexFunc(open[:i], func(l listening) bool { return l.address.overlaps(later.address) })
		if earlier >= 0 {
			reportOverlap(open[earlier], later)
		}
	}
	if c.Entrypoints.HTTPS.off() && c.Entrypoints.Federation.off() && internal == 0 {
		at.key("entrypoints").fail("nothing is served: https and federation are off and no site is internal", "give https an address")
	}
}

// reportOverlap names both places; a default has none, so the mistake is shown
// at the one that was written.
func reportOverlap(earlier, later listening) {
	if !later.at.written() {
		earlier, later = later, earlier
	}
	other := "by default"
	if earlier.at.written() {
		other = "at " + earlier.at.place.String()
	}
	remedy := "give one of them another port or address"
	if network, _ := later.address.Network(); network == "fd" {
		remedy = "give one of them a socket with another FileDescriptorName="
	}
	later.at.fail(quote(string(later.address))+" is already taken by "+earlier.at.path+" "+other+" ("+string(earlier.address)+")", remedy)
}
