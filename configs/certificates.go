package configs

import (
	"cmp"
	"crypto/tls"
	"slices"
	"strings"
)

// Certificates says where certificates come from and where they are kept.
type Certificates struct {
	// Issuer is "acme", "internal" (a CA of our own, for demos and LANs) or
	// "files" (nothing but Files). Optional. Defaults to acme.
	Issuer string `yaml:"issuer"`

	// Files are looked at first, whatever the issuer. Optional.
	Files []CertificateFile `yaml:"files"`

	// ExtraNames get a certificate too, such as "turn.example.com". Optional.
	ExtraNames []string `yaml:"extra_names"`

	// Storage is where the issuer keeps keys and certificates.
	Storage Storage `yaml:"storage"`

	// Export writes PEM files for coturn and LiveKit. Optional.
	Export *Export `yaml:"export"`

	// ACME configures the issuer "acme". Required with it.
	ACME *ACME `yaml:"acme"`

	Place Place `yaml:"-"`
}

// CertificateFile is a certificate chain and its key, both PEM.
type CertificateFile struct {
	Certificate string `yaml:"certificate"` // path of the chain, leaf first. Required
	Key         string `yaml:"key"`         // path of the private key. Required

	Place Place `yaml:"-"`
}

// Storage is a directory of vestibule's own.
type Storage struct {
	// Directory is created with mode 0700 when missing. Optional. Defaults to
	// /var/lib/vestibule.
	Directory string `yaml:"directory"`
}

func (c *Certificates) check(at spot) {
	if c.Issuer != "acme" {
		at.key("issuer").oneOf(c.Issuer, "acme", "internal", "files")
	}
	if c.Issuer == "files" && len(c.Files) == 0 && !at.key("files").written() {
		at.key("files").fail("is required with issuer: files", "write [{ certificate: chain.pem, key: key.pem }]")
	}
	for i := range c.Files {
		c.Files[i].check(at.key("files").index(i))
	}
	for i, name := range c.ExtraNames {
		at.key("extra_names").index(i).valid(strings.TrimPrefix(name, "*."), hostMistake)
	}
	c.checkACME(at)
	if c.Export != nil {
		c.Export.check(at.key("export"))
	}
	directory := at.key("storage").key("directory")
	if directory.written() && c.Storage.Directory == "" {
		directory.fail("is empty", "remove the key, or name a directory")
	}
	c.Storage.Directory = directory.resolve(c.Storage.Directory)
}

// checkACME wants the account that the issuer acme needs.
func (c *Certificates) checkACME(at spot) {
	if c.ACME != nil {
		c.ACME.check(at.key("acme"), c.Issuer)
		return
	}
	if c.Issuer == "acme" && !at.key("acme").written() && !at.key("issuer").failed() {
		at.key("acme").fail("is required with issuer: acme, which is the default",
			"write acme: { email: ops@example.com, challenges: [{ dns01: { ovh: { … } } }] }, or issuer: internal")
	}
}

// check reads the pair: a certificate that does not fit its key would otherwise
// be found out at the first handshake.
func (f *CertificateFile) check(at spot) {
	missing := at.require("certificate")
	if at.require("key") || missing || f.Certificate == "" || f.Key == "" {
		return
	}
	f.Certificate = at.key("certificate").resolve(f.Certificate)
	f.Key = at.key("key").resolve(f.Key)
	chain, okChain := at.key("certificate").readFile(f.Certificate)
	key, okKey := at.key("key").readFile(f.Key)
	if !okChain || !okKey {
		return
	}
	pair, err := tls.X509KeyPair(chain, key)
	switch {
	case err != nil:
		at.key("certificate").fail("certificate and key do not go together: "+strings.TrimPrefix(err.Error(), "tls: "), "")
	case len(pair.Leaf.DNSNames)+len(pair.Leaf.IPAddresses) == 0:
		at.key("certificate").fail(quote(f.Certificate)+" names no host in subjectAltName, which is all that clients look at",
			"make it with -addext subjectAltName=DNS:matrix.example.com")
	}
}

// CertificateNames lists the names that need a certificate, sorted, each once,
// in lower case, IPv6 addresses without brackets.
func (c *Config) CertificateNames() []string {
	names := slices.Clone(c.Certificates.ExtraNames)
	for _, site := range c.Sites {
		names = append(names, site.certificateHosts()...)
	}
	for i, name := range names {
		name, _ = cutBrackets(strings.ToLower(name))
		names[i] = name
	}
	slices.Sort(names)
	names = slices.Compact(names)
	return slices.DeleteFunc(names, func(name string) bool { return name == "" })
}

// certificateHosts lists the hosts of a site. Servers that found it through SRV
// records want a certificate for its server name, which they asked for (Matrix
// v1.16, server-server API, "Resolving server names", step 4).
func (s *Site) certificateHosts() []string {
	hosts := []string{s.Host, s.Federation.Host}
	if s.BaseDomain.Serve || s.hasPort() || s.Federation.Delegation == "srv" {
		hosts = append(hosts, serverHost(s.ServerName))
	}
	if s.MAS != nil {
		hosts = append(hosts, s.MAS.Host)
	}
	for _, app := range []*WebApp{s.Element, s.Ntfy} {
		if app != nil {
			hosts = append(hosts, app.Host)
		}
	}
	if s.Ketesa != nil {
		hosts = append(hosts, s.Ketesa.Host)
	}
	for _, route := range s.Routes {
		answersServers := forServers(cmp.Or(route.Path, route.PathPrefix, literalPrefix(route.PathRegexp)))
		for _, host := range route.Hosts {
			if !answersServers || host != serverHost(s.ServerName) { // whether servers ask for that one is decided above
				hosts = append(hosts, host)
			}
		}
	}
	return hosts
}
