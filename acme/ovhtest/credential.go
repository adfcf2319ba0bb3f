package ovhtest

import (
	"crypto/sha1" // what the API asks for
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// tolerance is how far a request's timestamp may be from the API's clock.
const tolerance = 30 * time.Second

// consumer is a consumer key: what an application may do in an account.
type consumer struct {
	application string
	rules       []Rule
	status      string
	expiration  time.Time // zero: never
}

// AddApplication registers an application's key and secret.
func (s *Server) AddApplication(key, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applications[key] = secret
}

// AddConsumer registers a validated consumer key of an application. Without
// rules it may call nothing but what is under /auth. Adding it again replaces
// its rules.
func (s *Server) AddConsumer(applicationKey, consumerKey string, rules ...Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.consumers[consumerKey] = &consumer{application: applicationKey, rules: rules, status: validated}
}

// validated is the status of a consumer key that can be used.
const validated = "validated"

// SetConsumer sets the status of a consumer key ("validated",
// "pendingValidation", "expired", "refused") and when it expires, never if
// zero.
func (s *Server) SetConsumer(consumerKey, status string, expiration time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.consumers[consumerKey]
	c.status, c.expiration = status, expiration
}

// RemoveConsumer revokes a consumer key.
func (s *Server) RemoveConsumer(consumerKey string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.consumers, consumerKey)
}

// Signature is the X-Ovh-Signature of a request, as OVHcloud's "First steps
// with the API" says. The URL is the whole one, query included.
func Signature(applicationSecret, consumerKey, method, url, body string, timestamp int64) string {
	text := strings.Join([]string{applicationSecret, consumerKey, method, url, body, strconv.FormatInt(timestamp, 10)}, "+")
	sum := sha1.Sum([]byte(text))
	return "$1$" + hex.EncodeToString(sum[:])
}

// authorize finds out who calls and whether they may; nil means yes. The
// credential is what GET /auth/currentCredential tells.
func (s *Server) authorize(c *request) (*consumer, *apiError) {
	if bearer, ok := strings.CutPrefix(c.Header.Get("Authorization"), "Bearer "); ok {
		return s.authorizeToken(c, bearer)
	}
	if c.Header.Get("X-Ovh-Application") == "" {
		return nil, errLogin
	}
	return s.authorizeSignature(c)
}

// authorizeSignature checks in the order in which the API does.
func (s *Server) authorizeSignature(c *request) (*consumer, *apiError) {
	key, consumerKey := c.Header.Get("X-Ovh-Application"), c.Header.Get("X-Ovh-Consumer")
	secret, known := s.applications[key]
	if !known {
		return nil, errApplication
	}
	timestamp, err := strconv.ParseInt(c.Header.Get("X-Ovh-Timestamp"), 10, 64)
	if err != nil || time.Unix(timestamp, 0).Sub(s.now()).Abs() > tolerance {
		return nil, errTime
	}
	want := Signature(secret, consumerKey, c.Method, c.url(), string(c.body), timestamp)
	if subtle.ConstantTimeCompare([]byte(want), []byte(c.Header.Get("X-Ovh-Signature"))) == 0 {
		return nil, errSignature
	}
	who := s.consumers[consumerKey]
	if who == nil || who.application != key {
		return nil, errConsumer
	}
	if who.status != validated || (!who.expiration.IsZero() && !s.now().Before(who.expiration)) {
		return nil, errCredential
	}
	if !granted(who.rules, c.Method, c.path) {
		return nil, errGrant
	}
	return who, nil
}

// now is the API's clock.
func (s *Server) now() time.Time { return time.Now().Add(s.skew) }

// currentCredential answers GET /auth/currentCredential.
func (s *Server) currentCredential(c *request) (any, *apiError) {
	who := c.consumer
	if who == nil { // a token is no credential of this kind
		return nil, &apiError{Status: http.StatusNotFound, Message: "The requested object (credential) does not exist"}
	}
	rules := who.rules
	if rules == nil {
		rules = []Rule{}
	}
	answer := map[string]any{"status": who.status, "rules": rules, "expiration": nil, "ovhSupport": false}
	if !who.expiration.IsZero() {
		answer["expiration"] = who.expiration.Format(time.RFC3339)
	}
	return answer, nil
}
