package acme

import (
	"context"
	"strings"
	"sync"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// challengePath is where authorities ask for an answer (RFC 8555, section 8.3).
const challengePath = "/.well-known/acme-challenge/"

// httpSolver proves control over names with answers on the http entrypoint. They
// are kept in the storage too, for other processes that share it: the authority
// may reach any of them.
type httpSolver struct {
	storage certmagic.Storage

	mu      sync.RWMutex
	answers map[string]answer // by path
}

// answer is what the authority is to be told, and the host it asks.
type answer struct{ host, keyAuthorization string }

var _ acmez.Solver = (*httpSolver)(nil)

// Present begins to answer.
func (s *httpSolver) Present(ctx context.Context, challenge acme.Challenge) error {
	given := answer{canonical(challenge.Identifier.Value), challenge.KeyAuthorization}
	s.mu.Lock()
	s.answers[challenge.HTTP01ResourcePath()] = given
	s.mu.Unlock()
	return s.storage.Store(ctx, answerKey(challenge.Token), []byte(given.host+"\n"+given.keyAuthorization))
}

// CleanUp ends answering.
func (s *httpSolver) CleanUp(ctx context.Context, challenge acme.Challenge) error {
	s.mu.Lock()
	delete(s.answers, challenge.HTTP01ResourcePath())
	s.mu.Unlock()
	return s.storage.Delete(context.WithoutCancel(ctx), answerKey(challenge.Token))
}

func answerKey(token string) string { return "http01/" + token }

// answer finds what a host is to say at a path.
func (s *httpSolver) answer(host, path string) (string, bool) {
	s.mu.RLock()
	given, found := s.answers[path]
	s.mu.RUnlock()
	if !found {
		given, found = s.stored(path)
	}
	if !found || given.host != host {
		return "", false
	}
	return given.keyAuthorization, true
}

// stored is an answer of another process. A token is base64url (section 8.1);
// nothing else may become part of a file's name.
func (s *httpSolver) stored(path string) (answer, bool) {
	token, found := strings.CutPrefix(path, challengePath)
	if !found || len(token) < 16 || len(token) > 128 || strings.Trim(token, tokenAlphabet) != "" {
		return answer{}, false
	}
	content, err := s.storage.Load(context.Background(), answerKey(token))
	if err != nil {
		return answer{}, false
	}
	host, keyAuthorization, found := strings.Cut(string(content), "\n")
	return answer{host, keyAuthorization}, found
}

const tokenAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// AnswerHTTP01 is the body with which a host answers an authority's request for
// the path. ok is false when nothing is being proven there.
func (m *Manager) AnswerHTTP01(host, path string) (keyAuthorization string, ok bool) {
	if m.http01 == nil || !strings.HasPrefix(path, challengePath) {
		return "", false
	}
	return m.http01.answer(canonical(host), path)
}
