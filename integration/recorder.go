//go:build integration

package integration

import (
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
)

// sent is a request a client made through the front door.
type sent struct {
	ID            string `json:"id"` // the value of X-Lab-Id, unique in a run
	Method        string `json:"method"`
	URL           string `json:"url"` // absolute, as the client spelled it
	Authorization string `json:"authorization"`
	Status        int    `json:"status"` // of the answer; 0 when there was none
}

// recorder is a RoundTripper that numbers requests and remembers them.
type recorder struct {
	next http.RoundTripper
	name string

	mu       sync.Mutex
	requests []*sent
}

// recorders counts them, so that no two give the same number.
var recorders atomic.Int64

func newRecorder(next http.RoundTripper) *recorder {
	return &recorder{next: next, name: fmt.Sprintf("go%d", recorders.Add(1))}
}

// RoundTrip sends a copy of the request with its number.
func (r *recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	numbered := request.Clone(request.Context())
	record := r.remember(request)
	numbered.Header.Set(idHeader, record.ID)
	response, err := r.next.RoundTrip(numbered)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	record.Status = response.StatusCode
	record.URL = spell(numbered.URL) // a transport for federation finds the host
	return response, nil
}

func (r *recorder) remember(request *http.Request) *sent {
	r.mu.Lock()
	defer r.mu.Unlock()
	record := &sent{
		ID:            fmt.Sprintf("%s.%d", r.name, len(r.requests)+1),
		Method:        request.Method,
		URL:           spell(request.URL),
		Authorization: request.Header.Get("Authorization"),
	}
	r.requests = append(r.requests, record)
	return record
}

// spell is the URL with its target as it goes over the wire.
func spell(address *url.URL) string {
	return address.Scheme + "://" + address.Host + address.RequestURI()
}

// sent returns a copy of what was recorded so far.
func (r *recorder) sent() []sent {
	r.mu.Lock()
	defer r.mu.Unlock()
	copied := make([]sent, len(r.requests))
	for i, record := range r.requests {
		copied[i] = *record
	}
	return copied
}
