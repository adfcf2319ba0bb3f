package acme

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"
)

// waits notes how long an authority asks to be left alone during an attempt:
// acmez does not hand Retry-After of a refusal on.
type waits struct{ longest atomic.Int64 }

func (w *waits) note(wait time.Duration) {
	for old := w.longest.Load(); int64(wait) > old && !w.longest.CompareAndSwap(old, int64(wait)); {
		old = w.longest.Load()
	}
}

// waitKey carries the *waits of an attempt in its context.
type waitKey struct{}

func withWaits(ctx context.Context) context.Context {
	return context.WithValue(ctx, waitKey{}, new(waits))
}

// waited is the longest time that was asked for during an attempt, 0 for none.
func waited(ctx context.Context) time.Duration {
	if noted, ok := ctx.Value(waitKey{}).(*waits); ok {
		return time.Duration(noted.longest.Load())
	}
	return 0
}

// watched is a transport that notes refusals in the waits of the request.
type watched struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (w watched) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := w.next.RoundTrip(request)
	if err != nil || response.StatusCode != http.StatusTooManyRequests && response.StatusCode != http.StatusServiceUnavailable {
		return response, err
	}
	if noted, ok := request.Context().Value(waitKey{}).(*waits); ok {
		noted.note(retryAfter(response.Header))
	}
	return response, nil
}
