package acme

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ovh/go-ovh/ovh"

	"vestibule/configs"
)

// ovhAccount speaks with OVHcloud's API. It adds to go-ovh what an unattended
// program needs: it tries again, follows Retry-After, measures the clock anew
// when it has to, and ends with the context. Nothing but the credentials it was
// given is used: go-ovh's constructors also read OVH_* and ovh.conf, so none of
// them is called.
type ovhAccount struct {
	credentials configs.OVHCredentials
	pace        ovhPace
	log         *slog.Logger
	transport   http.RoundTripper

	offset memo[time.Duration] // of OVH's clock against ours
	token  memo[string]        // of OAuth 2.0

	zones  memo[[]string]  // in the account
	rights memo[[]ovhRule] // of the consumer key
	fresh  refreshers
}

// ovhPace is how long OVH is waited for.
type ovhPace struct {
	call     time.Duration // one request
	patience time.Duration // one request with all its repetitions
	retry    time.Duration // before the first repetition; doubles
	gather   time.Duration // changes of a zone within this time share a refresh
	memory   time.Duration // how long zones and rights are taken as known
}

var usualOVHPace = ovhPace{
	call:     15 * time.Second,
	patience: time.Minute,
	retry:    time.Second,
	gather:   500 * time.Millisecond,
	memory:   time.Minute,
}

const (
	// ovhRetryMax bounds the wait between two repetitions.
	ovhRetryMax = 20 * time.Second
	// ovhAnswerMax bounds what is read of an answer, in bytes; the list of a
	// large account's zones takes some hundred kilobytes.
	ovhAnswerMax = 8 << 20
	// ovhMessageMax bounds what is shown of OVH's own words, in bytes.
	ovhMessageMax = 300
	// clockLife is how long the clock's offset is taken as known. A clock that
	// steps meanwhile is noticed by OVH's refusal.
	clockLife = time.Hour
)

func newOVHAccount(credentials configs.OVHCredentials, pace ovhPace, log *slog.Logger) *ovhAccount {
	credentials.Endpoint = strings.TrimSuffix(credentials.Endpoint, "/")
	return &ovhAccount{credentials: credentials, pace: pace, log: log, transport: http.DefaultTransport.(*http.Transport).Clone()}
}

// identity tells accounts apart in the journal, without their secrets. Tokens
// come and go, so all of an endpoint are one.
func (a *ovhAccount) identity() string {
	c := a.credentials
	sum := sha256.Sum256([]byte(strings.Join([]string{c.Endpoint, c.Kind, c.ApplicationKey, c.ClientID}, "\n")))
	return hex.EncodeToString(sum[:8])
}

// ovhError is a request that failed, after the last repetition.
type ovhError struct {
	method, path string
	status       int    // 0 when there was no answer
	class        string // such as "Client::Forbidden"
	message      string
	query        string // OVH's id of the request, for its support
	wait         time.Duration
	cause        error // when there was no answer
}

func (e *ovhError) Error() string { return explain(e).Error() }

func (e *ovhError) Unwrap() error { return e.cause }

// uncertain tells whether a change may have been made in spite of the error.
func (e *ovhError) uncertain() bool { return e.status == 0 || e.status >= 500 }

// says looks for words in OVH's message, whatever their case.
func (e *ovhError) says(words ...string) bool {
	text := strings.ToLower(e.class + " " + e.message)
	for _, word := range words {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

// call makes a request, repeatedly if need be. in and out are JSON, either may be
// nil. The path begins with a slash.
func (a *ovhAccount) call(ctx context.Context, method, path string, in, out any) error {
	return a.repeat(ctx, func(ctx context.Context) error { return a.once(ctx, method, path, in, out) }, repeatable)
}

// callOnce is call for what must not be made twice: it is repeated only when the
// first request surely changed nothing.
func (a *ovhAccount) callOnce(ctx context.Context, method, path string, in, out any) error {
	return a.repeat(ctx, func(ctx context.Context) error { return a.once(ctx, method, path, in, out) },
		func(e *ovhError) bool { return repeatable(e) && !e.uncertain() })
}

func repeatable(e *ovhError) bool {
	return e.status == 0 || e.status == http.StatusTooManyRequests || e.status >= 500
}

// repeat calls once until it succeeds or fails for good. Refusals that tell of a
// clock or a token that no longer holds are repeated once with a new one.
func (a *ovhAccount) repeat(ctx context.Context, once func(context.Context) error, again func(*ovhError) bool) error {
	ctx, cancel := context.WithTimeout(ctx, a.pace.patience)
	defer cancel()
	renewed := false
	for delay := a.pace.retry; ; delay = min(2*delay, ovhRetryMax) {
		err := once(ctx)
		var refused *ovhError
		if !errors.As(err, &refused) {
			return err
		}
		if !renewed && a.renewCredentials(refused) {
			renewed = true
			continue
		}
		if !again(refused) {
			return err
		}
		wait := max(refused.wait, jitter(delay))
		if deadline, _ := ctx.Deadline(); time.Until(deadline) < wait {
			return err
		}
		a.log.DebugContext(ctx, "OVH is asked again", "method", refused.method, "path", refused.path,
			"status", refused.status, "wait", wait.String())
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}

// jitter spreads repetitions over half to the whole of a delay.
func jitter(delay time.Duration) time.Duration {
	return delay/2 + rand.N(delay/2+1)
}

// renewCredentials tells whether the same request may succeed with a clock or a
// token obtained anew.
func (a *ovhAccount) renewCredentials(e *ovhError) bool {
	switch {
	case a.credentials.Kind == configs.OVHApplication && e.status == http.StatusBadRequest && e.says("out of time"):
		a.offset.forget()
		return true
	case a.credentials.Kind == configs.OVHClient && e.status == http.StatusUnauthorized:
		a.token.forget()
		return true
	}
	return false
}

// once makes one request.
func (a *ovhAccount) once(ctx context.Context, method, path string, in, out any) error {
	exchange := &exchange{transport: a.transport}
	client, err := a.client(ctx, exchange)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, a.pace.call)
	defer cancel()
	err = client.CallAPIWithContext(ctx, method, path, in, out, true)
	return a.failure(ctx, method, path, exchange, err)
}

// client is go-ovh's, made for one request: it keeps the first offset of the
// clock it is told for ever.
func (a *ovhAccount) client(ctx context.Context, exchange *exchange) (*ovh.Client, error) {
	client := &ovh.Client{Client: &http.Client{Transport: exchange}, Timeout: a.pace.call, UserAgent: "vestibule"}
	if err := client.SetEndpoint(a.credentials.Endpoint); err != nil {
		return nil, err
	}
	switch a.credentials.Kind {
	case configs.OVHApplication:
		offset, err := a.clock(ctx)
		if err != nil {
			return nil, err
		}
		exchange.offset = offset
		client.AppKey = a.credentials.ApplicationKey
		client.AppSecret = a.credentials.ApplicationSecret.Reveal()
		client.ConsumerKey = a.credentials.ConsumerKey.Reveal()
	case configs.OVHClient:
		token, err := a.oauth2Token(ctx)
		if err != nil {
			return nil, err
		}
		client.AccessToken = token
	default:
		client.AccessToken = a.credentials.AccessToken.Reveal()
	}
	return client, nil
}

// failure is the error of a request, nil if it succeeded.
func (a *ovhAccount) failure(ctx context.Context, method, path string, exchange *exchange, err error) error {
	if err == nil {
		return nil
	}
	e := &ovhError{method: method, path: path, wait: exchange.wait}
	var refused *ovh.APIError
	if errors.As(err, &refused) {
		e.status, e.class, e.message, e.query = refused.Code, refused.Class, refused.Message, refused.QueryID
		for _, missing := range refused.Details {
			e.message += " " + missing
		}
		if strings.HasPrefix(strings.TrimSpace(e.message), "<") || len(e.message) > ovhMessageMax {
			e.message = "" // a page for people, from something in between
		}
		return e
	}
	if exchange.status >= 200 && exchange.status < 300 { // an answer that cannot be read
		e.status, e.message = http.StatusBadGateway, "the answer is not what the API promises"
		return e
	}
	e.cause = err
	if ctx.Err() != nil {
		e.cause = ctx.Err()
	}
	return e
}

// clock is how far OVH's clock runs ahead of ours. It is measured with a plain
// request: the one of go-ovh heeds no context.
func (a *ovhAccount) clock(ctx context.Context) (time.Duration, error) {
	return a.offset.get(ctx, a.pace.patience, func(ctx context.Context) (offset, life time.Duration, err error) {
		err = a.repeat(ctx, func(ctx context.Context) (err error) {
			ctx, cancel := context.WithTimeout(ctx, a.pace.call)
			defer cancel()
			offset, err = a.measureClock(ctx)
			return err
		}, repeatable)
		return offset, clockLife, err
	})
}

func (a *ovhAccount) measureClock(ctx context.Context) (time.Duration, error) {
	const path = "/auth/time"
	failed := func(status int, message string, cause error) error {
		return &ovhError{method: http.MethodGet, path: path, status: status, message: message, cause: cause}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.credentials.Endpoint+path, http.NoBody)
	if err != nil {
		return 0, err
	}
	before := time.Now()
	response, err := a.transport.RoundTrip(request)
	if err != nil {
		return 0, failed(0, "", errors.Join(ctx.Err(), err))
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64))
	if err != nil {
		return 0, failed(0, "", err)
	}
	if response.StatusCode != http.StatusOK {
		return 0, failed(response.StatusCode, "", nil)
	}
	seconds, err := strconv.ParseInt(string(bytes.TrimSpace(body)), 10, 64)
	if err != nil {
		return 0, failed(http.StatusBadGateway, "the answer is not what the API promises", nil)
	}
	middle := before.Add(time.Since(before) / 2)
	return time.Unix(seconds, 0).Add(500 * time.Millisecond).Sub(middle), nil // seconds are cut off, on average by a half
}

// exchange carries one request for go-ovh and keeps what go-ovh drops of the
// answer. /auth/time, which go-ovh asks before it signs, is answered here from the
// offset that was measured.
type exchange struct {
	transport http.RoundTripper
	offset    time.Duration

	status int
	wait   time.Duration // of Retry-After
}

// RoundTrip implements http.RoundTripper.
func (x *exchange) RoundTrip(request *http.Request) (*http.Response, error) {
	if strings.HasSuffix(request.URL.Path, "/auth/time") {
		now := strconv.FormatInt(time.Now().Add(x.offset).Unix(), 10)
		return &http.Response{
			StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(now)), Request: request, Header: http.Header{},
		}, nil
	}
	response, err := x.transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	x.status = response.StatusCode
	x.wait = retryAfter(response.Header)
	response.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(response.Body, ovhAnswerMax), response.Body}
	return response, nil
}

// retryAfter reads the header field of that name (RFC 9110, section 10.2.3), 0
// without one.
func retryAfter(header http.Header) time.Duration {
	value := header.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil && seconds > 0 {
		return time.Duration(min(seconds, 7*24*3600)) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// zonePath is the path of something in a zone.
func zonePath(zone, rest string) string { return "/domain/zone/" + zone + rest }
