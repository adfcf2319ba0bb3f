package routing

import (
	"strings"
	"testing"

	"vestibule/configs"
)

// plainConfig is a site as configs.Load would leave it.
func plainConfig() *configs.Config {
	cfg := configs.Default()
	cfg.Sites = []*configs.Site{{
		ServerName: "example.com", Host: "matrix.example.com",
		Synapse: configs.Synapse{Main: &configs.Upstream{URL: "http://main:8008"}},
	}}
	return cfg
}

func upstream(url string) *configs.Upstream { return &configs.Upstream{URL: url} }

func routeTo(name, path, prefix string, line int, methods ...string) configs.Route {
	return configs.Route{
		Name: name, Path: path, PathPrefix: prefix, Methods: methods,
		Upstreams: []configs.Upstream{{URL: "http://" + name + ":80"}},
		Place:     configs.Place{File: "vestibule.yaml", Line: line, Column: 9},
	}
}

func TestNewRefusesTies(t *testing.T) {
	bad := func(want string, change func(*configs.Config, *configs.Site)) {
		t.Helper()
		cfg := plainConfig()
		change(cfg, cfg.Sites[0])
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	bad("vestibule.yaml:8:9: route b takes the same requests as a at vestibule.yaml:7:9", func(_ *configs.Config, s *configs.Site) {
		s.Routes = []configs.Route{routeTo("a", "/x", "", 7), routeTo("b", "/x", "", 8, "GET")}
	})
	// A slash at its end does not make another prefix.
	bad("route b takes the same requests as a", func(_ *configs.Config, s *configs.Site) {
		s.Routes = []configs.Route{routeTo("a", "", "/x", 7), routeTo("b", "", "/x/", 8)}
	})
	bad("the host matrix.example.com belongs to the site example.com", func(cfg *configs.Config, _ *configs.Site) {
		second := plainConfig().Sites[0]
		second.ServerName = "second.example"
		cfg.Sites = append(cfg.Sites, second)
	})
	bad("element and ntfy both take the whole host", func(_ *configs.Config, s *configs.Site) {
		s.Element = &configs.WebApp{Host: "app.example.com", Path: "/", Upstream: upstream("http://e:80")}
		s.Ntfy = &configs.WebApp{Host: "app.example.com", Path: "/", Upstream: upstream("http://n:80")}
	})
	bad("takes the same requests as element", func(_ *configs.Config, s *configs.Site) {
		s.Element = &configs.WebApp{Host: s.Host, Path: "/app", Upstream: upstream("http://e:80")}
		s.Ntfy = &configs.WebApp{Host: s.Host, Path: "/app", Upstream: upstream("http://n:80")}
	})
	bad("mas has no upstream", func(_ *configs.Config, s *configs.Site) {
		s.MAS = &configs.MAS{Host: s.Host, Path: "/auth"}
	})
	bad("error parsing regexp", func(_ *configs.Config, s *configs.Site) {
		s.Routes = []configs.Route{{Name: "r", PathRegexp: "(", Status: 404}}
	})
}

func TestNewAcceptsWhatMethodsAndPrioritiesTellApart(t *testing.T) {
	cfg := plainConfig()
	high := routeTo("high", "/x", "", 9, "GET")
	high.Priority = 1
	cfg.Sites[0].Routes = []configs.Route{
		routeTo("get", "/x", "", 7, "GET"), routeTo("put", "/x", "", 8, "PUT"), high, routeTo("prefix", "", "/x", 10),
	}
	if _, err := New(cfg); err != nil {
		t.Error(err)
	}
}

// Element Web may have the site's host to itself; Synapse's paths come first.
func TestWholeHostAfterSynapse(t *testing.T) {
	cfg := plainConfig()
	cfg.Entrypoints.HTTPS.PublicPort = 8443
	site := cfg.Sites[0]
	site.Element = &configs.WebApp{Host: site.Host, Path: "/", Upstream: upstream("http://element:80")}
	table, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]configs.Class{
		"/":                         configs.ClassElement,
		"/config.json":              configs.ClassElement,
		"/_matrix/client/versions":  configs.ClassMain,
		"/.well-known/matrix/other": configs.ClassElement,
		"/health":                   configs.ClassNotFound,
	} {
		var d Decision
		table.Match(&Request{Method: "GET", Host: site.Host, Target: target}, &d)
		if d.Class != want {
			t.Errorf("%s: %s, want %s", target, d.Class, want)
		}
	}
}

// Behind a mapped port, Element's address is the one clients see.
func TestRootNamesPublicPort(t *testing.T) {
	cfg := plainConfig()
	cfg.Entrypoints.HTTPS.PublicPort = 8443
	cfg.Sites[0].Element = &configs.WebApp{Host: "[::1]", Path: "/element/", Upstream: upstream("http://element:80")}
	table, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var d Decision
	table.Match(&Request{Method: "GET", Host: "matrix.example.com", Target: "/"}, &d)
	if want := "https://[::1]:8443/element/"; d.Location != want {
		t.Errorf("to %q, want %q", d.Location, want)
	}
}

func TestPoolsAreCounted(t *testing.T) {
	table := loadTable(t, "testdata/hosts.yaml")
	for i, pool := range table.Pools {
		if pool.Index != i || len(pool.Upstreams) == 0 || !strings.HasPrefix(pool.Name, pool.Site+"/") {
			t.Errorf("pool %d: %+v", i, pool)
		}
	}
}
