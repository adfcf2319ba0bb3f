package ovhtest_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"vestibule/acme/ovhtest"
)

// grant asks the token endpoint, with the secret in the form or, if basic, in
// the header.
func grant(t *testing.T, s *ovhtest.Server, kind, id, secret string, basic bool) answer {
	t.Helper()
	form := url.Values{"grant_type": {kind}}
	if !basic {
		form.Set("client_id", id)
		form.Set("client_secret", secret)
	}
	r, err := http.NewRequestWithContext(t.Context(), "POST", s.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if basic {
		r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	}
	return send(t, r)
}

// tokenOf is the token in an answer of the token endpoint.
func tokenOf(t *testing.T, a answer) string {
	t.Helper()
	var got struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int    `json:"expires_in"`
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if got.AccessToken == "" || got.TokenType != "Bearer" || got.ExpiresIn != 3600 {
		t.Errorf("got %+v", got)
	}
	return got.AccessToken
}

func TestOAuth(t *testing.T) {
	s := start(t, ovhtest.Options{})
	s.AddOAuthClient("id", "a secret+/", ovhtest.LeastRules("example.org")...)
	const kind = "client_credentials"
	grant(t, s, kind, "id", "wrong", true).want(t, http.StatusUnauthorized, `{"error":"invalid_client"}`)
	grant(t, s, kind, "id", "wrong", false).want(t, http.StatusUnauthorized, `{"error":"invalid_client"}`)
	grant(t, s, kind, "", "", false).want(t, http.StatusUnauthorized, `{"error":"invalid_client"}`)
	grant(t, s, "password", "id", "a secret+/", true).want(t, http.StatusBadRequest, `{"error":"unsupported_grant_type"}`)

	for _, basic := range []bool{true, false} {
		c := caller{server: s, token: tokenOf(t, grant(t, s, kind, "id", "a secret+/", basic))}
		c.record(t, "example.org", "TXT", "a", "value")
		c.refresh(t, "example.org")
	}
	c := caller{server: s, token: "made up"}
	c.do(t, "GET", "/domain/zone", "").refused(t, 401, "Client::Unauthorized", "You must login first", "")
}

// A right that is missing is named by its IAM action.
func TestIAM(t *testing.T) {
	s := start(t, ovhtest.Options{})
	s.AddAccessToken("none", ovhtest.Rule{Method: "GET", Path: "/nothing"})
	c := caller{server: s, token: "none"}
	missing := func(method, path, action string) {
		t.Helper()
		a := c.do(t, method, path, "")
		a.refused(t, 403, "Client::Forbidden", "User not granted for this request", "")
		var got struct{ Details map[string]string }
		if err := json.Unmarshal([]byte(a.body), &got); err != nil {
			t.Fatal(err)
		}
		if got.Details["unauthorizedActionsByIAM"] != action {
			t.Errorf("got %v, want %s", got.Details, action)
		}
	}
	missing("GET", "/domain/zone", "dnsZone:apiovh:get")
	missing("GET", "/domain/zone/example.org", "dnsZone:apiovh:get")
	missing("GET", "/domain/zone/example.org/soa", "dnsZone:apiovh:soa/get")
	missing("POST", "/domain/zone/example.org/record", "dnsZone:apiovh:record/create")
	missing("GET", "/domain/zone/example.org/record", "dnsZone:apiovh:record/get")
	missing("PUT", "/domain/zone/example.org/record/1", "dnsZone:apiovh:record/edit")
	missing("DELETE", "/domain/zone/example.org/record/1", "dnsZone:apiovh:record/delete")
	missing("POST", "/domain/zone/example.org/refresh", "dnsZone:apiovh:refresh")
}

func TestTokensEnd(t *testing.T) {
	s := start(t, ovhtest.Options{TokenLifetime: time.Nanosecond})
	s.AddOAuthClient("id", "secret")
	s.AddAccessToken("lasting")
	var got struct {
		AccessToken string `json:"access_token"`
	}
	a := grant(t, s, "client_credentials", "id", "secret", true)
	if err := json.Unmarshal([]byte(a.body), &got); err != nil {
		t.Fatal(err)
	}
	expired := caller{server: s, token: got.AccessToken}
	expired.do(t, "GET", "/domain/zone", "").refused(t, 401, "Client::Unauthorized", "You must login first", "")
	lasting := caller{server: s, token: "lasting"}
	lasting.do(t, "GET", "/domain/zone", "").want(t, http.StatusOK, `["example.org"]`)
	s.RevokeTokens()
	lasting.do(t, "GET", "/domain/zone", "").refused(t, 401, "Client::Unauthorized", "You must login first", "")
}
