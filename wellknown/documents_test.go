package wellknown

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vestibule/configs"
)

func noHeader(string) string { return "" }

// plainSite federates and has nothing but Synapse.
func plainSite() *configs.Site {
	return &configs.Site{
		ServerName: "example.com",
		Host:       "matrix.example.com",
		Federation: configs.Federation{
			With: configs.FederationPolicy{All: true}, Host: "matrix.example.com", Port: 8448, Delegation: "well_known",
		},
	}
}

// fullSite has all that shows in a document.
func fullSite() *configs.Site {
	site := plainSite()
	site.MAS = &configs.MAS{Host: "auth.example.com", Path: "/"}
	site.ElementCall = &configs.ElementCall{JWTPath: "/livekit-jwt-service"}
	site.Ketesa = &configs.Ketesa{Host: "matrix.example.com", Path: "/synapse-admin"}
	return site
}

func TestGolden(t *testing.T) {
	merged := fullSite()
	merged.WellKnown = configs.WellKnownDocuments{
		Client: object{
			"m.homeserver":                object{"base_url": "https://example.com/behind"},
			"m.identity_server":           object{"base_url": "https://vector.im"},
			"cc.etke.ketesa":              object{"externalAuthProvider": nil, "menu": []any{object{"label": "Aide & <docs>", "url": "https://example.com/?a=1&b=2"}}},
			"io.element.e2ee":             map[any]any{"force_disable": true, 1: 1.5},
			"m.tile_server":               nil,
			"org.example.new":             object{"kept": "é", "gone": nil},
			"org.matrix.msc4143.rtc_foci": nil,
		},
		Server: object{"m.server": "federation.example.com:443", "org.example.note": "hello"},
		Support: object{
			"contacts":     []any{object{"role": "m.role.admin", "matrix_id": "@admin:example.com", "email_address": "admin@example.com"}},
			"support_page": "https://example.com/aide",
		},
	}
	underPath := fullSite()
	underPath.MAS = &configs.MAS{Path: "/auth"}
	migrating := fullSite()
	migrating.MAS.Migrating = true
	port := &configs.Config{}
	port.Entrypoints.HTTPS.PublicPort = 8443
	usual := &configs.Config{}
	usual.Entrypoints.HTTPS.PublicPort = 443
	usual.Entrypoints.HTTPS.Addresses = []configs.Address{":8443"}
	nobody, callers := plainSite(), fullSite()
	nobody.Federation.With, callers.Federation.With = configs.FederationPolicy{}, configs.FederationPolicy{}
	ipv6 := plainSite()
	ipv6.Host, ipv6.Federation.Host, ipv6.Federation.Port = "[::1]", "[::1]", 18448

	for _, c := range []struct {
		golden string
		cfg    *configs.Config
		site   *configs.Site
	}{
		{"plain", &configs.Config{}, plainSite()},
		{"plain", usual, plainSite()},
		{"full", &configs.Config{}, fullSite()},
		{"port", port, fullSite()},
		{"path", port, underPath},
		{"migrating", &configs.Config{}, migrating},
		{"merged", &configs.Config{}, merged},
		{"address", port, ipv6},
		{"nobody", &configs.Config{}, nobody},
		{"full", &configs.Config{}, callers},
	} {
		docs, err := New(c.cfg, c.site)
		if err != nil {
			t.Errorf("%s: %v", c.golden, err)
			continue
		}
		for _, document := range []string{Client, Server, Support} {
			compare(t, c.golden+"."+document+".json", docs.Answer(http.MethodGet, document, noHeader))
		}
	}
}

// compare holds an answer against a file, whose absence means 404.
func compare(t *testing.T, golden string, got Answer) {
	t.Helper()
	want, err := os.ReadFile(filepath.Join("testdata", golden))
	if os.IsNotExist(err) {
		if got.Status != http.StatusNotFound {
			t.Errorf("%s: there is no such file, and yet:\n%s", golden, got.Body)
		}
		return
	}
	if err != nil || got.Status != http.StatusOK || !bytes.Equal(got.Body, want) {
		t.Errorf("%s: %d (%v)\n%s", golden, got.Status, err, got.Body)
	}
}

// The operator's own maps stay as they were: a reload merges them again.
func TestMergeLeavesItsArgumentsAlone(t *testing.T) {
	site := fullSite()
	site.WellKnown.Client = object{"m.homeserver": object{"extra": object{"a": 1}}}
	before, err := json.Marshal(site.WellKnown.Client)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		docs, err := New(&configs.Config{}, site)
		if err != nil {
			t.Fatal(err)
		}
		if body := docs.Answer("GET", Client, noHeader).Body; !bytes.Contains(body, []byte("base_url")) || !bytes.Contains(body, []byte("extra")) {
			t.Errorf("not merged: %s", body)
		}
	}
	if after, _ := json.Marshal(site.WellKnown.Client); !bytes.Equal(before, after) {
		t.Errorf("%s became %s", before, after)
	}
}

func TestMistakes(t *testing.T) {
	for want, own := range map[string]configs.WellKnownDocuments{
		"well_known.client: m.homeserver is missing, and clients cannot do without it (hint: it may not be null)":                                    {Client: object{"m.homeserver": nil}},
		`well_known.client: m.homeserver.base_url: is not a string (hint: write a URL such as "https://matrix.example.com")`:                         {Client: object{"m.homeserver": "https://matrix.example.com"}},
		`well_known.client: m.homeserver.base_url: "matrix.example.com" is not an absolute URL (hint: write it as "https://matrix.example.com")`:     {Client: object{"m.homeserver": object{"base_url": "matrix.example.com"}}},
		`well_known.client: m.homeserver.base_url: "matrix.example.com:443" is not an absolute URL (hint: write it as "https://matrix.example.com")`: {Client: object{"m.homeserver": object{"base_url": "matrix.example.com:443"}}},
		`well_known.client: m.homeserver.base_url: "https://matrix.example.com/?a" has more than a scheme, a host, a port and a path`:                {Client: object{"m.homeserver": object{"base_url": "https://matrix.example.com/?a"}}},
		`well_known.client: m.identity_server.base_url: is not a string (hint: write a URL such as "https://matrix.example.com")`:                    {Client: object{"m.identity_server": object{}}},
		`well_known.client.a.b[1]: 2026-01-02 00:00:00 +0000 UTC is not something JSON can hold (hint: put it in quotes)`:                            {Client: object{"a": object{"b": []any{1, time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)}}}},
		"well_known.client.a: NaN is not a number JSON can hold":                                                                                     {Client: object{"a": math.NaN()}},
		"well_known.client: the document is 51315 bytes long, and Synapse reads no more than 51200 (hint: remove keys)":                              {Client: object{"a": strings.Repeat("x", 51231)}},
		`well_known.server: m.server is not a string (hint: write "matrix.example.com:8448"; to publish nothing, set federation.delegation to none)`: {Server: object{"m.server": nil}},
		`well_known.server: m.server: "https://matrix.example.com" has a scheme (hint: write "matrix.example.com:8448")`:                             {Server: object{"m.server": "https://matrix.example.com"}},
		`well_known.support: has neither contacts nor support_page (hint: add one of them, or remove well_known.support)`:                            {Support: object{"contacts": []any{}}},
		`well_known.support: contacts is not a list`:                                                                            {Support: object{"contacts": object{}}},
		`well_known.support: contacts[0]: has neither matrix_id nor email_address`:                                              {Support: object{"contacts": []any{object{"role": "m.role.admin"}}}},
		`well_known.support: contacts[0]: has no role (hint: "m.role.admin" or "m.role.security")`:                              {Support: object{"contacts": []any{"admin@example.com"}}},
		`well_known.support: support_page: "example.com" is not an absolute URL (hint: write it as "https://example.com/help")`: {Support: object{"support_page": "example.com"}},
	} {
		site := plainSite()
		site.WellKnown = own
		if _, err := New(&configs.Config{}, site); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

func TestNoDelegation(t *testing.T) {
	for name, change := range map[string]func(*configs.Federation){
		"delegation none": func(f *configs.Federation) { f.Delegation = "none" },
		"delegation srv":  func(f *configs.Federation) { f.Delegation = "srv" },
		"with none":       func(f *configs.Federation) { f.With = configs.FederationPolicy{} },
	} {
		site := plainSite()
		change(&site.Federation)
		docs, err := New(&configs.Config{}, site)
		if err != nil {
			t.Fatal(err)
		}
		if got := docs.Answer("GET", Server, noHeader).Status; got != http.StatusNotFound {
			t.Errorf("%s: %d", name, got)
		}
		site.WellKnown.Server = object{"m.server": "a.example.com:1"}
		if _, err := New(&configs.Config{}, site); err == nil || !strings.Contains(err.Error(), "does not delegate federation") ||
			strings.Contains(err.Error(), "federation.with") != (name == "with none") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A site that federates with nobody is still announced to the services that ask
// it who a user is.
func TestAnnouncedForOpenID(t *testing.T) {
	call := &configs.ElementCall{JWTPath: "/livekit-jwt-service"}
	for _, c := range []struct {
		with   configs.FederationPolicy
		openID string
		call   *configs.ElementCall
		status int
	}{
		{configs.FederationPolicy{}, "auto", nil, http.StatusNotFound},
		{configs.FederationPolicy{}, "auto", call, http.StatusOK},
		{configs.FederationPolicy{}, "open", nil, http.StatusOK},
		{configs.FederationPolicy{}, "closed", call, http.StatusNotFound},
		{configs.FederationPolicy{Servers: []string{"*.example.org"}}, "auto", nil, http.StatusOK},
		{configs.FederationPolicy{Servers: []string{"*.example.org"}}, "closed", nil, http.StatusOK},
		{configs.FederationPolicy{All: true}, "closed", nil, http.StatusOK},
	} {
		site := plainSite()
		site.Federation.With, site.Federation.OpenID, site.ElementCall = c.with, c.openID, c.call
		docs, err := New(&configs.Config{}, site)
		if err != nil {
			t.Fatal(err)
		}
		if got := docs.Answer("GET", Server, noHeader).Status; got != c.status {
			t.Errorf("with %v, openid %s, element_call %t: %d, want %d", c.with, c.openID, c.call != nil, got, c.status)
		}
		site.Federation.Delegation = "srv"
		if docs, err = New(&configs.Config{}, site); err != nil || docs.Answer("GET", Server, noHeader).Status != http.StatusNotFound {
			t.Errorf("with %v and SRV records: %v", c.with, err)
		}
	}
}

func TestServerName(t *testing.T) {
	good := func(name string) {
		if err := checkServerName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	bad := func(name string) {
		if checkServerName(name) == nil {
			t.Errorf("%q is accepted", name)
		}
	}
	good("matrix.example.com")
	good("matrix.example.com:8448")
	good("Matrix.Example.com:1")
	good("localhost:65535")
	good("192.0.2.1:443")
	good("[2001:db8::1]")
	good("[2001:db8::1]:8448")
	good("xn--bcher-kva.example")
	bad("")
	bad(":8448")                      // no host
	bad("matrix.example.com:")        // empty port
	bad("matrix.example.com:0")       // no such port
	bad("matrix.example.com:65536")   // out of range
	bad("matrix.example.com:+443")    // digits only
	bad("matrix.example.com:http")    // digits only
	bad("2001:db8::1")                // brackets are needed
	bad("[2001:db8::1")               // one is not enough
	bad("[192.0.2.1]")                // not IPv6
	bad("[fe80::1%25eth0]")           // a zone is of this machine
	bad("[]")                         // nothing inside
	bad("matrix.example.com/path")    // not a URL
	bad("https://matrix.example.com") // not a URL either
	bad("matrix_1.example.com")       // no underscores in the grammar
	bad("bücher.example")             // ASCII only
	bad(strings.Repeat("a", 256))     // longer than a DNS name
}

// Whatever is accepted stands in the authority of a URL, as peers will use it.
func FuzzServerName(f *testing.F) {
	for _, seed := range []string{"matrix.example.com:8448", "[2001:db8::1]:443", "[::1]", "a:", "a/b", "a@b", "[fe80::1%25a]", "é"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if checkServerName(name) != nil {
			return
		}
		parsed, err := url.Parse("https://" + name + "/")
		if err != nil || parsed.Host != name || parsed.Path != "/" || parsed.User != nil {
			t.Errorf("%q is accepted, and is in a URL %+v (%v)", name, parsed, err)
		}
	})
}

// The presets lead to documents that clients find their way by.
func TestPresets(t *testing.T) {
	presets, err := filepath.Glob("../configs/presets/*.yaml")
	if err != nil || len(presets) == 0 {
		t.Fatalf("%d presets (%v)", len(presets), err)
	}
	for _, preset := range presets {
		cfg, problems := configs.Load(preset)
		if cfg == nil {
			t.Errorf("%v", problems)
			continue
		}
		for _, site := range cfg.Sites {
			docs, err := New(cfg, site)
			if err != nil {
				t.Errorf("%s: %v", preset, err)
				continue
			}
			body := docs.Answer(http.MethodGet, Client, noHeader).Body
			if want := `"base_url": "https://` + site.Host + `"`; !bytes.Contains(body, []byte(want)) {
				t.Errorf("%s: no %s in\n%s", preset, want, body)
			}
		}
	}
}
