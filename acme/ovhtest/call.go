package ovhtest

import (
	"slices"
	"strings"
	"time"
)

// Call is a request that the API or the token endpoint got.
type Call struct {
	Time   time.Time
	Method string
	// Path has no "/1.0" but the query, as it was sent.
	Path string
	Body string
	// Credential is the consumer key or the access token, "" without one.
	Credential string
	// Status is what was answered, 0 if nothing was, or not yet.
	Status int
	// Faulty says that a Fault was used on it.
	Faulty  bool
	QueryID string
}

// Calls are the requests so far, in the order in which they came.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// CallsTo are the requests so far with that method, any if "", and that text in
// their path and query.
func (s *Server) CallsTo(method, path string) []Call {
	return slices.DeleteFunc(s.Calls(), func(c Call) bool {
		return (method != "" && c.Method != method) || !strings.Contains(c.Path, path)
	})
}
