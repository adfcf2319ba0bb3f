package proxy

import (
	"bufio"
	"fmt"
	"net"
	"os"
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
		f.proxy.state.Load().pools[0].upstreams[0].probe(t.Context(), true, f.proxy.noticed)
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
		f.proxy.state.Load().pools[0].upstreams[0].probe(t.Context(), true, f.proxy.noticed)
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

// TestFollowKeepsUpstreams: that the table follows a release is no reload. What
// became of a ca_file meanwhile does not matter, and upstreams, with what is known
// of them, stay.
func TestFollowKeepsUpstreams(t *testing.T) {
	a := newAuthority(t)
	main, sync := newProbeable(t, "main", "1.163.2"), serveBackend(t, "sync", a.listen(t, "synapse.internal"))
	f := newFront(t, workers(main.backend, "sync",
		fmt.Sprintf("{ url: %q, ca_file: %q, server_name: synapse.internal }", strings.Replace(sync.url(), "http:", "https:", 1), a.file)))
	before := map[*Upstream]bool{}
	for _, u := range f.proxy.upstreams {
		before[u] = true
	}
	follows := func(release string) {
		t.Helper()
		old := f.proxy.state.Load()
		main.release.Store(&release)
		old.pools[0].upstreams[0].probe(t.Context(), true, f.proxy.noticed)
		now := f.proxy.state.Load()
		if now == old {
			t.Errorf("the table does not follow: %s", f.messages)
		}
		for _, p := range now.pools {
			if u := p.upstreams[0]; !before[u] {
				t.Errorf("%s is another upstream than before", u.Name)
			}
		}
	}
	follows("1.163.2")
	a.write(t)
	follows("1.150.0")
	if err := os.Remove(a.file); err != nil {
		t.Fatal(err)
	}
	follows("1.140.0")
}

// TestSiteIsGone: a site that a reload took away leaves nothing of its release.
func TestSiteIsGone(t *testing.T) {
	main := newProbeable(t, "main", "1.9.0")
	f := newFront(t, oneSite(main.backend, ""))
	f.proxy.state.Load().pools[0].upstreams[0].probe(t.Context(), true, f.proxy.noticed)
	if n := gauge(t, f, "vestibule_catalogue_outdated"); n != 1 {
		t.Fatalf("the metric is %v", n)
	}
	if err := f.proxy.Apply(f.load(strings.ReplaceAll(oneSite(newBackend(t, "other"), ""), "example.com", "example.net")), nil); err != nil {
		t.Fatal(err)
	}
	if n := len(f.proxy.releases); n != 0 {
		t.Errorf("%d releases are remembered", n)
	}
	families, err := f.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "vestibule_catalogue_outdated" {
			t.Errorf("the metric tells of %v", family.Metric)
		}
	}
}

// TestReleaseBehindAProxy: a proxy between that signs answers itself is asked for
// what stands behind it, once in a while.
func TestReleaseBehindAProxy(t *testing.T) {
	main := newBackend(t, "main")
	main.answers(func(w net.Conn, r *bufio.Reader, s seen) bool {
		body := "OK"
		if strings.HasPrefix(s.line, "GET /_matrix/federation/v1/version ") {
			body = `{"server":{"name":"Synapse","version":"1.999.0"}}`
		}
		fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		return true
	})
	f := &front{t: t, probed: true}
	f.open(f.load(oneSite(main, "")))
	eventually(t, "the release is known", func() bool { return f.proxy.Synapse("example.com").Release == "1.999.0" })
	if s := f.proxy.Synapse("example.com"); s.Warning == "" {
		t.Error("no warning")
	}
	u := f.proxy.state.Load().pools[0].upstreams[0]
	before, _ := main.count()
	u.probe(t.Context(), true, func() {})
	if after, _ := main.count(); after != before+1 {
		t.Errorf("%d questions in one probe", after-before)
	}
}
