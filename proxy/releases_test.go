package proxy

import (
	"fmt"
	"strings"
	"testing"

	"vestibule/routing"
)

// TestReleases: the table follows the release that the main process says it runs,
// across reloads too; one that nobody knows is told in the log and the metrics.
func TestReleases(t *testing.T) {
	main, reader := newProbeable(t, "main", "1.140.0"), newProbeable(t, "reader", "1.140.0")
	f := &front{t: t, probed: true}
	site := workers(main.backend, "client_reader", reader.url())
	f.open(f.load(site))
	c := f.client(f.https, true)
	who := func(path string) string {
		_, text := do(t, c, "GET", "https://matrix.example.com"+path, nil)
		return text
	}
	const summary, members = "/_matrix/client/v1/room_summary/x", "/_matrix/client/v3/rooms/!a/members" // since 1.153, since ever
	eventually(t, "the release is known", func() bool { return f.proxy.Synapse("example.com").Release == "1.140.0" })
	eventually(t, "the table follows", func() bool { return who(summary) == "main" })
	if by := who(members); by != "reader" {
		t.Errorf("%q answers what 1.140 knows", by)
	}
	if err := f.proxy.Apply(f.load(site), nil); err != nil {
		t.Fatal(err)
	}
	if by := who(summary); by != "main" {
		t.Errorf("after a reload %q answers what 1.140 does not know", by)
	}
	upgrade := func(release string) {
		t.Helper()
		main.release.Store(&release)
		f.proxy.state.Load().pools[0].upstreams[0].probe(t.Context(), f.proxy.noticed)
		if got := f.proxy.Synapse("example.com").Release; got != release {
			t.Errorf("%s runs, %q is known", release, got)
		}
	}
	upgrade("1.163.2")
	if by := who(summary); by != "reader" {
		t.Errorf("after an upgrade %q answers", by)
	}
	if s := f.proxy.Synapse("example.com"); s.Warning != "" {
		t.Errorf("a release that is known: %s", s.Warning)
	}
	next := routing.CatalogueRelease()
	next.Minor++
	upgrade(next.String() + ".0rc1")
	if s := f.proxy.Synapse("example.com"); !strings.Contains(s.Warning, "upgrade vestibule") || strings.Count(f.messages.String(), "does not fit") != 1 {
		t.Errorf("a release of tomorrow: %q; the log: %s", s.Warning, f.messages)
	}
	if n := gauge(t, f, "vestibule_catalogue_outdated"); n != 1 {
		t.Errorf("the metric is %v", n)
	}
	old := routing.CatalogueOldest()
	old.Minor--
	upgrade(old.String() + ".1")
	if s := f.proxy.Synapse("example.com"); !strings.Contains(s.Warning, "upgrade Synapse") {
		t.Errorf("a release of yesterday: %q", s.Warning)
	}
	for _, nonsense := range []string{"", "x", "1", "9999999999.1"} {
		main.release.Store(&nonsense)
		f.proxy.state.Load().pools[0].upstreams[0].probe(t.Context(), f.proxy.noticed)
	}
	if by := who(members); by != "reader" {
		t.Errorf("after nonsense %q answers", by)
	}
}

// TestOldestRelease: of several processes the one that knows the fewest endpoints
// counts.
func TestOldestRelease(t *testing.T) {
	main := newProbeable(t, "main", "1.9.0")
	f := &front{t: t, probed: true}
	f.open(f.load(fmt.Sprintf("sites:\n  - server_name: example.com\n    synapse: { main: %q, federation: %q }\n",
		newProbeable(t, "federation", "1.163.2").url(), main.url())))
	eventually(t, "both are known", func() bool { return f.proxy.Synapse("example.com").Release == "1.9.0" })
}
