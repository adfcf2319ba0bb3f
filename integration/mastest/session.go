package mastest

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// account is a user.
type account struct {
	localpart string
	password  string
	subject   string // how OAuth 2.0 names the user, for ever
}

// session is a user's device that is logged in.
type session struct {
	account *account
	device  string
	compat  bool // by way of Synapse's old endpoints
	ended   bool
}

// Grant says for whom a token is.
type Grant struct {
	User     string        // localpart of a user that was added
	Device   string        // made known to Synapse
	Lifetime time.Duration // of each token; 0 for no end
	Compat   bool          // as by a client that logged in at Synapse's old endpoints
}

// AddUser makes a user, here and at Synapse.
func (s *Server) AddUser(ctx context.Context, localpart, password string) error {
	if err := s.homeserver.provisionUser(ctx, localpart); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accounts[localpart] = &account{localpart: localpart, password: password, subject: random(26)}
	return nil
}

// Issue begins a session and returns its first access token.
func (s *Server) Issue(ctx context.Context, g Grant) (string, error) {
	s.mu.Lock()
	user := s.accounts[g.User]
	s.mu.Unlock()
	if user == nil {
		return "", fmt.Errorf("issuing a token: there is no user %q", g.User)
	}
	begun, err := s.begin(ctx, user, g.Device, "", g.Compat)
	if err != nil {
		return "", err
	}
	k := oauthAccess
	if g.Compat {
		k = compatAccess
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.add(k, begun, g.Lifetime, ""), nil
}

// Rotate returns a new token for the session of an access token, with as long a
// life, and ends the old one: what a client's refresh does.
func (s *Server) Rotate(old string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens[old]
	if t == nil || !t.kind.access() || !t.valid() {
		return "", errors.New("rotating a token: it is not a valid access token")
	}
	t.dead = true
	lifetime := time.Duration(0)
	if !t.expires.IsZero() {
		lifetime = t.expires.Sub(t.issued)
	}
	return s.add(t.kind, t.session, lifetime, ""), nil
}

// begin logs a device in. Synapse hears of the device before anybody can use
// it. Who was logged in with a device of that name is no longer.
func (s *Server) begin(ctx context.Context, user *account, device, displayName string, compat bool) (*session, error) {
	if device == "" {
		device = random(10)
	}
	if err := s.homeserver.upsertDevice(ctx, user.localpart, device, displayName); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.sessions {
		if other.account == user && other.device == device {
			other.ended = true
		}
	}
	begun := &session{account: user, device: device, compat: compat}
	s.sessions = append(s.sessions, begun)
	return begun, nil
}

// end logs devices out, and takes them away at Synapse.
func (s *Server) end(ctx context.Context, sessions ...*session) error {
	s.mu.Lock()
	for _, ending := range sessions {
		ending.ended = true
	}
	s.mu.Unlock()
	var problems []error
	for _, ended := range sessions {
		problems = append(problems, s.homeserver.deleteDevice(ctx, ended.account.localpart, ended.device))
	}
	return errors.Join(problems...)
}

// compatSessions are a user's, of those who logged in at the old endpoints. The
// lock is held.
func (s *Server) compatSessions(of *account) []*session {
	var found []*session
	for _, one := range s.sessions {
		if one.account == of && one.compat && !one.ended {
			found = append(found, one)
		}
	}
	return found
}

// add makes a token and remembers it. The lock is held.
func (s *Server) add(k kind, of *session, lifetime time.Duration, access string) string {
	t := &token{kind: k, session: of, issued: time.Now(), access: access}
	if lifetime > 0 {
		t.expires = t.issued.Add(lifetime)
	}
	text := newToken(k)
	s.tokens[text] = t
	return text
}
