package routing

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"vestibule/configs"
)

func TestParseRelease(t *testing.T) {
	good := func(text string, want Release) {
		t.Helper()
		if got, err := ParseRelease(text); err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	bad := func(text string) {
		t.Helper()
		if got, err := ParseRelease(text); err == nil || !got.IsZero() || !strings.Contains(err.Error(), "(hint: ") {
			t.Errorf("%.50q is %v, %v", text, got, err)
		}
	}
	good("1.163", Release{1, 163})
	good("1.163.2", Release{1, 163})
	good("1.164.0rc1", Release{1, 164})
	good("1.157.1+16", Release{1, 157})
	good("1.157.1+bookworm1", Release{1, 157}) // Debian's
	good("1.163.2 (b=main,958480a,dirty)", Release{1, 163})
	good("1.148.0.dev0", Release{1, 148})
	good("2.0", Release{2, 0})
	bad("")
	bad("1")
	bad("1.")
	bad("1.x")
	bad("1.163rc")                               // a candidate has a number
	bad("1.163.2 ")                              // a space, and nothing
	bad(" 1.163.2")                              // likewise
	bad("v1.163.2")                              // a tag of git, not a version
	bad("Synapse/1.163.2")                       // a whole header field
	bad("1.163.2 (b=(main))")                    // brackets in brackets
	bad("1.163.2\n")                             // nothing follows
	bad("-1.163")                                // a sign
	bad("1.9999999")                             // no release
	bad("1.163.2 (" + strings.Repeat("a", 300))  // no end
	bad("1.163.2+" + strings.Repeat("a", 1000))  // longer than anybody writes
	bad("1.163.2 (b=\x1b[31m)")                  // signs that do something to a terminal
	bad(strings.Repeat("1.", 1000) + "163.2abc") // nonsense
}

func TestReleaseOrder(t *testing.T) {
	order := []Release{{}, {0, 34}, {1, 9}, {1, 152}, {1, 163}, {2, 0}}
	for i, a := range order {
		for j, b := range order {
			if a.Newer(b) != (i > j) {
				t.Errorf("%s newer than %s: %t", a, b, a.Newer(b))
			}
		}
	}
	if (Release{}).lacks(Release{1, 999}) {
		t.Error("of a release that nobody knows nothing is known to be missing")
	}
	if got := (Release{}).String(); got != "unknown" {
		t.Errorf("the zero value is %q", got)
	}
}

func FuzzRelease(f *testing.F) {
	for _, text := range []string{"1.163.2", "1.164.0rc1", "1.157.1+16", "1.163.2 (b=main,958480a)", "1.2.3.4", "99999999.1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRelease(text)
		if err != nil {
			if !r.IsZero() {
				t.Fatalf("%q is no release, and %v", text, r)
			}
			return
		}
		if again, err := ParseRelease(r.String()); err != nil && !r.IsZero() || again != r {
			t.Fatalf("%q is %s, which is %v, %v", text, r, again, err)
		}
	})
}

// TestCatalogueRelease holds the line "checked", whose end the pages name too.
func TestCatalogueRelease(t *testing.T) {
	oldest, newest := CatalogueOldest(), CatalogueRelease()
	if oldest.IsZero() || !newest.Newer(oldest) {
		t.Fatalf("checked from %s to %s", oldest, newest)
	}
	c, err := synapse()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range c.rows {
		for _, p := range r.classes {
			if !p.since.IsZero() && (!p.since.Newer(oldest) || p.since.Newer(newest)) {
				t.Errorf("%s: since %s is not after %s and up to %s", r.rule.Place, p.since, oldest, newest)
			}
		}
	}
	requirements, err := os.ReadFile("../integration/requirements.txt")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(requirements), "\nmatrix-synapse=="+newest.String()+".") {
		t.Errorf("the catalogue was checked against %s, and the laboratory has another Synapse", newest)
	}
}

// everyClass is a site with a process of every class.
func everyClass(serverName string) *configs.Site {
	site := &configs.Site{
		ServerName: serverName, Host: "matrix." + serverName, AdminAPI: configs.AdminAPI{Public: true},
		Federation: configs.Federation{With: configs.FederationPolicy{All: true}, OpenID: "auto"},
		Synapse: configs.Synapse{
			Main: &configs.Upstream{URL: "http://main:8008"}, Federation: &configs.Upstream{URL: "http://main:8048"},
			Workers: make(configs.Workers),
		},
	}
	for _, class := range configs.WorkerClasses {
		site.Synapse.Workers[class] = []configs.Upstream{{URL: "http://worker:8008"}}
	}
	return site
}

func TestNewFor(t *testing.T) {
	catalogue, err := parseCatalogue(`
		GET  /_matrix/client/v1/old/{room}    {room}  [room] client_reader generic
		GET  /_matrix/client/v1/new/{room}    {room}  [room] client_reader generic         since 1.153
		PUT  /_matrix/client/v1/typing              -  stream:typing!                       since 1.153
		GET  /_matrix/federation/v1/new          uri  federation_reader generic    remote  since 1.153
		POST /_synapse/admin/v1/quarantine          -  stream:quarantined_media_changes!@1.152 media!
		*    /_matrix/**                            -  main
		*    /_synapse/admin/**                     -  main
	`)
	if err != nil {
		t.Fatal(err)
	}
	cfg := configs.Default()
	cfg.Sites = []*configs.Site{everyClass("old.example"), everyClass("new.example"), everyClass("unknown.example")}
	running := map[string]Release{"old.example": {1, 140}, "new.example": {1, 153}, "elsewhere.example": {1, 1}}
	table, err := newTable(cfg, running, catalogue)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(method, site, path string, class, endpoint configs.Class, upstream, lost string) {
		t.Helper()
		r := Request{Method: method, Host: "matrix." + site, Target: path, Client: netip.MustParseAddr("198.51.100.7")}
		e := table.Explain(&r)
		d := e.Decision
		if d.Class != class || d.Endpoint != endpoint || d.Pool.Upstreams[0].URL != upstream {
			t.Errorf("%s%s: class %s, endpoint %s at %s; want %s, %s at %s", site, path, d.Class, d.Endpoint, d.Pool.Upstreams[0].URL, class, endpoint, upstream)
		}
		if class == configs.ClassMain && len(d.Spares) > 0 {
			t.Errorf("%s%s: %s can stand in for the main process", site, path, d.Spares[0].Name)
		}
		if got := wasLost(e, "Synapse"); got != (lost != "") || !wasLost(e, lost) && lost != "" {
			t.Errorf("%s%s: lost %s\nwant %q", site, path, describe(e.Lost), lost)
		}
	}
	const tooNew = "since Synapse 1.153, and 1.140 runs here"
	const worker, main = "http://worker:8008", "http://main:8008"
	expect("GET", "old.example", "/_matrix/client/v1/old/x", "client_reader", "client_reader", worker, "")
	expect("GET", "old.example", "/_matrix/client/v1/new/x", "main", "client_reader", main, "synapse/client_reader: "+tooNew)
	expect("GET", "old.example", "/_matrix/client/v1/new/!x", "main", "client_reader", main, tooNew)
	expect("PUT", "old.example", "/_matrix/client/v1/typing", "main", "stream:typing", main, tooNew)
	expect("GET", "old.example", "/_matrix/federation/v1/new", "main", "federation_reader", "http://main:8048", tooNew)
	for _, site := range []string{"new.example", "unknown.example"} {
		expect("GET", site, "/_matrix/client/v1/new/x", "client_reader", "client_reader", worker, "")
		expect("GET", site, "/_matrix/client/v1/new/!x", "room", "client_reader", worker, "")
		expect("PUT", site, "/_matrix/client/v1/typing", "stream:typing", "stream:typing", worker, "")
		expect("GET", site, "/_matrix/federation/v1/new", "federation_reader", "federation_reader", worker, "")
		expect("POST", site, "/_synapse/admin/v1/quarantine", "stream:quarantined_media_changes", "stream:quarantined_media_changes", worker, "")
	}
	// A class that is too new leaves the request to the next one.
	expect("POST", "old.example", "/_synapse/admin/v1/quarantine", "media", "stream:quarantined_media_changes", worker,
		"since Synapse 1.152, and 1.140 runs here")
}

// TestNewForTheCatalogue: New is NewFor without releases, and one row goes with
// the release.
func TestNewForTheCatalogue(t *testing.T) {
	cfg := configs.Default()
	cfg.Sites = []*configs.Site{everyClass("example.com")}
	r := Request{Method: "GET", Host: "matrix.example.com", Target: "/_matrix/client/v1/room_summary/x"}
	for release, want := range map[Release]configs.Class{{}: "client_reader", {1, 152}: "main", {1, 153}: "client_reader"} {
		table, err := NewFor(cfg, map[string]Release{"example.com": release})
		if err != nil {
			t.Fatal(err)
		}
		var d Decision
		if table.Match(&r, &d); d.Class != want || d.Rule.Since != (Release{1, 153}) {
			t.Errorf("with Synapse %s: class %s since %s, want %s", release, d.Class, d.Rule.Since, want)
		}
	}
	table, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var d Decision
	if table.Match(&r, &d); d.Class != "client_reader" {
		t.Errorf("New: class %s", d.Class)
	}
}
