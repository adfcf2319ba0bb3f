package configs

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func mustLoad(t *testing.T, path string) *Config {
	t.Helper()
	cfg, problems := Load(path)
	if cfg == nil {
		t.Fatalf("Load(%q):\n%s", path, problems.Error())
	}
	return cfg
}

// check compares values named by a line each.
func check(t *testing.T, got map[string]any, want map[string]any) {
	t.Helper()
	for name, value := range want {
		if !reflect.DeepEqual(got[name], value) {
			t.Errorf("%s: got %#v, want %#v", name, got[name], value)
		}
	}
}

// What the smallest file leaves unsaid.
func TestDefaults(t *testing.T) {
	cfg := mustLoad(t, "examples/minimal.yaml")
	site := cfg.Sites[0]
	check(t, map[string]any{
		"host":         site.Host,
		"main":         site.Synapse.Main.URL,
		"federation":   site.Synapse.Federation.URL,
		"weight":       site.Synapse.Main.Weight,
		"workers":      len(site.Synapse.Workers),
		"hold":         site.Synapse.Hold.Std(),
		"fed host":     site.Federation.Host,
		"fed port":     site.Federation.Port,
		"fed with":     site.Federation.With.All,
		"delegation":   site.Federation.Delegation,
		"openid":       site.Federation.OpenID,
		"https":        cfg.Entrypoints.HTTPS.Addresses,
		"https tls":    cfg.Entrypoints.HTTPS.TLS,
		"https site":   cfg.Entrypoints.HTTPS.DefaultSite,
		"admin":        cfg.Entrypoints.Admin.Addresses,
		"files":        cfg.Files,
		"response":     cfg.Timeouts.Response.Std(),
		"head":         cfg.Limits.Head,
		"compression":  cfg.Compression,
		"main's place": site.Synapse.Main.Place,
		"site's place": site.Place,
	}, map[string]any{
		"host":         "matrix.example.com",
		"main":         "http://matrix-synapse:8008",
		"federation":   "http://matrix-synapse:8048",
		"weight":       1,
		"workers":      0,
		"hold":         10 * time.Second,
		"fed host":     "matrix.example.com",
		"fed port":     8448,
		"fed with":     true,
		"delegation":   "well_known",
		"openid":       "auto",
		"https":        []Address{":443"},
		"https tls":    true,
		"https site":   "example.com",
		"admin":        []Address{"127.0.0.1:9180"},
		"files":        []string{"examples/minimal.yaml"},
		"response":     time.Minute,
		"head":         Size(65536),
		"compression":  true,
		"main's place": Place{"examples/minimal.yaml", 7, 24},
		"site's place": Place{"examples/minimal.yaml", 6, 5},
	})
}

// What a file says wins, in the form readers expect.
func TestEverything(t *testing.T) {
	cfg := mustLoad(t, "testdata/valid/everything.yaml")
	site, other := cfg.Sites[0], cfg.Sites[1]
	workers := site.Synapse.Workers
	_, generic := workers[ClassGeneric]
	check(t, map[string]any{
		"server_name":   site.ServerName,
		"host":          site.Host,
		"http":          len(cfg.Entrypoints.HTTP.Addresses),
		"tls":           cfg.Entrypoints.HTTPS.TLS,
		"default site":  cfg.Entrypoints.HTTPS.DefaultSite,
		"default other": cfg.Entrypoints.Federation.DefaultSite,
		"trusted":       fmt.Sprint(cfg.Entrypoints.Federation.TrustedProxies),
		"admins":        fmt.Sprint(cfg.Admins),
		"storage":       cfg.Certificates.Storage.Directory,
		"main":          site.Synapse.Main.Address(),
		"main name":     site.Synapse.Main.TLSName(),
		"federation":    site.Synapse.Federation.Network(),
		"generic":       generic,
		"media":         workers[ClassMedia][0].URL,
		"sync":          workers[ClassSync][0].URL,
		"sync weight":   workers[ClassSync][1].Weight,
		"typing":        workers[ClassStreamTyping],
		"hold":          site.Synapse.Hold.Std(),
		"max_upload":    site.Synapse.MaxUpload,
		"endpoints":     fmt.Sprint(cfg.Limits.Endpoints),
		"compression":   cfg.Compression,
		"stall":         cfg.Timeouts.Stall.Std(),
		"mas":           site.MAS.Host + site.MAS.Path,
		"element":       site.Element.Host + site.Element.Path,
		"ketesa":        site.Ketesa.Host + site.Ketesa.Path,
		"ntfy":          site.Ntfy.Host + site.Ntfy.Path,
		"jwt":           site.ElementCall.JWTPath,
		"sfu":           site.ElementCall.SFUPath,
		"fed port":      site.Federation.Port,
		"signal":        site.Bridges["signal"].URL,
		"numbers":       site.WellKnown.Client["example.numbers"],
		"old hosts":     site.Routes[0].Hosts,
		"hook prefix":   site.Routes[1].PathPrefix,
		"hook hosts":    site.Routes[1].Hosts,
		"hook place":    site.Routes[1].Place.Line,
		"first on":      site.Routes[2].Entrypoints,
		"other main":    other.Synapse.Federation.URL,
		"head":          cfg.Timeouts.Head.Std(),
		"idle":          cfg.Timeouts.Idle.Std(),
	}, map[string]any{
		"server_name":   "example.com",
		"host":          "matrix.example.com",
		"http":          0,
		"tls":           false,
		"default site":  "example.org",
		"default other": "example.com",
		"trusted":       "[10.0.0.1/32]",
		"admins":        "[192.0.2.0/28 2001:db8::1/128]",
		"storage":       "testdata/valid/data",
		"main":          "10.0.0.4:443",
		"main name":     "synapse.internal",
		"federation":    "unix",
		"generic":       false,
		"media":         "http://matrix-synapse-worker-media-repository-0:18551",
		"sync":          "http://10.0.0.5:8083",
		"sync weight":   2,
		"typing":        []Upstream{{URL: "http://10.0.0.5:8090", Weight: 1, Place: Place{"testdata/valid/everything.yaml", 28, 29}}},
		"hold":          time.Duration(0),
		"max_upload":    Size(50 << 20),
		"endpoints":     "map[initial_sync:{50 5s} route:hookshot:{2 0s}]",
		"compression":   false,
		"stall":         90 * time.Second,
		"mas":           "auth.example.com/",
		"element":       "matrix.example.com/element",
		"ketesa":        "matrix.example.com/synapse-admin",
		"ntfy":          "ntfy.example.com/",
		"jwt":           "/livekit-jwt-service",
		"sfu":           "/sfu",
		"fed port":      443,
		"signal":        "http://signal:8080",
		"numbers":       []any{int64(1), 2.5, true, nil, "text"},
		"old hosts":     []string{"old.example.com"},
		"hook prefix":   "/hookshot/webhooks",
		"hook hosts":    []string{"matrix.example.com"},
		"hook place":    46,
		"first on":      []string{"https", "federation"},
		"other main":    "http://synapse.example.org:8008",
		"head":          time.Duration(0),
		"idle":          3 * time.Minute,
	})
}

func TestCertificateNames(t *testing.T) {
	want := map[string]string{
		"examples/minimal.yaml": "matrix.example.com",
		"testdata/valid/everything.yaml": "*.apps.example.com auth.example.com example.com matrix.example.com matrix.example.org " +
			"ntfy.example.com old.example.com turn.example.com",
		"testdata/valid/server-name-port.yaml": "127.0.0.1 ::1 localhost",
	}
	for path, names := range want {
		if got := strings.Join(mustLoad(t, path).CertificateNames(), " "); got != names {
			t.Errorf("%s: got %s, want %s", path, got, names)
		}
	}
}

func TestSite(t *testing.T) {
	cfg := mustLoad(t, "testdata/valid/everything.yaml")
	if site := cfg.Site("EXAMPLE.org"); site != cfg.Sites[1] {
		t.Errorf("got %v", site)
	}
	if site := cfg.Site("example.net"); site != nil {
		t.Errorf("got %v for a site that does not exist", site)
	}
}

// A missing file keeps nobody from validating, but does keep a server from
// starting; other warnings stay warnings.
func TestStrict(t *testing.T) {
	_, problems := Load("testdata/valid/everything.yaml")
	if problems.Failed() {
		t.Errorf("failed: %s", problems.Error())
	}
	var errors []string
	for _, problem := range problems.Strict() {
		if !problem.Warning {
			errors = append(errors, problem.Key)
		}
	}
	if want := []string{"certificates.files[0].certificate", "certificates.files[0].key"}; !slices.Equal(errors, want) {
		t.Errorf("got %q, want %q", errors, want)
	}
	if problems.Failed() {
		t.Error("Strict changed what it was given")
	}
}

func TestFederationPortOff(t *testing.T) {
	cfg := loadFiles(t, map[string]string{"main.yaml": `
certificates: { issuer: internal }
entrypoints: { federation: { addresses: [] } }
sites: [ { server_name: example.com, synapse: { main: "http://synapse:8008" }, mas: { upstream: "http://mas:8080" } } ]
`})
	if port := cfg.Sites[0].Federation.Port; port != 443 {
		t.Errorf("port %d is advertised while 8448 is closed", port)
	}
	if path := cfg.Sites[0].MAS.Path; path != "/auth" {
		t.Errorf("MAS without a host of its own is at %s", path)
	}
}
