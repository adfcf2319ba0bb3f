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
	for _, key := range changedKeys(old, now) {
		if !slices.Contains(startKeys, withoutSite(key)) {
			add("%s changed", key)
		}
	}
	for _, key := range restartNeeded(boot, now) {
		add("%s changed: restart to apply it", key)
	}
	if len(out) == 0 {
		add("nothing changed")
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

// startKeys are the keys that are read once, at start.
var startKeys = []string{
	"control",
	"entrypoints.http.addresses", "entrypoints.https.addresses", "entrypoints.federation.addresses", "entrypoints.admin.addresses",
	"entrypoints.https.tls", "entrypoints.federation.tls",
	"internal.addresses",
	"certificates.issuer", "certificates.storage.directory", "certificates.acme.directory", "certificates.acme.staging",
	"timeouts.head", "timeouts.idle", "limits.head", "engine",
}

// restartNeeded lists the keys that only a restart applies.
func restartNeeded(boot, now *configs.Config) []string {
	var keys []string
	for _, key := range changedKeys(boot, now) {
		if slices.Contains(startKeys, withoutSite(key)) {
			keys = append(keys, key)
		}
	}
	for _, pair := range [][2]*configs.Config{{boot, now}, {now, boot}} {
		for _, site := range pair[0].Sites {
			if pair[1].Site(site.ServerName) == nil && len(site.Internal.Addresses) > 0 {
				keys = append(keys, "internal.addresses of "+site.ServerName)
			}
		}
	}
	// The port of redirects is read at start, too, unlike that of .well-known.
	if boot.Entrypoints.HTTPS.PublicPort != now.Entrypoints.HTTPS.PublicPort {
		keys = append(keys, "entrypoints.https.public_port in redirects from http")
	}
	return keys
}

// withoutSite is a key of changedKeys as every site has it.
func withoutSite(key string) string {
	key, _, _ = strings.Cut(key, " of ")
	return key
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
