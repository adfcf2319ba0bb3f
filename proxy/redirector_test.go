package proxy

import (
	"net/http"
	"strings"
	"testing"
)

// AnswerHTTP01 proves one name at one path.
func (s *selfSigned) AnswerHTTP01(host, path string) (string, bool) {
	if host == "matrix.example.com" && path == challengePath+"token" {
		return "token.thumbprint", true
	}
	return "", false
}

// TestChallenge: an authority is told on the http entrypoint what it came for, and
// everybody else is sent to https.
func TestChallenge(t *testing.T) {
	f := newFront(t, oneSite(newBackend(t, "main"), ""))
	c := f.client(f.http, false)
	is := func(method, url string, status int, body string) {
		t.Helper()
		resp, text := do(t, c, method, url, nil)
		if resp.StatusCode != status || text != body {
			t.Errorf("%s %s: %s %q, want %d %q", method, url, resp.Status, text, status, body)
		}
	}
	is("GET", "http://matrix.example.com/.well-known/acme-challenge/token", 200, "token.thumbprint")
	is("GET", "http://MATRIX.example.com:80/.well-known/acme-challenge/token?x", 200, "token.thumbprint")
	is("HEAD", "http://matrix.example.com/.well-known/acme-challenge/token", 200, "")
	is("POST", "http://matrix.example.com/.well-known/acme-challenge/token", 308, "")
	is("GET", "http://matrix.example.com/.well-known/acme-challenge/other", 301, "")
	is("GET", "http://example.org/.well-known/acme-challenge/token", 301, "")
	if resp, _ := do(t, f.client(f.https, false), "GET", "https://matrix.example.com/.well-known/acme-challenge/token", nil); resp.StatusCode == http.StatusOK {
		t.Error("answered on https too")
	}
	eventually(t, "the requests are logged", func() bool { return strings.Count(f.log.String(), `"route":"acme_challenge"`) == 3 })
	if strings.Count(f.log.String(), "acme-challenge/[redacted]") != 3 || strings.Contains(f.log.String(), "thumbprint") {
		t.Errorf("the challenge is in the log:\n%s", f.log)
	}
}
