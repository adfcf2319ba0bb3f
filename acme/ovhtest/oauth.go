package ovhtest

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

// tokenPath is the path of the OAuth2 token endpoint, which OVHcloud serves on
// another host than the API.
const tokenPath = "/auth/oauth2/token"

// oauthClient is a service account.
type oauthClient struct {
	secret string
	rules  []Rule
}

// token is an access token.
type token struct {
	rules   []Rule
	expires time.Time // zero: never
}

// AddOAuthClient registers a service account. Without rules it may call
// everything.
func (s *Server) AddOAuthClient(id, secret string, rules ...Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients[id] = oauthClient{secret: secret, rules: orEverything(rules)}
}

// AddAccessToken registers a token that does not expire. Without rules it may
// call everything.
func (s *Server) AddAccessToken(text string, rules ...Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[text] = token{rules: orEverything(rules)}
}

// RevokeTokens ends every token: those of AddAccessToken and those the token
// endpoint has issued.
func (s *Server) RevokeTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

func orEverything(rules []Rule) []Rule {
	if len(rules) == 0 {
		return []Rule{Everything}
	}
	return rules
}

// serveToken is the client credentials grant (RFC 6749, 4.4), with the client's
// secret in the Authorization header or in the form.
func (s *Server) serveToken(c *request) response {
	form, err := url.ParseQuery(string(c.body))
	if err != nil {
		return oauthError(http.StatusBadRequest, "invalid_request")
	}
	id, secret, basic := c.BasicAuth()
	if !basic {
		id, secret = form.Get("client_id"), form.Get("client_secret")
	}
	client, known := s.clients[unescape(id, basic)]
	switch {
	case !known || client.secret != unescape(secret, basic):
		return oauthError(http.StatusUnauthorized, "invalid_client")
	case form.Get("grant_type") != "client_credentials":
		return oauthError(http.StatusBadRequest, "unsupported_grant_type")
	}
	text := rand.Text()
	s.tokens[text] = token{rules: client.rules, expires: time.Now().Add(s.tokenLife)}
	return jsonResponse(http.StatusOK, map[string]any{
		"access_token": text, "token_type": "Bearer", "expires_in": int(s.tokenLife.Seconds()), "scope": "all",
	})
}

// unescape undoes the form encoding that RFC 6749, 2.3.1, asks of Basic
// credentials.
func unescape(text string, encoded bool) string {
	if plain, err := url.QueryUnescape(text); encoded && err == nil {
		return plain
	}
	return text
}

func oauthError(status int, code string) response {
	return jsonResponse(status, map[string]string{"error": code})
}

func (s *Server) authorizeToken(c *request, text string) (*consumer, *apiError) {
	t, known := s.tokens[text]
	if !known || (!t.expires.IsZero() && !time.Now().Before(t.expires)) {
		return nil, errLogin
	}
	if !granted(t.rules, c.Method, c.path) {
		refusal := *errIAM
		refusal.Details = map[string]string{
			"unauthorizedActionsByAuthentication": "",
			"unauthorizedActionsByIAM":            action(c.Method, c.path),
		}
		return nil, &refusal
	}
	return nil, nil
}

func jsonResponse(status int, value any) response {
	body, err := json.Marshal(value)
	if err != nil {
		panic(err) // only our own types get here
	}
	return response{status: status, body: body, header: http.Header{"Content-Type": {"application/json; charset=utf-8"}}}
}
