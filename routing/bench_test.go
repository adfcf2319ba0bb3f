package routing

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"

	"vestibule/configs"
)

// corpusRequests are the requests of one-of-each in the corpus that reach
// Synapse or a component, over all hosts.
func corpusRequests(t testing.TB) []Request {
	var requests []Request
	for _, row := range readCorpus(t) {
		if row.preset == "one-of-each" && row.class != "deny" {
			requests = append(requests, row.request)
		}
	}
	return requests
}

// withRoutes adds n routes, half exact and half by prefix, over ten hosts and
// Synapse's own, beginning as Synapse's paths do and otherwise.
func withRoutes(t testing.TB, n int) *configs.Config {
	t.Helper()
	cfg, problems := configs.Load(filepath.Join("..", "configs", "presets", "one-of-each.yaml"))
	if cfg == nil {
		t.Fatal(problems)
	}
	site := cfg.Sites[0]
	for i := range n {
		rt := configs.Route{
			Name: fmt.Sprintf("r%d", i), Entrypoints: []string{"https"}, Hosts: []string{site.Host},
			Upstreams: []configs.Upstream{{URL: "http://app:80"}},
		}
		if i%4 >= 2 {
			rt.Hosts = []string{fmt.Sprintf("app%d.example.com", i%10)}
		}
		path := fmt.Sprintf("/app%d/part%d/page", i%97, i)
		if i%3 == 0 {
			path = fmt.Sprintf("/_matrix/client/v3/app%d", i)
		}
		if i%2 == 0 {
			rt.Path = path
		} else {
			rt.PathPrefix = path
		}
		site.Routes = append(site.Routes, rt)
	}
	return cfg
}

func BenchmarkMatchKeyPick(b *testing.B) {
	requests := corpusRequests(b)
	for _, n := range []int{20, 200, 2000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			table, err := New(withRoutes(b, n))
			if err != nil {
				b.Fatal(err)
			}
			pick := NewRendezvous([]string{"http://a:80", "http://b:80", "http://c:80", "http://d:80"}, nil)
			var d Decision
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				table.Match(&requests[i%len(requests)], &d)
				if d.Key.Kind != NoKey {
					pick.Rank(d.Key.Value, nil)
				}
			}
		})
	}
}

func BenchmarkNew(b *testing.B) {
	cfg := withRoutes(b, 2000)
	for b.Loop() {
		if _, err := New(cfg); err != nil {
			b.Fatal(err)
		}
	}
}

// federationRequests are admitted, or not, by a list of servers.
func federationRequests() []Request {
	send := func(origin string) Request {
		return Request{
			Method: "PUT", Host: "matrix.some.example:8448", Entrypoint: Federation, Target: "/_matrix/federation/v1/send/1",
			Authorization: []string{`X-Matrix origin="` + origin + `",destination="some.example",key="ed25519:a_1",sig="c2lnbmF0dXJl"`},
		}
	}
	key := Request{Method: "GET", Host: "matrix.some.example:8448", Entrypoint: Federation, Target: "/_matrix/key/v2/server"}
	nobody := Request{Method: "GET", Host: "matrix.nobody.example", Target: "/_matrix/federation/v1/version"}
	return []Request{send("partner.example"), send("a.friends.example"), send("192.0.2.7:8448"), send("stranger.example"), send("a/b"), key, nobody}
}

func BenchmarkMatchFederation(b *testing.B) {
	table, requests := loadTable(b, "testdata/federation.yaml"), federationRequests()
	var d Decision
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		table.Match(&requests[i%len(requests)], &d)
	}
}

func TestFederationAllocatesNothing(t *testing.T) {
	table := loadTable(t, "testdata/federation.yaml")
	var d Decision
	for _, r := range federationRequests() {
		if allocs := testing.AllocsPerRun(5, func() { table.Match(&r, &d) }); allocs != 0 {
			t.Errorf("%s %s %s: %v allocations", r.Method, r.Target, r.Authorization, allocs)
		}
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	table, err := New(withRoutes(t, 200))
	if err != nil {
		t.Fatal(err)
	}
	requests := corpusRequests(t)
	requests = append(requests,
		Request{Method: "PUT", Host: "matrix.example.com", Target: "/_matrix/federation/v1/send/1", Client: netip.MustParseAddr("2001:db8::1")},
		Request{Method: "GET", Host: "matrix.example.com", Target: "/_matrix/client/v3/sync?since=s1&access_token=syt_YWxpY2U%5f_x_y"},
	)
	pick := NewRendezvous([]string{"http://a:80", "http://b:80"}, []int{1, 3})
	var d Decision
	for _, r := range requests {
		allocs := testing.AllocsPerRun(5, func() {
			table.Match(&r, &d)
			if d.Key.Kind != NoKey {
				pick.Rank(d.Key.Value, func(i int) bool { return i == 0 })
			}
		})
		if allocs != 0 && d.Action != Redirect {
			t.Errorf("%s %s: %v allocations", r.Method, r.Target, allocs)
		}
	}
}
