package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"vestibule/configs"
	"vestibule/routing"
)

// changes says what a reload changed from old, and which keys differ from those
// the process was started with although only a restart can change them.
func changes(boot, old, now *configs.Config) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, name := range difference(siteNames(now), siteNames(old)) {
		add("site %s added", name)
	}
	for _, name := range difference(siteNames(old), siteNames(now)) {
		add("site %s removed", name)
	}
	for _, name := range difference(now.CertificateNames(), old.CertificateNames()) {
		add("certificate for %s wanted", name)
	}
	for _, name := range difference(old.CertificateNames(), now.CertificateNames()) {
		add("certificate for %s no longer wanted", name)
	}
	out = append(out, poolChanges(old, now)...)
	for _, key := range restartNeeded(boot, now) {
		add("%s changed: restart to apply it", key)
	}
	if len(out) == 0 {
		add("no pool, site or name changed")
	}
	return out
}

func siteNames(cfg *configs.Config) []string {
	var names []string
	for _, s := range cfg.Sites {
		names = append(names, s.ServerName)
	}
	return names
}

// difference lists what is in a and not in b.
func difference(a, b []string) []string {
	var out []string
	for _, x := range a {
		if !slices.Contains(b, x) {
			out = append(out, x)
		}
	}
	return out
}

// restartNeeded lists the keys that are read once, at start.
func restartNeeded(old, now *configs.Config) []string {
	var keys []string
	addresses := func(key string, a, b []configs.Address) {
		if !slices.Equal(a, b) {
			keys = append(keys, key)
		}
	}
	o, n := &old.Entrypoints, &now.Entrypoints
	addresses("entrypoints.http.addresses", o.HTTP.Addresses, n.HTTP.Addresses)
	addresses("entrypoints.https.addresses", o.HTTPS.Addresses, n.HTTPS.Addresses)
	addresses("entrypoints.federation.addresses", o.Federation.Addresses, n.Federation.Addresses)
	addresses("entrypoints.admin.addresses", o.Admin.Addresses, n.Admin.Addresses)
	for _, site := range now.Sites {
		var before []configs.Address
		if s := old.Site(site.ServerName); s != nil {
			before = s.Internal.Addresses
		}
		addresses("internal.addresses of "+site.ServerName, before, site.Internal.Addresses)
	}
	for key, changed := range map[string]bool{
		"entrypoints.https.tls":          o.HTTPS.TLS != n.HTTPS.TLS,
		"entrypoints.federation.tls":     o.Federation.TLS != n.Federation.TLS,
		"control":                        old.Control != now.Control,
		"certificates.storage.directory": old.Certificates.Storage != now.Certificates.Storage,
		"certificates.issuer":            old.Certificates.Issuer != now.Certificates.Issuer,
		"certificates.acme.directory":    directoryURL(old) != directoryURL(now),
		"timeouts.head":                  old.Timeouts.Head != now.Timeouts.Head,
		"timeouts.idle":                  old.Timeouts.Idle != now.Timeouts.Idle,
		"limits.head":                    old.Limits.Head != now.Limits.Head,
	} {
		if changed {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// poolChanges says which pools a new configuration adds, removes or fills
// differently.
func poolChanges(old, now *configs.Config) []string {
	before, after := poolsOf(old), poolsOf(now)
	var out []string
	for _, name := range slices.Sorted(maps.Keys(after)) {
		switch was, existed := before[name]; {
		case !existed:
			out = append(out, fmt.Sprintf("pool %s added: %s", name, after[name]))
		case was != after[name]:
			out = append(out, fmt.Sprintf("pool %s changed: %s, before %s", name, after[name], was))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if _, still := after[name]; !still {
			out = append(out, fmt.Sprintf("pool %s removed", name))
		}
	}
	return out
}

// poolsOf lists the upstreams of each pool of a configuration, as text.
func poolsOf(cfg *configs.Config) map[string]string {
	table, err := routing.New(cfg)
	if err != nil {
		return nil
	}
	pools := map[string]string{}
	for _, p := range table.Pools {
		var urls []string
		for _, u := range p.Upstreams {
			urls = append(urls, u.URL)
		}
		text := strings.Join(urls, ", ")
		if was := pools[p.Name]; was != "" && was != text {
			text = was + "; " + text
		}
		pools[p.Name] = text
	}
	return pools
}

// directoryURL is the authority's, "" without one. It depends on staging too.
func directoryURL(cfg *configs.Config) string {
	if a := cfg.Certificates.ACME; a != nil && cfg.Certificates.Issuer == "acme" {
		return a.DirectoryURL()
	}
	return ""
}
