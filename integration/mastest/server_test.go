package mastest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// fakeSynapse takes note of what it is told.
type fakeSynapse struct{ told []string }

func (f *fakeSynapse) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	status := http.StatusOK
	if r.Header.Get("Authorization") != "Bearer shared" {
		status = http.StatusForbidden
	}
	f.told = append(f.told, strings.TrimPrefix(r.URL.Path, "/_synapse/mas/")+" "+string(body))
	return &http.Response{StatusCode: status, Body: http.NoBody, Header: http.Header{}, Request: r}, nil
}

// bench is a server under /auth with a user alice, and who asks it.
type bench struct {
	*testing.T
	*Server
	synapse *fakeSynapse
	routes  http.Handler
}

func newBench(t *testing.T) *bench {
	t.Helper()
	synapse := &fakeSynapse{}
	s := newServer(Options{
		Prefix: "/auth", Public: "https://matrix.test/auth/", ServerName: "test", Homeserver: "http://synapse", Secret: "shared",
	}, synapse)
	if err := s.AddUser(t.Context(), "alice", "secret"); err != nil {
		t.Fatal(err)
	}
	return &bench{t, s, synapse, s.handler()}
}

// ask sends a request and wants a status; headers are pairs. What came in JSON is
// returned.
func (b *bench) ask(status int, method, target, body string, headers ...string) map[string]any {
	b.Helper()
	_, answer := b.exchange(status, method, target, body, headers...)
	return answer
}

func (b *bench) exchange(status int, method, target, body string, headers ...string) (http.Header, map[string]any) {
	b.Helper()
	request := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	recorder := httptest.NewRecorder()
	b.routes.ServeHTTP(recorder, request)
	if recorder.Code != status {
		b.Errorf("%s %s answers %d, want %d: %s", method, target, recorder.Code, status, recorder.Body)
	}
	answer := map[string]any{}
	if recorder.Header().Get("Content-Type") == "application/json" {
		if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil {
			b.Error(err)
		}
	}
	return recorder.Header(), answer
}

// introspected is what Synapse hears of a token.
func (b *bench) introspected(token string) map[string]any {
	b.Helper()
	return b.ask(200, "POST", "/auth/oauth2/introspect", url.Values{"token": {token}, "token_type_hint": {"access_token"}}.Encode(),
		"Content-Type", "application/x-www-form-urlencoded", "Authorization", "Bearer shared", "X-MAS-Supports-Device-Id", "1")
}

func (b *bench) wantActive(token string, want bool) {
	b.Helper()
	if got := b.introspected(token)["active"]; got != want {
		b.Errorf("introspection says active: %v, want %v", got, want)
	}
}

func TestTokens(t *testing.T) {
	for _, k := range []kind{oauthAccess, compatAccess, compatRefresh} {
		for range 200 {
			text := newToken(k)
			if got, ok := kindOf(text); got != k || !ok {
				t.Fatalf("%s is not recognised", text)
			}
		}
	}
	for _, text := range []string{
		"", "mat_", "mat_short_000000",
		"syt_" + strings.Repeat("a", 30) + "_000000",
		"mat_" + strings.Repeat("a", 30) + "_000000",                                      // another checksum
		"mct" + strings.TrimPrefix(newToken(oauthAccess), "mat"),                          // the checksum covers the kind
		newToken(oauthAccess) + "_",                                                       // a part too many
		"mxt_" + strings.Repeat("a", 30) + "_" + checksum("mxt_"+strings.Repeat("a", 30)), // no such kind
	} {
		if _, ok := kindOf(text); ok {
			t.Errorf("%q passes for a token", text)
		}
	}
}

func TestIntrospection(t *testing.T) {
	b := newBench(t)
	oauth, err := b.Issue(t.Context(), Grant{User: "alice", Device: "PHONE", Lifetime: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	said := b.introspected(oauth)
	if said["username"] != "alice" || said["active"] != true || said["device_id"] != nil ||
		!strings.Contains(said["scope"].(string), unstableDevice+"PHONE") || said["expires_in"].(float64) > 60 {
		t.Errorf("an OAuth token: %v", said)
	}
	compat, err := b.Issue(t.Context(), Grant{User: "alice", Device: "OLD PHONE", Compat: true})
	if err != nil {
		t.Fatal(err)
	}
	said = b.introspected(compat)
	if said["device_id"] != "OLD PHONE" || strings.Contains(said["scope"].(string), "device") || said["expires_in"] != nil {
		t.Errorf("a compat token: %v", said)
	}
	if b.Introspections() != 2 {
		t.Errorf("%d introspections were counted", b.Introspections())
	}
	b.wantActive(newToken(oauthAccess), false)
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	b.ask(401, "POST", "/auth/oauth2/introspect", "token="+oauth, form...)
	b.ask(401, "POST", "/auth/oauth2/introspect", "token="+oauth, append(form, "Authorization", "Bearer guess")...)
	b.ask(400, "POST", "/auth/oauth2/introspect", "", append(form, "Authorization", "Bearer shared")...)
	if _, err := b.Issue(t.Context(), Grant{User: "nobody", Device: "X"}); err == nil {
		t.Error("nobody has a token")
	}
	want := []string{`provision_user {"localpart":"alice"}`,
		`upsert_device {"device_id":"PHONE","localpart":"alice"}`, `upsert_device {"device_id":"OLD PHONE","localpart":"alice"}`}
	if !slices.Equal(b.synapse.told, want) {
		t.Errorf("Synapse was told %q", b.synapse.told)
	}
}

func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		first, err := b.Issue(t.Context(), Grant{User: "alice", Device: "PHONE", Lifetime: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * time.Second)
		second, err := b.Rotate(first)
		if err != nil {
			t.Fatal(err)
		}
		b.wantActive(first, false)
		b.wantActive(second, true)
		if _, err := b.Rotate(first); err == nil {
			t.Error("a token was rotated twice")
		}
		time.Sleep(9 * time.Second) // its life is its own
		b.wantActive(second, true)
		time.Sleep(2 * time.Second)
		b.wantActive(second, false)
	})
}

const passwordLogin = `{"type":"m.login.password","identifier":{"type":"m.id.user","user":"@alice:test"},"password":"secret","device_id":"D"`

func TestCompat(t *testing.T) {
	b := newBench(t)
	for _, version := range []string{"r0", "v3", "unstable"} {
		at := "/auth/_matrix/client/" + version
		if flows := b.ask(200, "GET", at+"/login", "")["flows"]; len(flows.([]any)) != 3 {
			t.Errorf("flows: %v", flows)
		}
		in := b.ask(200, "POST", at+"/login", passwordLogin+`,"refresh_token":true}`)
		if in["user_id"] != "@alice:test" || in["device_id"] != "D" || in["expires_in_ms"] != 300000.0 {
			t.Errorf("login: %v", in)
		}
		b.wantActive(in["access_token"].(string), true)
		renewed := b.ask(200, "POST", at+"/refresh", `{"refresh_token":"`+in["refresh_token"].(string)+`"}`)
		b.wantActive(in["access_token"].(string), false)
		b.wantActive(renewed["access_token"].(string), true)
		b.ask(401, "POST", at+"/refresh", `{"refresh_token":"`+in["refresh_token"].(string)+`"}`)
		bearer := []string{"Authorization", "Bearer " + renewed["access_token"].(string)}
		b.ask(200, "POST", at+"/logout", "", bearer...)
		b.wantActive(renewed["access_token"].(string), false)
		b.ask(401, "POST", at+"/logout", "", bearer...)
		b.ask(401, "POST", at+"/refresh", `{"refresh_token":"`+renewed["refresh_token"].(string)+`"}`)
	}
	at := "/auth/_matrix/client/v3"
	b.ask(403, "POST", at+"/login", strings.Replace(passwordLogin, `"secret"`, `"guess"`, 1)+"}")
	b.ask(403, "POST", at+"/login", strings.Replace(passwordLogin, "@alice:test", "@alice:elsewhere", 1)+"}")
	b.ask(400, "POST", at+"/login", `{"type":"m.login.dummy"}`)
	b.ask(400, "POST", at+"/login", "not JSON")
	b.ask(401, "POST", at+"/logout", "")
	b.ask(405, "GET", at+"/logout", "")
	b.ask(404, "GET", "/_matrix/client/v3/login", "") // without the prefix
	b.ask(404, "GET", "/auth/_matrix/client/v3/x/login", "")
	header, _ := b.exchange(200, "OPTIONS", at+"/logout", "", "Origin", "https://app.test", "Access-Control-Request-Method", "POST")
	if header.Get("Access-Control-Allow-Origin") != "*" || header.Get("Access-Control-Allow-Headers") == "" {
		t.Errorf("preflight: %v", header)
	}
	if last := b.synapse.told[len(b.synapse.told)-1]; last != `delete_device {"device_id":"D","localpart":"alice"}` {
		t.Errorf("Synapse was told %q at last", last)
	}
}

func TestLogoutAll(t *testing.T) {
	b := newBench(t)
	const at = "/auth/_matrix/client/v3"
	one := b.ask(200, "POST", at+"/login", passwordLogin+"}")["access_token"].(string)
	two := b.ask(200, "POST", at+"/login", strings.Replace(passwordLogin, `"D"`, `"E"`, 1)+"}")["access_token"].(string)
	oauth, err := b.Issue(t.Context(), Grant{User: "alice", Device: "F"})
	if err != nil {
		t.Fatal(err)
	}
	b.ask(404, "POST", at+"/logout/all", "{}", "Authorization", "Bearer "+one)
	b.ask(401, "POST", at+"/logout/all", `{"io.element.only_compat_is_fine":true}`, "Authorization", "Bearer "+oauth)
	b.wantActive(one, true)
	b.ask(200, "POST", at+"/logout/all", `{"io.element.only_compat_is_fine":true}`, "Authorization", "Bearer "+one)
	b.wantActive(one, false)
	b.wantActive(two, false)
	b.wantActive(oauth, true)
}

// TestSameDevice logs in twice with a device of one name: the first is out.
func TestSameDevice(t *testing.T) {
	b := newBench(t)
	one := b.ask(200, "POST", "/auth/_matrix/client/v3/login", passwordLogin+"}")["access_token"].(string)
	two := b.ask(200, "POST", "/auth/_matrix/client/v3/login", passwordLogin+"}")["access_token"].(string)
	b.wantActive(one, false)
	b.wantActive(two, true)
}

func TestSingleSignOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		const at = "/auth/_matrix/client/v3/login"
		b.ask(400, "GET", at+"/sso/redirect", "")
		b.ask(400, "GET", at+"/sso/redirect?redirectUrl=/here", "")
		b.ask(404, "GET", at+"/sso/redirect/idp/x?redirectUrl=https%3A%2F%2Fapp.test", "")
		sign := func(tail string) string {
			header, _ := b.exchange(303, "GET", at+"/sso/redirect"+tail+"?redirectUrl=https%3A%2F%2Fapp.test%2F%3Fa%3Db", "")
			page := strings.TrimPrefix(header.Get("Location"), "https://matrix.test")
			b.ask(200, "GET", page, "")
			form := []string{"Content-Type", "application/x-www-form-urlencoded"}
			b.ask(403, "POST", page, "username=alice&password=guess", form...)
			header, _ = b.exchange(303, "POST", page, "username=alice&password=secret", form...)
			b.ask(404, "POST", page, "username=alice&password=secret", form...)
			back, err := url.Parse(header.Get("Location"))
			if err != nil || back.Host != "app.test" || back.Query().Get("a") != "b" {
				t.Fatalf("back to %q: %v", header.Get("Location"), err)
			}
			return `{"type":"m.login.token","token":"` + back.Query().Get("loginToken") + `"}`
		}
		for _, tail := range []string{"", "/", "/idp"} {
			token := sign(tail)
			b.wantActive(b.ask(200, "POST", at, token)["access_token"].(string), true)
			b.ask(403, "POST", at, token)
		}
		late := sign("")
		time.Sleep(31 * time.Second)
		b.ask(403, "POST", at, late)
		b.ask(403, "POST", at, `{"type":"m.login.token","token":""}`)
	})
}

func TestDiscovery(t *testing.T) {
	b := newBench(t)
	said := b.ask(200, "GET", "/auth/.well-known/openid-configuration", "")
	if said["issuer"] != "https://matrix.test/auth/" || said["account_management_uri"] != "https://matrix.test/auth/account/" {
		t.Errorf("discovery: %v", said)
	}
	for _, page := range []string{"/auth/", "/auth/account/", "/auth/health"} {
		b.ask(200, "GET", page, "")
	}
	seen := b.Seen()
	if len(seen) != 4 || seen[3].Target != "/auth/health" || seen[3].Status != 200 || seen[3].Method != "GET" {
		t.Errorf("seen: %+v", seen)
	}
}
