package acme

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// explain turns a failed request into what an operator can act upon. OVH gives
// the same status for many causes, so its words are looked at too; they are those
// of public reports and of its own clients.
func explain(e *ovhError) *fault {
	f := e.sentence()
	if e.message != "" {
		f.text += fmt.Sprintf(" (OVH says: %s)", redact(e.message))
	}
	if e.query != "" {
		f.text += " (query " + e.query + ")"
	}
	f.wait = e.wait
	return f
}

func (e *ovhError) sentence() *fault {
	request := e.method + " " + e.path
	switch {
	case e.status == 0:
		return e.silence(request)
	case e.class == "token":
		return e.tokenSentence(request)
	case e.says("out of time"):
		return newFault("set this machine's clock, for example with an NTP client",
			"OVH finds %s out of time, though its own clock was asked", request)
	case e.says("invalid signature"):
		return newFault("check application_secret_file and consumer_key_file: both belong to the application key",
			"OVH refuses the signature of %s: the application secret is wrong", request)
	case e.says("application key is invalid", "invalid_key"):
		return newFault("check application_key_file and endpoint: a key of Europe is unknown in Canada", "OVH does not know the application key")
	case e.says("credential does not exist", "credential is not valid", "not_credential", "invalid_credential"):
		return newFault("make a new token, and put its consumer key into consumer_key_file",
			"OVH does not accept the consumer key: it is wrong, was never validated, or has expired")
	case e.status == http.StatusForbidden:
		return newFault("make a token with this right, or add it to the service account's policy", "the OVH token lacks the right %s", request)
	case e.status == http.StatusUnauthorized:
		return newFault("an access token ends after a while; put a new one into access_token_file, or use client_id_file and client_secret_file",
			"OVH does not accept the access token")
	case e.status == http.StatusNotFound:
		return newFault("check `zone` and that the zone is in this OVH account", "OVH knows no such thing as %s", e.path)
	case e.status == http.StatusTooManyRequests:
		return e.tooMany(request)
	case e.status >= 500:
		return newFault("nothing to do: it is tried again; https://www.status-ovhcloud.com tells of disturbances",
			"OVH's API is out of order: it answers %s with %d", request, e.status)
	}
	return newFault("", "OVH refuses %s with %d", request, e.status)
}

// silence is for requests that got no answer.
func (e *ovhError) silence(request string) *fault {
	hint := "check that this machine reaches OVH's API"
	if errors.Is(e.cause, context.DeadlineExceeded) || isTimeout(e.cause) {
		return newFault(hint, "OVH's API does not answer %s in time", request)
	}
	return newFault(hint, "OVH's API cannot be reached for %s", request).because(withoutURL(e.cause))
}

func (e *ovhError) tooMany(request string) *fault {
	text := fmt.Sprintf("OVH is asked too often: it refuses %s", request)
	if e.wait > 0 {
		text += " and wants to be left alone for " + e.wait.Round(time.Second).String()
	}
	return newFault("nothing to do: it is tried again then; other programs with the same key count too", "%s", text)
}

func (e *ovhError) tokenSentence(request string) *fault {
	if e.status == http.StatusTooManyRequests || e.status >= 500 {
		return newFault("nothing to do: it is tried again", "OVH's token endpoint is out of order: it answers %s with %d", request, e.status)
	}
	return newFault("check client_id_file, client_secret_file and token_url", "OVH refuses the service account at %s: the client secret is wrong, or the client is unknown", request)
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// withoutURL takes the URL out of net/http's errors; the sentence has the path.
func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// createTokenURL is the page where a token with rights is made, for each of the
// API's regions.
func createTokenURL(endpoint string, rules []ovhRule) string {
	parsed, err := url.Parse(endpoint)
	if err != nil {
		return ""
	}
	parts := make([]string, 0, len(rules))
	for _, rule := range rules {
		parts = append(parts, rule.Method+"="+rule.Path)
	}
	return "https://" + parsed.Host + "/createToken/?" + strings.Join(parts, "&")
}
