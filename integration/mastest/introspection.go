package mastest

import (
	"crypto/subtle"
	"net/http"
	"time"
)

const introspectionPath = "/oauth2/introspect"

// The scopes that open Synapse to a client, as they are and as they were called
// before MSC2967 was accepted; a device follows the prefix.
const (
	stableAPI      = "urn:matrix:client:api:*"
	unstableAPI    = "urn:matrix:org.matrix.msc2967.client:api:*"
	stableDevice   = "urn:matrix:client:device:"
	unstableDevice = "urn:matrix:org.matrix.msc2967.client:device:"
)

// introspection is what is said of a token (RFC 7662, section 2.2). Of one that
// is not valid nothing is said but that.
type introspection struct {
	Active    bool   `json:"active"`
	Scope     string `json:"scope,omitempty"`
	ClientID  string `json:"client_id,omitempty"`
	Username  string `json:"username,omitempty"`
	TokenType string `json:"token_type,omitempty"`
	Expires   int64  `json:"exp,omitempty"`
	ExpiresIn *int64 `json:"expires_in,omitempty"`
	Issued    int64  `json:"iat,omitempty"`
	NotBefore int64  `json:"nbf,omitempty"`
	Subject   string `json:"sub,omitempty"`
	DeviceID  string `json:"device_id,omitempty"`
}

// introspect tells Synapse, and nobody else, whose a token is.
func (s *Server) introspect(w http.ResponseWriter, r *http.Request) {
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+s.options.Secret)) != 1 {
		writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "access_denied"})
		return
	}
	if err := r.ParseForm(); err != nil || r.PostForm.Get("token") == "" {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "invalid_request"})
		return
	}
	text := r.PostForm.Get("token")
	k, ok := kindOf(text)
	hint := r.PostForm.Get("token_type_hint")
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens[text]
	if !ok || t == nil || !t.valid() || (hint != "" && hint != tokenType(k)) {
		writeJSON(w, http.StatusOK, introspection{})
		return
	}
	writeJSON(w, http.StatusOK, t.introspection(r.Header.Get("X-MAS-Supports-Device-Id") == "1"))
}

func tokenType(k kind) string {
	if k.access() {
		return "access_token"
	}
	return "refresh_token"
}

// introspection describes a valid token. A session of the old endpoints names its
// device apart from the scope to who can read that: such a device may have any
// name, and a scope may not.
func (t *token) introspection(apart bool) introspection {
	said := introspection{
		Active: true, Scope: stableAPI + " " + unstableAPI, TokenType: tokenType(t.kind),
		Username: t.session.account.localpart, Subject: t.session.account.subject,
		Issued: t.issued.Unix(), NotBefore: t.issued.Unix(), ClientID: "01LABORATORY",
	}
	if !t.expires.IsZero() {
		left := int64(time.Until(t.expires) / time.Second)
		said.Expires, said.ExpiresIn = t.expires.Unix(), &left
	}
	if t.session.compat {
		said.ClientID = "legacy"
	}
	if t.session.compat && apart {
		said.DeviceID = t.session.device
	} else {
		said.Scope += " " + stableDevice + t.session.device + " " + unstableDevice + t.session.device
	}
	return said
}

// discovery lists what there is (OpenID Connect Discovery 1.0, section 3, and
// MSC4191 for the account page). Synapse passes it on to clients.
func (s *Server) discovery(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer":                 s.options.Public + "/",
		"introspection_endpoint": s.options.Public + introspectionPath,
		"account_management_uri": s.options.Public + "/account/",
		"account_management_actions_supported": []string{
			"org.matrix.profile", "org.matrix.devices_list", "org.matrix.device_view", "org.matrix.device_delete",
		},
	})
}
