package mastest

import (
	"encoding/json"
	"net/http"
	"strings"
)

// flows lists the ways to log in.
func (s *Server) flows(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"flows": []map[string]any{
		{"type": "m.login.password"},
		{"type": "m.login.sso", "oauth_aware_preferred": true, "org.matrix.msc3824.delegated_oidc_compatibility": true},
		{"type": "m.login.token"},
	}})
}

// credentials are the body of a login.
type credentials struct {
	Type       string `json:"type"`
	Identifier struct {
		Type string `json:"type"`
		User string `json:"user"`
	} `json:"identifier"`
	Password    string `json:"password"`
	Token       string `json:"token"`
	DeviceID    string `json:"device_id"`
	DisplayName string `json:"initial_device_display_name"`
	Refresh     bool   `json:"refresh_token"`
}

// tokens are the answer to a login and, without user and device, to a refresh.
type tokens struct {
	UserID    string `json:"user_id,omitempty"`
	DeviceID  string `json:"device_id,omitempty"`
	Access    string `json:"access_token"`
	Refresh   string `json:"refresh_token,omitempty"`
	ExpiresIn int64  `json:"expires_in_ms,omitempty"`
}

// login begins a session. A client that can refresh gets a token that expires.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	var c credentials
	if json.NewDecoder(r.Body).Decode(&c) != nil {
		faultNotJSON.write(w)
		return
	}
	user, problem := s.whoLogsIn(c)
	if problem != nil {
		problem.write(w)
		return
	}
	begun, err := s.begin(r.Context(), user, c.DeviceID, c.DisplayName, true)
	if err != nil {
		faultInternal.write(w)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	answer := tokens{}
	if c.Refresh {
		answer = s.pair(begun)
	} else {
		answer.Access = s.add(compatAccess, begun, 0, "")
	}
	answer.UserID, answer.DeviceID = "@"+user.localpart+":"+s.options.ServerName, begun.device
	writeJSON(w, http.StatusOK, answer)
}

// whoLogsIn is the user whom credentials prove.
func (s *Server) whoLogsIn(c credentials) (*account, *fault) {
	switch {
	case c.Type == "m.login.password" && c.Identifier.Type == "m.id.user":
		if user := s.authenticate(c.Identifier.User, c.Password); user != nil {
			return user, nil
		}
		return nil, &faultPassword
	case c.Type == "m.login.token":
		return s.redeem(c.Token)
	}
	return nil, &faultLoginType
}

// authenticate is the user of that name, whole or local, and password; nil when
// there is none.
func (s *Server) authenticate(name, password string) *account {
	if localpart, ok := strings.CutPrefix(name, "@"); ok {
		name, _ = strings.CutSuffix(localpart, ":"+s.options.ServerName)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	user := s.accounts[name]
	if user == nil || user.password != password {
		return nil
	}
	return user
}

// pair issues an access token that expires, and what it is renewed with. The
// lock is held.
func (s *Server) pair(of *session) tokens {
	lifetime := s.options.CompatLifetime
	access := s.add(compatAccess, of, lifetime, "")
	return tokens{Access: access, Refresh: s.add(compatRefresh, of, 0, access), ExpiresIn: lifetime.Milliseconds()}
}

// refresh replaces a pair. The old one, both of it, is of no use any more.
func (s *Server) refresh(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Refresh string `json:"refresh_token"`
	}
	if json.NewDecoder(r.Body).Decode(&body) != nil {
		faultNotJSON.write(w)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := kindOf(body.Refresh)
	old := s.tokens[body.Refresh]
	if !ok || k != compatRefresh || old == nil || !old.valid() {
		faultRefresh.write(w)
		return
	}
	old.dead, s.tokens[old.access].dead = true, true
	writeJSON(w, http.StatusOK, s.pair(old.session))
}

// logout ends the session of the request's token.
func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	ending, problem := s.sessionOf(r)
	if problem != nil {
		problem.write(w)
		return
	}
	if s.end(r.Context(), ending) != nil {
		faultInternal.write(w)
		return
	}
	writeJSON(w, http.StatusOK, struct{}{})
}

// logoutAll ends the sessions of this kind that the user has. MAS does it only
// for clients that say they know of the other kind (logout_all.rs).
func (s *Server) logoutAll(w http.ResponseWriter, r *http.Request) {
	var body struct {
		OnlyCompat bool `json:"io.element.only_compat_is_fine"`
	}
	unread := json.NewDecoder(r.Body).Decode(&body) // a request without a body is one that did not say so
	ending, problem := s.sessionOf(r)
	switch {
	case problem != nil:
		problem.write(w)
		return
	case unread != nil || !body.OnlyCompat:
		faultLogoutAll.write(w)
		return
	}
	s.mu.Lock()
	all := s.compatSessions(ending.account)
	s.mu.Unlock()
	if s.end(r.Context(), all...) != nil {
		faultInternal.write(w)
		return
	}
	writeJSON(w, http.StatusOK, struct{}{})
}

// sessionOf is the session of a request's token, which must be one of the old
// endpoints: others end at OAuth 2.0's.
func (s *Server) sessionOf(r *http.Request) (*session, *fault) {
	const scheme = "bearer "
	value := r.Header.Get("Authorization")
	if len(value) <= len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) {
		return nil, &faultNoToken
	}
	text := value[len(scheme):]
	k, ok := kindOf(text)
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens[text]
	if !ok || k != compatAccess || t == nil || !t.valid() {
		return nil, &faultToken
	}
	return t.session, nil
}
