package ovhtest

import (
	"net/http"
	"strings"
	"time"
)

// Forever is the Times of a fault that does not wear off, and the Delay of one
// that never answers.
const Forever = -1

// Fault makes calls fail. The first that fits a call is used.
type Fault struct {
	// Method and Path choose the calls: those with this method, any if "", and
	// with this text in their path and query.
	Method string
	Path   string
	// Skip lets that many fitting calls through first.
	Skip int
	// Times is how many calls fail, then the fault is gone: Forever, or by
	// default 1.
	Times int

	// Delay is how long the call hangs before anything else happens. Forever
	// ends when the client gives up or the server closes.
	Delay time.Duration
	// After carries the call out before it fails: the change is made, and only
	// the answer is lost.
	After bool
	// Drop closes the connection without an answer.
	Drop bool
	// Status, Body and Header are the answer, such as 502 with a page of HTML or
	// 429 with Retry-After. With Status 0 and without Drop the call is answered
	// as usual, after Delay.
	Status int
	Body   string
	Header http.Header
}

// Fault adds a fault after those that are there.
func (s *Server) Fault(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.Times == 0 {
		f.Times = 1
	}
	s.faults = append(s.faults, &f)
}

// ClearFaults removes the faults that are left.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// fault is what is wrong with a call, nil if nothing is.
func (s *Server) fault(method, target string) *Fault {
	for i, f := range s.faults {
		if (f.Method != "" && f.Method != method) || !strings.Contains(target, f.Path) {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		if f.Times--; f.Times == 0 {
			s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
		}
		copied := *f
		return &copied
	}
	return nil
}

// instead is what the client gets in place of the usual answer.
func (f *Fault) instead() response {
	header := f.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	return response{status: f.Status, body: []byte(f.Body), header: header, drop: f.Drop}
}

// replaces tells whether the usual answer is lost.
func (f *Fault) replaces() bool { return f != nil && (f.Drop || f.Status != 0) }
