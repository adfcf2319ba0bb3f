package wellknown

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"vestibule/configs"
)

func documents(t *testing.T) *Documents {
	t.Helper()
	docs, err := New(&configs.Config{}, fullSite())
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

// field asserts that a header stands at most once, and returns its value.
func field(t *testing.T, a Answer, name string) string {
	t.Helper()
	var values []string
	for _, f := range a.Header {
		if strings.EqualFold(f[0], name) {
			values = append(values, f[1])
		}
	}
	if len(values) > 1 {
		t.Errorf("%d: %s stands %d times", a.Status, name, len(values))
	}
	return strings.Join(values, "|")
}

func ifNoneMatch(value string) func(string) string {
	return func(name string) string {
		if name == "If-None-Match" {
			return value
		}
		return ""
	}
}

// Every header of every status.
func TestHeaders(t *testing.T) {
	docs := documents(t)
	etag := field(t, docs.Answer("GET", Client, noHeader), "ETag")
	cors := map[string]string{
		"Access-Control-Allow-Origin":  "*",
		"Access-Control-Allow-Methods": "GET, POST, PUT, DELETE, OPTIONS",
		"Access-Control-Allow-Headers": "X-Requested-With, Content-Type, Authorization",
	}
	const hour = "public, max-age=3600"
	for _, c := range []struct {
		method, document, match string
		status                  int
		header                  map[string]string
	}{
		{"GET", Client, "", 200, map[string]string{"Content-Type": "application/json", "Cache-Control": hour, "ETag": etag}},
		{"HEAD", Client, "", 200, map[string]string{"Content-Type": "application/json", "Cache-Control": hour, "ETag": etag}},
		{"GET", Client, etag, 304, map[string]string{"Cache-Control": hour, "ETag": etag}},
		{"HEAD", Client, etag, 304, map[string]string{"Cache-Control": hour, "ETag": etag}},
		{"GET", Support, "*", 404, map[string]string{"Content-Type": "application/json"}},
		{"HEAD", Support, "", 404, map[string]string{"Content-Type": "application/json"}},
		{"GET", "mautrix", "", 404, map[string]string{"Content-Type": "application/json"}},
		{"POST", Client, "", 405, map[string]string{"Content-Type": "application/json", "Allow": "GET, HEAD, OPTIONS"}},
		{"get", Client, "", 405, map[string]string{"Content-Type": "application/json", "Allow": "GET, HEAD, OPTIONS"}},
		{"DELETE", Support, "", 405, map[string]string{"Content-Type": "application/json", "Allow": "GET, HEAD, OPTIONS"}},
		{"OPTIONS", Client, "", 204, map[string]string{"Allow": "GET, HEAD, OPTIONS"}},
		{"OPTIONS", Support, "", 204, map[string]string{"Allow": "GET, HEAD, OPTIONS"}},
	} {
		answer := docs.Answer(c.method, c.document, ifNoneMatch(c.match))
		name := c.method + " " + c.document
		if answer.Status != c.status {
			t.Errorf("%s: %d, want %d", name, answer.Status, c.status)
		}
		if len(answer.Header) != len(cors)+len(c.header) {
			t.Errorf("%s: %d fields: %v", name, len(answer.Header), answer.Header)
		}
		for _, fields := range []map[string]string{cors, c.header} {
			for key, want := range fields {
				if got := field(t, answer, key); got != want {
					t.Errorf("%s: %s is %q, want %q", name, key, got, want)
				}
			}
		}
		bodiless := c.status == 204 || c.status == 304
		if (answer.Body == nil) != bodiless {
			t.Errorf("%s: body %q", name, answer.Body)
		}
	}
}

func TestErrorBodies(t *testing.T) {
	docs := documents(t)
	for method, want := range map[string]string{"GET": "M_NOT_FOUND", "PUT": "M_UNRECOGNIZED"} {
		var body struct{ Errcode, Error string }
		if err := json.Unmarshal(docs.Answer(method, Support, noHeader).Body, &body); err != nil || body.Errcode != want || body.Error == "" {
			t.Errorf("%s: %+v (%v)", method, body, err)
		}
	}
}

func TestIfNoneMatch(t *testing.T) {
	docs := documents(t)
	etag := field(t, docs.Answer("GET", Client, noHeader), "ETag")
	if len(etag) != 18 || etag[0] != '"' || etag == field(t, docs.Answer("GET", Server, noHeader), "ETag") {
		t.Errorf("ETag %s", etag)
	}
	for value, want := range map[string]int{
		"":                       http.StatusOK,
		`"other"`:                http.StatusOK,
		strings.Trim(etag, `"`):  http.StatusOK, // the quotes belong to it
		etag:                     http.StatusNotModified,
		"W/" + etag:              http.StatusNotModified, // a proxy compressed it
		`"other", ` + etag + ` `: http.StatusNotModified,
		"*":                      http.StatusNotModified,
	} {
		if got := docs.Answer("GET", Client, ifNoneMatch(value)).Status; got != want {
			t.Errorf("If-None-Match: %s: %d, want %d", value, got, want)
		}
	}
}

// Answers do not share memory that one of them could change.
func TestAnswersAreIndependent(t *testing.T) {
	docs := documents(t)
	first := docs.Answer("GET", Client, noHeader)
	first.Header[0][1] = "https://example.com"
	_ = append(first.Header, [2]string{"Vary", "Origin"})
	second := docs.Answer("GET", Client, noHeader)
	if got := field(t, second, "Access-Control-Allow-Origin"); got != "*" {
		t.Errorf("Access-Control-Allow-Origin: %s", got)
	}
}
