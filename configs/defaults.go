package configs

import "time"

// Default gives a configuration in which nothing was said: every default that
// does not depend on what was.
func Default() *Config {
	return &Config{
		Control: "/run/vestibule/control.sock",
		Entrypoints: Entrypoints{
			HTTP:       Entrypoint{Addresses: []Address{":80"}},
			HTTPS:      Entrypoint{Addresses: []Address{":443"}, TLS: true},
			Federation: Entrypoint{Addresses: []Address{":8448"}, TLS: true},
			Admin:      Entrypoint{Addresses: []Address{"127.0.0.1:9180"}},
		},
		Certificates: Certificates{
			Issuer:  "acme",
			Storage: Storage{Directory: "/var/lib/vestibule"},
		},
		Timeouts: Timeouts{
			Head:        Duration(10 * time.Second),
			Idle:        Duration(3 * time.Minute),
			Connect:     Duration(5 * time.Second),
			Stall:       Duration(60 * time.Second),
			Response:    Duration(60 * time.Second),
			SyncMargin:  Duration(90 * time.Second),
			InitialSync: Duration(5 * time.Minute),
			Federation:  Duration(5 * time.Minute),
			Grace:       Duration(8 * time.Second),
		},
		Limits:      Limits{Head: 64 << 10, Connections: 20000},
		Compression: true,
		Engine:      "own",
		Logging:     Logging{Level: "info", Access: true, Addresses: "full"},
	}
}

func (s *Site) setDefaults() {
	s.Synapse.Hold = Duration(10 * time.Second)
	s.Federation = Federation{With: FederationPolicy{All: true}, Delegation: "well_known", OpenID: "auto"}
}

func (e *ElementCall) setDefaults() {
	e.JWTPath, e.SFUPath = "/livekit-jwt-service", "/livekit-server"
}

func (a *ACME) setDefaults() { a.Directory = letsEncrypt }

func (e *Export) setDefaults() { e.Mode = "0640" }

func (d *DNS01) setDefaults() { d.PropagationTimeout = Duration(15 * time.Minute) }

// fill gives every absent key the default that depends on others, so that no
// reader computes one.
func (c *Config) fill(at spot) {
	for _, e := range []*Entrypoint{&c.Entrypoints.HTTPS, &c.Entrypoints.Federation} {
		if e.TrustedProxies == nil {
			e.TrustedProxies = c.TrustedProxies
		}
		if e.DefaultSite == "" && len(c.Sites) > 0 {
			e.DefaultSite = c.Sites[0].ServerName
		}
	}
	for i, site := range c.Sites {
		site.fill(at.key("sites").index(i), len(c.Entrypoints.Federation.Addresses) > 0)
	}
}

func (s *Site) fill(at spot, federationPort bool) {
	if s.Host == "" && s.ServerName != "" {
		s.Host = s.subdomain("matrix")
	}
	s.Synapse.fill(at.key("synapse"))
	if s.MAS != nil {
		s.MAS.fill(s.Host)
	}
	if s.Element != nil {
		s.Element.fill(s.elementHost())
	}
	if s.Ntfy != nil {
		s.Ntfy.fill(s.subdomain("ntfy"))
	}
	if s.Ketesa != nil {
		s.Ketesa.fill(s.Host)
	}
	s.Federation.fill(s.Host, federationPort)
	for i := range s.Routes {
		s.Routes[i].fill(s.Host)
	}
}

// subdomain gives a name below the server name; an IP address has none below
// it and stands for itself.
func (s *Site) subdomain(label string) string {
	host := serverHost(s.ServerName)
	if host == "" || isIP(host) {
		return host
	}
	return label + "." + host
}

func (s *Site) elementHost() string {
	if s.Element.Path != "" && s.Element.Path != "/" {
		return s.Host
	}
	return s.subdomain("element")
}

func (m *MAS) fill(siteHost string) {
	if m.Host == "" {
		m.Host = siteHost
	}
	if m.Path != "" {
		return
	}
	m.Path = "/"
	if m.Host == siteHost {
		m.Path = "/auth"
	}
}

func (w *WebApp) fill(host string) {
	if w.Host == "" {
		w.Host = host
	}
	if w.Path == "" {
		w.Path = "/"
	}
}

func (k *Ketesa) fill(siteHost string) {
	if k.Host == "" {
		k.Host = siteHost
	}
	if k.Path == "" {
		k.Path = "/synapse-admin"
	}
}

func (f *Federation) fill(siteHost string, federationPort bool) {
	if f.Host == "" {
		f.Host = siteHost
	}
	if f.Port == 0 {
		f.Port = 443
		if federationPort {
			f.Port = 8448
		}
	}
}

func (r *Route) fill(siteHost string) {
	if len(r.Hosts) == 0 {
		r.Hosts = []string{siteHost}
	}
	if len(r.Entrypoints) == 0 {
		r.Entrypoints = []string{"https", "federation"}
	}
}
