package routing

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vestibule/configs"
)

// sampleConfig has every component, and routes of every shape.
const sampleConfig = `
admins: [192.0.2.0/28]
fallback: http://traefik:8080
certificates: { issuer: internal }
sites:
  - server_name: example.com
    base_domain: { serve: true, redirect: "https://www.example.com/" }
    synapse: { layout: mdad/one-of-each }
    internal: { addresses: [":8008"] }
    mas: { host: auth.example.com, upstream: "http://mas:8080" }
    element: { path: /element, upstream: "http://element:8080" }
    ketesa: { upstream: "http://ketesa:8080" }
    element_call: { jwt: "http://jwt:8080", sfu: "http://sfu:7880" }
    ntfy: { upstream: "http://ntfy:8080" }
    bridges: { telegram: "http://telegram:8080" }
    routes:
      - { name: exact, path: /exact, methods: [PUT], upstreams: ["http://a:1"] }
      - { name: prefix, path_prefix: /prefix/, allow: [203.0.113.0/24], upstreams: ["http://a:1"] }
      - { name: elsewhere, path_prefix: /, hosts: [www.example.com], entrypoints: [https], upstreams: ["http://a:1"] }
      - { name: inside, path: /inside, entrypoints: [internal], status: 404 }
      - { name: expression, path_regexp: "/_matrix/client/(r0|v3)/rooms/[^/]+/(send|state)/.{3,}(/[0-9]+)?", upstreams: ["http://a:1"] }
      - { name: hopeless, path_regexp: "/a\\Bb/é", upstreams: ["http://a:1"] }
      - { name: shadowed, path_regexp: "/exact", methods: [PUT], upstreams: ["http://a:1"] }
  - server_name: example.org
    base_domain: { serve: true, upstream: "http://www:8080" }
    synapse: { layout: mdad/no-workers }
    mas: { upstream: "http://mas:8080" }
    element: { upstream: "http://element:8080" }
    federation: { strict_ports: true, host: federation.example.org }
  - server_name: example.net
    base_domain: { serve: true }
    synapse: { layout: mdad/no-workers }
`

func sampleTable(t *testing.T, text string) *Table {
	t.Helper()
	file := filepath.Join(t.TempDir(), "vestibule.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return loadTable(t, file)
}

// Whatever a table has is met by a sample, on every host.
func TestSamplesMeetEverything(t *testing.T) {
	files := []string{}
	for _, pattern := range []string{"../configs/presets/*.yaml", "../configs/examples/*.yaml"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		files = append(files, found...)
	}
	tables := map[string]*Table{"everything": sampleTable(t, sampleConfig)}
	for _, file := range files {
		tables[file] = loadTable(t, file)
	}
	for name, table := range tables {
		requests, unmet := table.Samples()
		met := map[*vhost]map[*Rule]bool{}
		var d Decision
		for _, r := range requests {
			table.Match(&r, &d)
			if v := table.vhost(&r, &d); v != nil {
				if met[v] == nil {
					met[v] = map[*Rule]bool{}
				}
				table.Match(&r, &d)
				met[v][d.Rule] = true
			}
		}
		for _, v := range table.vhosts() {
			for _, rt := range v.all() {
				if !met[v][&rt.rule] && !slices.ContainsFunc(unmet, func(u Unmet) bool { return u.Rule == &rt.rule }) {
					t.Errorf("%s: no sample meets %s %s", name, rt.rule.Name, rt.rule.Pattern)
				}
			}
		}
		for _, host := range []string{"matrix.example.com", "example.com"} {
			if !slices.ContainsFunc(requests, func(r Request) bool { return r.Host == host && r.Entrypoint == Federation }) {
				t.Errorf("%s: nothing asks %s", name, host)
			}
		}
	}
}

// vhosts lists all, in any order.
func (t *Table) vhosts() []*vhost {
	var all []*vhost
	for _, hosts := range []map[string]*vhost{t.hosts[HTTPS], t.hosts[Federation], t.internal} {
		for _, v := range hosts {
			all = append(all, v)
		}
	}
	return all
}

// all lists the routes beside the catalogue.
func (v *vhost) all() []*route {
	all := slices.Concat(v.guard.routes, v.operator.routes, v.regexps, v.builtin.routes)
	if v.rest != nil {
		all = append(all, v.rest)
	}
	return all
}

// What no sample meets is told, with the reason.
func TestSamplesUnmet(t *testing.T) {
	_, unmet := sampleTable(t, sampleConfig).Samples()
	var got []string
	for _, u := range unmet {
		got = append(got, u.Site+" "+u.Rule.Name+": "+u.Why)
	}
	want := []string{
		"example.com hopeless: no path was found that the expression matches",
		"example.com shadowed: other routes take every request that was tried",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The samples of a table are always the same, and every one is asked once of a
// corpus.
func TestSamplesAreOrdered(t *testing.T) {
	table := sampleTable(t, sampleConfig)
	first, _ := table.Samples()
	for range 5 {
		again, _ := table.Samples()
		if !slices.EqualFunc(first, again, func(a, b Request) bool {
			return a.Entrypoint == b.Entrypoint && a.Site == b.Site && a.Method == b.Method && a.Host == b.Host && a.Target == b.Target &&
				slices.Equal(a.Authorization, b.Authorization)
		}) {
			t.Fatal("the samples of one table differ")
		}
	}
	t.Logf("%d samples for three sites", len(first))
}

// The servers that a site names are asked for, whatever becomes of it.
func TestSamplesOfServers(t *testing.T) {
	cfg, problems := configs.Load("../configs/presets/main-only.yaml")
	if cfg == nil {
		t.Fatal(problems)
	}
	cfg.Sites[0].Federation.With = configs.FederationPolicy{Servers: []string{"*.example.net"}}
	table, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	requests, _ := table.Samples()
	if !slices.ContainsFunc(requests, func(r Request) bool {
		return len(r.Authorization) == 1 && r.Authorization[0] == `X-Matrix origin="x.example.net",key="ed25519:1",sig="c2ln"`
	}) {
		t.Error("no request from x.example.net")
	}
}

func TestMatching(t *testing.T) {
	good := func(expression string, want ...string) {
		t.Helper()
		re := regexp.MustCompile("^(?:" + expression + ")$")
		if got := matching(re); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", expression, got, want)
		}
	}
	good("/a", "/a")
	good("/a?", "/", "/a")
	good("/(a|b)/[0-9]+", "/a/0", "/b/0")
	good("/a.*", "/a", "/ax")
	good("(?i)/ABC", "/ABC")
	good("^/a$", "/a")
	good("/x{3}", "/xxx")
	good("/a{0,2}b", "/b")
	good(`/\w+\.png`, "/x.png")
	good(`/%2[Ff]`, "/%2F")
	good("/[^/]*/b?", "//", "/x/b")
	good(`/\bé`)          // not in a path
	good("/a[[:cntrl:]]") // neither
	good("a")             // no path
	good(`/a\Bb|/c`, "/ab", "/c")
	good("/(ab|cd|ef|gh|ij|kl|mn|op|qr|st|uv|wx|yz|12|34)", "/ab", "/cd", "/ef", "/gh", "/ij", "/kl", "/mn", "/op", "/qr", "/st", "/uv", "/wx")
	good("/("+strings.Repeat("x", 2100)+"|y)", "/y") // longer than anybody's path
	good("/(a{999}|b{2})", "/"+strings.Repeat("a", 999), "/bb")
}
