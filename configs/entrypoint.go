package configs

import (
	"net/netip"
	"slices"
)

// Entrypoints are the listening roles. Each may have several addresses.
type Entrypoints struct {
	// HTTP redirects to https, answers the challenges of http01, and nothing else.
	// Defaults to ":80".
	HTTP Entrypoint `yaml:"http"`
	// HTTPS serves clients. Defaults to ":443".
	HTTPS Entrypoint `yaml:"https"`
	// Federation serves other homeservers. Defaults to ":8448".
	Federation Entrypoint `yaml:"federation"`
	// Admin serves /livez, /readyz, /metrics and /status over plain HTTP; keep
	// it off the Internet. Defaults to "127.0.0.1:9180".
	Admin Entrypoint `yaml:"admin"`
}

// Entrypoint is a listening role: its addresses and how it treats connections.
type Entrypoint struct {
	// Addresses to listen on: ":443", "127.0.0.1:443", "[::1]:443", "unix:/path",
	// or "fd:NAME" for the sockets that systemd passes with
	// FileDescriptorName=NAME. An empty list turns the entrypoint off.
	Addresses []Address `yaml:"addresses"`

	// TLS is false when another proxy in front ends TLS. Only for https and
	// federation. Optional. Defaults to true there.
	TLS bool `yaml:"tls"`

	// PublicPort is the port clients see, when it differs from the one listened
	// on, as behind a port mapping; redirects name it. Optional.
	PublicPort int `yaml:"public_port"`

	// ProxyProtocol expects a PROXY header on each connection. Not supported
	// yet.
	ProxyProtocol bool `yaml:"proxy_protocol"`

	// TrustedProxies replaces the list at the top for this entrypoint. Optional.
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`

	// DefaultSite is the server_name whose certificate is shown to a client that
	// names no host or an unknown one. Optional. Defaults to the first site.
	DefaultSite string `yaml:"default_site"`

	Place Place `yaml:"-"`
}

// TCPForward is a port where TLS ends here and plain bytes go onward.
type TCPForward struct {
	Address  Address `yaml:"address"`  // to listen on, such as ":5350"
	Host     string  `yaml:"host"`     // whose certificate is shown
	Upstream string  `yaml:"upstream"` // "host:port"

	Place Place `yaml:"-"`
}

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
