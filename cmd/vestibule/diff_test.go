package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vestibule/configs"
)

// compared runs diff --json.
func compared(t *testing.T, old, now string) comparison {
	t.Helper()
	var out, complaints bytes.Buffer
	if status := run([]string{"diff", old, now, "--json"}, strings.NewReader(""), &out, &complaints); status != exitOK {
		t.Fatalf("diff %s %s: exit %d: %s", old, now, status, complaints.String())
	}
	var c struct {
		Compared, Changed int
		Changes           []struct {
			Target   string
			Old, New struct{ Endpoint, Class, Pool string }
			Differs  []string
		}
		Keys     []string
		Only_old []string
		Only_new []string
	}
	if err := json.Unmarshal(out.Bytes(), &c); err != nil {
		t.Fatal(err)
	}
	result := comparison{Compared: c.Compared, Changed: c.Changed, Keys: c.Keys, OnlyOld: c.Only_old, OnlyNew: c.Only_new}
	for _, x := range c.Changes {
		result.Changes = append(result.Changes, change{Target: x.Target, Ways: x.Differs,
			Old: outcome{Endpoint: x.Old.Endpoint, Class: x.Old.Class, Pool: x.Old.Pool},
			New: outcome{Endpoint: x.New.Endpoint, Class: x.New.Class, Pool: x.New.Pool}})
	}
	return result
}

// A file compared with itself has no difference, whatever is in it.
func TestDiffWithItself(t *testing.T) {
	var files []string
	for _, pattern := range []string{"../../configs/presets/*.yaml", "../../configs/examples/*.yaml", "../../configs/testdata/valid/*.yaml"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		files = append(files, found...)
	}
	for _, file := range files {
		if cfg, _ := configs.Load(file); cfg == nil || check(cfg) != nil {
			t.Logf("%s does not load here", file)
			continue
		}
		c := compared(t, file, file)
		if c.Compared < 100 || c.Changed != 0 || len(c.Changes)+len(c.Keys)+len(c.OnlyOld)+len(c.OnlyNew) != 0 {
			t.Errorf("%s: %+v", file, c)
		}
	}
}

// Between MDAD's presets the sync and the room workers are what changes most.
func TestDiffOfPresets(t *testing.T) {
	presets := "../../configs/presets/"
	c := compared(t, presets+"one-of-each.yaml", presets+"specialized-workers.yaml")
	pools := map[string]int{}
	for _, x := range c.Changes {
		pools[x.Old.Endpoint+" "+x.Old.Pool+" "+x.New.Pool]++
		if !slices.Equal(x.Ways, []string{answersField}) {
			t.Errorf("%s differs in %q", x.Target, x.Ways)
		}
	}
	for _, want := range []string{
		"sync example.com/generic example.com/sync",
		"initial_sync example.com/generic example.com/sync",
		"event_creator example.com/generic example.com/room",
		"federation_inbound example.com/generic example.com/federation_reader",
	} {
		if pools[want] < 5 {
			t.Errorf("%d requests go %s", pools[want], want)
		}
	}
	if c.Changed != len(c.Changes) || c.Compared <= c.Changed {
		t.Errorf("%d of %d, but %d changes", c.Changed, c.Compared, len(c.Changes))
	}
}

// Strict ports close each entrypoint to what belongs on the other one.
func TestDiffOfStrictPorts(t *testing.T) {
	presets := "../../configs/presets/"
	var out bytes.Buffer
	if status := run([]string{"diff", presets + "one-of-each.yaml", presets + "strict-ports.yaml"}, nil, &out, &out); status != exitOK {
		t.Fatal(out.String())
	}
	for _, line := range []string{
		"  federation_inbound  example.com/generic → refuse 404 M_UNRECOGNIZED\n",
		"        PUT https://matrix.example.com/_matrix/federation/v1/send/1690000000000\n",
		"  sync              example.com/generic → refuse 404 M_UNRECOGNIZED\n",
		"        GET https://matrix.example.com:8448/_matrix/client/r0/sync?",
	} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("%q is missing in\n%s", line, out.String())
		}
	}
}

// What diff prints is the same every time.
func TestDiffIsOrdered(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	old := write("old.yaml", changesBase)
	now := write("new.yaml", strings.NewReplacer("example.org", "example.net", "http://sync:1", "http://sync:2", "192.0.2.1", "192.0.2.2",
		"path: /x", "path: /y", "idle: 3m", "response: 3m").Replace(changesBase))
	var first string
	for range 5 {
		var out bytes.Buffer
		if status := run([]string{"diff", old, now}, nil, &out, &out); status != exitOK {
			t.Fatal(out.String())
		}
		if first == "" {
			first = out.String()
		}
		if out.String() != first {
			t.Fatalf("once\n%s\nand once\n%s", first, out.String())
		}
	}
	for _, part := range []string{"site example.org", "site example.net", "upstreams: http://sync:1 → http://sync:2", "192.0.2.2", "timeouts.response  time to answer: 1m → 3m"} {
		if !strings.Contains(first, part) {
			t.Errorf("%q is missing in\n%s", part, first)
		}
	}
}

// Every address belongs to one range, and no gate tells two of one range apart.
func TestVisitors(t *testing.T) {
	cfg := configs.Default()
	for _, p := range []string{"10.0.0.0/8", "10.1.0.0/16", "10.255.255.255/32", "0.0.0.0/2", "255.255.255.0/24", "2001:db8::/32", "::/128"} {
		cfg.Admins = append(cfg.Admins, netip.MustParsePrefix(p))
	}
	other := configs.Default()
	other.Sites = []*configs.Site{{Routes: []configs.Route{{Allow: []netip.Prefix{netip.MustParsePrefix("10.1.2.3/32")}}}}}
	list, left := visitors(cfg, other)
	if left != 0 || list[0].listed || !list[len(list)-1].listed {
		t.Errorf("the first is not an ordinary one: %v", list)
	}
	var names []string
	for _, v := range list {
		names = append(names, v.String())
	}
	want := []string{"anywhere else", "anywhere else", "anywhere else",
		"0.0.0.0 to 9.255.255.255", "10.0.0.0/16", "10.1.0.0 to 10.1.2.2", "10.1.2.3", "10.1.2.4 to 10.1.255.255", "10.2.0.0 to 10.255.255.254",
		"10.255.255.255", "11.0.0.0 to 63.255.255.255", "255.255.255.0/24", "::", "2001:db8::/32"}
	if !slices.Equal(names, want) {
		t.Errorf("got %q\nwant %q", names, want)
	}
	for _, a := range []string{"0.0.0.0", "9.9.9.9", "10.1.2.2", "10.1.2.3", "63.255.255.255", "64.0.0.0", "255.255.255.255", "::", "::1", "2001:db8::1", "ffff::"} {
		addr := netip.MustParseAddr(a)
		in := 0
		for _, v := range list {
			if v.first.BitLen() == addr.BitLen() && v.first.Compare(addr) <= 0 && addr.Compare(v.last) <= 0 {
				in++
			}
		}
		if in != 1 {
			t.Errorf("%s is in %d ranges", addr, in)
		}
	}
}

// Where everybody is let in, all ranges are still asked.
func TestVisitorsWithoutOrdinary(t *testing.T) {
	cfg := configs.Default()
	cfg.Admins = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0"), netip.MustParsePrefix("192.0.2.0/24")}
	list, _ := visitors(cfg)
	if len(list) != 4 || !list[0].listed {
		t.Errorf("got %v", list)
	}
}

// A list that is too long is cut, and that is told.
func TestVisitorsAreBounded(t *testing.T) {
	cfg := configs.Default()
	for i := range mostVisitors {
		cfg.Admins = append(cfg.Admins, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), 32))
	}
	if list, left := visitors(cfg); len(list) != mostVisitors || left != mostVisitors+2 {
		t.Errorf("%d, and %d left out", len(list), left)
	}
}

const diffBase = `
admins: [192.0.2.1]
fallback: http://fallback:1
certificates: { issuer: internal }
timeouts: { federation: 4m, initial_sync: 6m }
sites:
  - server_name: example.com
    base_domain: { serve: true, redirect: "https://www.example.com/" }
    synapse:
      main: http://main:1
      federation: http://main:2
      workers: { sync: ["http://sync:1"], generic: ["http://generic:1"] }
      hold: 10s
    mas: { host: auth.example.com, upstream: "http://mas:1" }
    element: { upstream: "http://element:1" }
    ntfy: { upstream: "http://ntfy:1" }
    element_call: { jwt: "http://jwt:1", sfu: "http://sfu:1" }
    bridges: { irc: "http://irc:1" }
    routes:
      - { name: away, path: /away, redirect: /there, status: 301, response_headers: { X-Door: a } }
      - { name: gone, path: /gone, hosts: [www.example.com], status: 404 }
      - { name: expression, path_regexp: "/expression/[a-z]+", methods: [DELETE], entrypoints: [federation], upstreams: ["http://x:1"] }
`

// Whatever an operator changes is told where it matters.
func TestDiffTells(t *testing.T) {
	dir := t.TempDir()
	files := [2]string{filepath.Join(dir, "old.yaml"), filepath.Join(dir, "new.yaml")}
	for _, c := range []struct{ old, new, want string }{
		{`, generic: ["http://generic:1"]`, ``, "example.com/sync  stand-ins: example.com/generic, example.com/main → example.com/main"},
		{`, generic: ["http://generic:1"]`, ``, "client_reader     example.com/generic → example.com/main"},
		{`generic: [`, `room: ["http://room:1"], generic: [`, "event_creator     example.com/generic → example.com/room"},
		{`http://main:2`, `http://main:3`, "example.com/main  upstreams: http://main:2 → http://main:3"},
		{`federation: 4m`, `federation: 3m`, "timeouts.federation  time to answer: 4m → 3m"},
		{`initial_sync: 6m`, `initial_sync: 7m`, "timeouts.initial_sync  time to answer: 6m → 7m"},
		{`initial_sync: 6m`, `initial_sync: 1s`, "initial_sync      time to answer"}, // another key decides
		{`http://fallback:1`, `http://fallback:2`, "fallback          upstreams: http://fallback:1 → http://fallback:2"},
		{`fallback: http://fallback:1`, ``, "fallback          fallback → refuse 404 M_UNRECOGNIZED"},
		{`https://www.example.com/`, `https://example.net/`, "redirect          leads to"},
		{`http://mas:1`, `http://mas:2`, "example.com/mas   upstreams: http://mas:1 → http://mas:2"},
		{`upstream: "http://mas:1"`, `migrating: true, upstream: "http://mas:1"`, "mas               example.com/mas → example.com/generic"},
		{`host: auth.example.com, `, ``, "host auth.example.com on https and federation"},
		{`element: { upstream`, `element: { path: /, upstream`, "nothing changes: "},
		{`element: { upstream`, `element: { path: /app, upstream`, "element           fallback → example.com/element\n"},
		{`element: { upstream`, `element: { path: /app, upstream`, "host element.example.com on https and federation"},
		{`http://ntfy:1`, `http://ntfy:2`, "example.com/ntfy  upstreams: http://ntfy:1 → http://ntfy:2"},
		{`jwt: "http://jwt:1"`, `jwt: "http://jwt:2"`, "example.com/element_call  upstreams: http://jwt:1 → http://jwt:2"},
		{`sfu: "http://sfu:1"`, `sfu: "http://sfu:1", sfu_path: /sfu`, "element_call      example.com/element_call → fallback"},
		{`irc: "http://irc:1"`, `irc: "http://irc:2"`, "example.com/bridge  upstreams: http://irc:1 → http://irc:2"},
		{`status: 301`, `status: 308`, "redirect          status: 301 → 308"},
		{`/there`, `/elsewhere`, "GET https://matrix.example.com/away: /there → /elsewhere"},
		{`X-Door: a`, `X-Door: b`, "redirect          headers for the client: X-Door: a → X-Door: b"},
		{`status: 404 }`, `status: 410 }`, "GET https://www.example.com/gone"},
		{`http://x:1`, `http://x:2`, "DELETE https://matrix.example.com:8448/expression/x"},
		{`bridges: {`, `federation: { with: [partner.example] }
    bridges: {`, "federation_inbound  example.com/generic → refuse 403 M_FORBIDDEN"},
		{`hold: 10s`, `hold: 3s`, " requests compared, all answered alike by"},
		{`hold: 10s`, `hold: 3s`, "keys that differ:\n  synapse.hold of example.com"},
	} {
		for i, text := range []string{diffBase, strings.Replace(diffBase, c.old, c.new, 1)} {
			if err := os.WriteFile(files[i], []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var out bytes.Buffer
		if status := run([]string{"diff", files[0], files[1]}, nil, &out, &out); status != exitOK {
			t.Fatalf("%s: %s", c.new, out.String())
		}
		if !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: %q is missing in\n%s", c.new, c.want, out.String())
		}
	}
}

// A change that is the same on many sites is told once.
func TestDiffOfManySites(t *testing.T) {
	dir := t.TempDir()
	var files [2]string
	for i, layout := range []string{"one-of-each", "specialized-workers"} {
		text := "certificates: { issuer: internal }\nsites:\n"
		for _, name := range []string{"a.example", "b.example", "c.example", "d.example"} {
			text += "  - { server_name: " + name + ", synapse: { layout: mdad/" + layout + " } }\n"
		}
		files[i] = filepath.Join(dir, layout+".yaml")
		if err := os.WriteFile(files[i], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if status := run([]string{"diff", files[0], files[1]}, nil, &out, &out); status != exitOK {
		t.Fatal(out.String())
	}
	if got := strings.Count(out.String(), " → */sync\n"); got != 2 || strings.Contains(out.String(), "a.example/sync") {
		t.Errorf("%d lines lead to sync in\n%s", got, out.String())
	}
	for _, part := range []string{" requests of 4 sites, such as\n", "keys that differ:\n  synapse.layout of 4 sites, synapse.workers of 4 sites\n"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("%q is missing in\n%s", part, out.String())
		}
	}
}

// A server that is welcome no more is asked for by its name.
func TestDiffOfServers(t *testing.T) {
	dir := t.TempDir()
	var files [2]string
	for i, list := range []string{`[partner.example, "*.friends.example"]`, `["*.friends.example"]`} {
		files[i] = filepath.Join(dir, string(rune('a'+i))+".yaml")
		text := "certificates: { issuer: internal }\nsites:\n  - { server_name: example.com, synapse: { main: \"http://main:1\" }, federation: { with: " + list + " } }\n"
		if err := os.WriteFile(files[i], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if status := run([]string{"diff", files[0], files[1]}, nil, &out, &out); status != exitOK {
		t.Fatal(out.String())
	}
	want := "  federation_reader  example.com/main → refuse 403 M_FORBIDDEN\n      4 requests, such as\n        GET https://example.com/_matrix/federation/v1/version"
	if !strings.Contains(out.String(), want) {
		t.Errorf("%q is missing in\n%s", want, out.String())
	}
}

// TestDiffOfAnswers: diff tells of headers that are set on an answer of our own.
func TestDiffOfAnswers(t *testing.T) {
	dir := t.TempDir()
	var files [2]string
	for i, text := range []string{diffBase, strings.Replace(diffBase, `status: 404 }`, `status: 404, response_headers: { X-Door: a } }`, 1)} {
		files[i] = filepath.Join(dir, string(rune('a'+i))+".yaml")
		if err := os.WriteFile(files[i], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	run([]string{"diff", files[0], files[1]}, nil, &out, &out)
	if !strings.Contains(out.String(), "headers for the client: none → X-Door: a") {
		t.Error(out.String())
	}
}

// askFile asks a command about a configuration.
func askFile(t *testing.T, text string, args ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	run(append(args, "--config", file), nil, &out, &out)
	return out.String()
}

// TestAnswersOfRoutes looks at what routes answer themselves as an operator does.
func TestAnswersOfRoutes(t *testing.T) {
	const site = "certificates: { issuer: internal }\nsites: [{ server_name: example.com, internal: { addresses: [\":8008\"] }, synapse: { main: \"http://a:1\" }, routes: ["
	strip := site + "{ name: gif, path_prefix: /_matrix/giphy, strip_prefix: true, add_prefix: /public, upstreams: [\"http://files:80\"] }] }]\n"
	if got := askFile(t, strip, "explain", "--json", "GET", "/_matrix/giphy/../private"); !strings.Contains(got, `"class": "deny"`) {
		t.Error(got)
	}
	if got := askFile(t, strip, "explain", "--json", "GET", "/_matrix/giphy/x/../y"); !strings.Contains(got, `"forwarded_target": "/public/x/../y"`) {
		t.Error(got)
	}
	closed := site + "{ name: files, path_prefix: /files, allow: [192.0.2.1], upstreams: [\"http://f:1\"], response_headers: { Cache-Control: public } }] }]\n"
	if got := askFile(t, closed, "explain", "--json", "GET", "/files/x", "--from", "198.51.100.1"); strings.Contains(got, "Cache-Control") || !strings.Contains(got, "403") {
		t.Error(got)
	}
	away := site + "{ name: room, path: /room, redirect: \"https://matrix.to/#/%23r:example.com?via=example.com\" }] }]\n"
	if got := askFile(t, away, "explain", "--json", "GET", "/room?utm=1"); !strings.Contains(got, "https://matrix.to/?utm=1#/%23r:example.com?via=example.com") {
		t.Error(got)
	}
	internal := site + "{ name: x, entrypoints: [internal], path_prefix: /_matrix/federation, status: 403 }] }]\ntimeouts: { initial_sync: 0 }\n"
	if got := askFile(t, internal, "validate"); strings.Contains(got, "closes") || strings.Contains(got, "initial_sync") {
		t.Error(got)
	}
	hinted := site + "{ name: x, hosts: [matrix.example.com, example.com], path_prefix: /_matrix/federation/v1/publicRooms, status: 403 }] }]\n"
	if cfg, _, err := load(func() string {
		file := filepath.Join(t.TempDir(), "c.yaml")
		os.WriteFile(file, []byte(hinted), 0o600)
		return file
	}()); err != nil || strings.Join(managed(cfg), " ") != "matrix.example.com" {
		t.Errorf("%v %v", err, managed(cfg))
	}
}
