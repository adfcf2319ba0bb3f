//go:build integration

package integration

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"vestibule/integration/mastest"
)

// TestMAS is about a homeserver that delegates login: what clients ask of Synapse
// in old ways goes to MAS, and only that.
func TestMAS(t *testing.T) {
	h := delegated(t)
	for _, user := range []string{"nina", "oscar"} {
		if err := h.mas.AddUser(t.Context(), user, password); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("interception", func(t *testing.T) { testInterception(t, h, newClient(lab.roots), h.base()) })
	t.Run("internal entrypoint", func(t *testing.T) {
		testInterception(t, h, newClient(lab.roots), "http://"+h.front.internal)
	})
	t.Run("closed", func(t *testing.T) { testMASClosed(t, h) })
	t.Run("migrating", func(t *testing.T) { testMigrating(t, h) })
	t.Run("pages", func(t *testing.T) { testMASPages(t, h) })
	t.Run("session", func(t *testing.T) { testCompatSession(t, h) })
	t.Run("single sign-on", func(t *testing.T) { testSingleSignOn(t, h) })
	t.Run("logout everywhere", func(t *testing.T) { testLogoutAll(t, h) })
}

// testInterception asks for what MAS answers in Synapse's place, and for what
// only looks like it.
func testInterception(t *testing.T, h *homeserver, c *client, base string) {
	const credentials = `{"type":"m.login.password","identifier":{"type":"m.id.user","user":"nina"},"password":"` + password + `"}`
	var knocks []knock
	for _, version := range []string{"r0", "v3"} {
		client := "/_matrix/client/" + version
		const back = "?redirectUrl=https%3A%2F%2Fapp.example%2F"
		for _, tail := range []string{"/login", "/logout", "/logout/all", "/refresh"} {
			knocks = append(knocks, knock{method: "OPTIONS", target: client + tail, to: "mas"})
		}
		knocks = append(knocks,
			knock{method: "GET", target: client + "/login", to: "mas"},
			knock{method: "POST", target: client + "/login", body: credentials, to: "mas"},
			knock{method: "POST", target: client + "/login?kind=user", body: credentials, to: "mas"},
			knock{method: "GET", target: client + "/login/sso/redirect" + back, to: "mas"},
			knock{method: "GET", target: client + "/login/sso/redirect/" + back, to: "mas"},
			knock{method: "GET", target: client + "/login/sso/redirect/some-provider" + back, to: "mas"},
			knock{method: "POST", target: client + "/refresh", body: `{"refresh_token":"mcr_x"}`, to: "mas"},
			knock{method: "POST", target: client + "/logout", to: "mas"},
			knock{method: "POST", target: client + "/logout/all", to: "mas"},

			knock{method: "POST", target: client + "/login/get_token", body: "{}", to: "synapse"},
			knock{method: "GET", target: client + "/login/", to: "synapse"},
			knock{method: "GET", target: client + "/loginx", to: "synapse"},
			knock{method: "GET", target: client + "/login/sso/redirectx" + back, to: "synapse"},
			knock{method: "GET", target: client + "/login/sso/redirect/a/b" + back, to: "synapse"},
			knock{method: "GET", target: client + "/%6Cogin", to: "synapse"},
			knock{method: "POST", target: client + "/refresh/", body: "{}", to: "synapse"},
			knock{method: "POST", target: client + "/logout/all/x", body: "{}", to: "synapse"},
			knock{method: "GET", target: client + "/rooms/!room:" + h.name + "/state/login/x", to: "synapse"},
			knock{method: "PUT", target: client + "/rooms/!room:" + h.name + "/state/x/logout", body: "{}", to: "synapse"},
			knock{method: "GET", target: client + "/profile/@nina:" + h.name + "/refresh", to: "synapse"},
			knock{method: "GET", target: client + "/user/@nina:" + h.name + "/account_data/login", to: "synapse"},
		)
	}
	h.knockAt(t, c, base, knocks)
}

// testMASClosed asks for Synapse's interface for MAS with the right secret. Whoever
// has it could become anybody, so it is not to be had from outside at all.
func testMASClosed(t *testing.T, h *homeserver) {
	paths := spellings("mas", "query_user?localpart=nina")
	secret := []string{"Authorization", "Bearer " + masSecret}
	served := 0
	for _, path := range paths {
		response, err := newClient(nil).do(http.MethodGet, "http://"+h.address+":8008"+path, secret...)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode == http.StatusOK {
			served++
		}
	}
	t.Logf("Synapse itself answers %d of %d spellings", served, len(paths))
	if served < 2 {
		t.Error("Synapse does not know its own interface, so this test shows nothing")
	}
	var knocks []knock
	for _, path := range append(paths, "/_synapse/mas", "/_synapse/mas/") {
		knocks = append(knocks, knock{method: "GET", target: path})
	}
	for _, operation := range []string{"provision_user", "upsert_device", "delete_user", "allow_cross_signing_reset"} {
		knocks = append(knocks, knock{method: "POST", target: "/_synapse/mas/" + operation, body: `{"localpart":"nina"}`})
	}
	for _, base := range []string{h.base(), h.base() + ":8448", "http://" + h.front.internal} {
		h.knockAt(t, newClient(lab.roots), base, knocks, secret...)
	}
}

// testMigrating has another front door leave login with Synapse, as while accounts
// are moved.
func testMigrating(t *testing.T, h *homeserver) {
	door := frontDoor{
		name: "migrating", serverName: h.name, address: "127.1.4.2", admin: "127.0.0.1:9195",
		synapse: h.front.synapse, etcHosts: h.front.etcHosts, mas: masSection + ", migrating: true", internal: "127.1.4.2:8008",
	}
	c := newClient(lab.roots)
	c.through(door.address, doorRoots(t, secondDoor(t, door)))
	knocks := []knock{
		{method: "GET", target: "/_matrix/client/v3/login", to: "synapse"},
		{method: "POST", target: "/_matrix/client/v3/login", body: "{}", to: "synapse"},
		{method: "GET", target: "/_matrix/client/v3/login/sso/redirect?redirectUrl=https%3A%2F%2Fapp.example", to: "synapse"},
		{method: "POST", target: "/_matrix/client/v3/refresh", body: "{}", to: "synapse"},
		{method: "POST", target: "/_matrix/client/v3/logout", body: "{}", to: "synapse"},
		{method: "POST", target: "/_matrix/client/v3/logout/all", body: "{}", to: "synapse"},
		{method: "GET", target: "/_synapse/mas/query_user?localpart=nina"},
	}
	h.knockAt(t, c, h.base(), knocks)
	h.knockAt(t, newClient(nil), "http://"+door.internal, knocks)
	getJSON(t, c, h.base()+masPrefix+"/.well-known/openid-configuration")
}

// testMASPages is how clients and people find MAS itself.
func testMASPages(t *testing.T, h *homeserver) {
	c := newClient(lab.roots)
	for _, version := range []string{"v1", "unstable/org.matrix.msc2965"} {
		issuer, _ := getJSON(t, c, h.base()+"/_matrix/client/"+version+"/auth_metadata")["issuer"].(string)
		if issuer != h.base()+masPrefix+"/" {
			t.Fatalf("Synapse names %q as the issuer", issuer)
		}
		if document := getJSON(t, c, issuer+".well-known/openid-configuration"); document["issuer"] != issuer {
			t.Errorf("the issuer %s says that it is %v", issuer, document["issuer"])
		}
	}
	for path, want := range map[string]int{
		masPrefix:               http.StatusFound,
		masPrefix + "/":         http.StatusOK,
		masPrefix + "/account/": http.StatusOK,
		masPrefix + "/nothing":  http.StatusNotFound,
		masPrefix + "x/":        http.StatusNotFound,
	} {
		response, err := c.do(http.MethodGet, h.base()+path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s answers %s, want %d", path, response.Status, want)
		}
	}
	seen := h.seenByMAS(c.sent()[1].ID)
	if len(seen) != 1 || seen[0].Header.Get("X-Forwarded-For") != c.address || seen[0].Header.Get("X-Forwarded-Proto") != "https" {
		t.Errorf("MAS takes the client at %s for %+v", c.address, seen)
	}
}

// loginAt finds a homeserver by its name and logs in as older clients do.
func loginAt(t *testing.T, h *homeserver, request mautrix.ReqLogin) (*member, *mautrix.RespLogin) {
	t.Helper()
	m := &member{client: newClient(lab.roots)}
	m.Client = discover(t, m.client, h.name)
	answer, err := m.Login(t.Context(), &request)
	if err != nil {
		t.Fatalf("logging in: %v", err)
	}
	m.UserID, m.AccessToken, m.DeviceID = answer.UserID, answer.AccessToken, answer.DeviceID
	return m, answer
}

// withPassword is a login of nina's.
func withPassword(device id.DeviceID) mautrix.ReqLogin {
	return mautrix.ReqLogin{
		Type: mautrix.AuthTypePassword, Identifier: mautrix.UserIdentifier{Type: mautrix.IdentifierTypeUser, User: "nina"},
		Password: password, DeviceID: device,
	}
}

// testCompatSession is an older client's day; a newer one's user, who has a token
// of OAuth 2.0, talks with it.
func testCompatSession(t *testing.T, h *homeserver) {
	request := withPassword("OLD")
	request.RefreshToken = true
	nina, in := loginAt(t, h, request)
	if nina.UserID != id.NewUserID("nina", h.name) || nina.DeviceID != "OLD" || in.RefreshToken == "" || in.ExpiresInMS <= 0 {
		t.Fatalf("logged in as %+v", in)
	}
	if who, err := nina.Whoami(t.Context()); err != nil || who.UserID != nina.UserID || who.DeviceID != nina.DeviceID {
		t.Fatalf("whoami: %+v, %v", who, err)
	}
	oscar := withToken(t, h, mastest.Grant{User: "oscar", Device: "NEW", Lifetime: time.Minute})
	room, err := nina.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{Preset: "public_chat", RoomAliasName: "salon"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := oscar.JoinRoom(t.Context(), "#salon:"+h.name, nil); err != nil {
		t.Fatal(err)
	}
	nina.AccessToken, in.RefreshToken = refreshed(t, nina, in.RefreshToken)
	for _, said := range []struct{ by, to *member }{{nina, oscar}, {oscar, nina}} {
		if _, err := said.by.SendText(t.Context(), room.RoomID, "good evening"); err != nil {
			t.Fatal(err)
		}
		said.to.await(t, "what "+said.by.UserID.String()+" says", func(s *mautrix.RespSync) bool {
			return contains(timelineOf(s, room.RoomID), event.EventMessage)
		})
	}
	if _, err := nina.Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantLoggedOut(t, nina)
	if _, err := oscar.Whoami(t.Context()); err != nil {
		t.Errorf("who did not log out: %v", err)
	}
}

// withToken is a member with a token that MAS has issued to a client of OAuth 2.0.
func withToken(t *testing.T, h *homeserver, g mastest.Grant) *member {
	t.Helper()
	token, err := h.mas.Issue(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	m := &member{client: newClient(lab.roots)}
	m.Client = discover(t, m.client, h.name)
	m.UserID, m.DeviceID, m.AccessToken = id.NewUserID(g.User, h.name), id.DeviceID(g.Device), token
	return m
}

// refreshed is a new pair of tokens for a member's.
func refreshed(t *testing.T, m *member, token string) (access, refresh string) {
	t.Helper()
	var answer struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	body := map[string]string{"refresh_token": token}
	address := m.BuildClientURL("v3", "refresh")
	if _, err := m.MakeRequest(t.Context(), http.MethodPost, address, body, &answer); err != nil {
		t.Fatalf("refreshing: %v", err)
	}
	if answer.Access == m.AccessToken || answer.Access == "" || answer.Refresh == token {
		t.Fatalf("refreshing gave %+v", answer)
	}
	if _, err := m.MakeRequest(t.Context(), http.MethodPost, address, body, nil); !errors.Is(err, mautrix.MUnknownToken) {
		t.Errorf("refreshing with the old token: %v", err)
	}
	return answer.Access, answer.Refresh
}

func timelineOf(s *mautrix.RespSync, room id.RoomID) []*event.Event {
	if joined := s.Rooms.Join[room]; joined != nil {
		return joined.Timeline.Events
	}
	return nil
}

// wantLoggedOut waits, at most five seconds, until every process of Synapse knows
// that the device is gone.
func wantLoggedOut(t *testing.T, m *member) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for {
		_, whoami := m.Whoami(ctx)
		_, sync := m.sync(ctx, 0)
		if errors.Is(whoami, mautrix.MUnknownToken) && errors.Is(sync, mautrix.MUnknownToken) {
			return
		}
		if ctx.Err() != nil {
			t.Errorf("logged out, but whoami says %v, and sync %v", whoami, sync)
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// testSingleSignOn goes the way of a browser: from the client to MAS, and back
// with a token to log in with.
func testSingleSignOn(t *testing.T, h *homeserver) {
	browser := newClient(lab.roots)
	response, err := browser.do(http.MethodGet, h.base()+"/_matrix/client/v3/login/sso/redirect?redirectUrl=http%3A%2F%2Flocalhost%3A9999%2Fback")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	page := response.Header.Get("Location")
	if !strings.HasPrefix(page, h.base()+masPrefix+"/") {
		t.Fatalf("%s to %q", response.Status, page)
	}
	form := url.Values{"username": {"nina"}, "password": {password}}.Encode()
	response, err = browser.send(http.MethodPost, page, form, "Content-Type", "application/x-www-form-urlencoded")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	back, err := url.Parse(response.Header.Get("Location"))
	if err != nil || back.Host != "localhost:9999" || back.Path != "/back" {
		t.Fatalf("%s to %v: %v", response.Status, back, err)
	}
	nina, _ := loginAt(t, h, mautrix.ReqLogin{Type: mautrix.AuthTypeToken, Token: back.Query().Get("loginToken")})
	if who, err := nina.Whoami(t.Context()); err != nil || who.UserID != id.NewUserID("nina", h.name) {
		t.Errorf("whoami: %+v, %v", who, err)
	}
}

// testLogoutAll ends two sessions at once, as clients do that know of OAuth 2.0's.
func testLogoutAll(t *testing.T, h *homeserver) {
	one, _ := loginAt(t, h, withPassword("ONE"))
	two, _ := loginAt(t, h, withPassword("TWO"))
	if _, err := one.LogoutAll(t.Context()); !errors.Is(err, mautrix.MUnrecognized) {
		t.Errorf("logging out everywhere without a word about OAuth: %v", err)
	}
	for _, m := range []*member{one, two} {
		if _, err := m.Whoami(t.Context()); err != nil {
			t.Error(err)
		}
	}
	body := map[string]bool{"io.element.only_compat_is_fine": true}
	if _, err := one.MakeRequest(t.Context(), http.MethodPost, one.BuildClientURL("v3", "logout", "all"), body, nil); err != nil {
		t.Fatal(err)
	}
	wantLoggedOut(t, one)
	wantLoggedOut(t, two)
}
