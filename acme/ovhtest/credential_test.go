package ovhtest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"vestibule/acme/ovhtest"
)

func TestSignature(t *testing.T) {
	// The example of OVHcloud's guide "First steps with the API".
	got := ovhtest.Signature("EXEgWIz07P0HYwtQDs7cNIqCiQaWSuHF", "MtSwSrPpNjqfVSmJhLbPyr2i45lSwPU1",
		"GET", "https://eu.api.ovh.com/1.0/domains/", "", 1366560945)
	if want := "$1$d3705e8afb27a0d2970a322b96550abfc67bb798"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	// Computed with sha1sum: a body, and a query, which counts.
	got = ovhtest.Signature("secret", "consumer", "POST",
		"http://127.0.0.1:1/1.0/domain/zone/example.org/record?a=b", `{"fieldType":"TXT"}`, 1700000000)
	if want := "$1$af43bef6792f01cb59b8fff41f8b18f995bcb07f"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Each caller has one thing wrong, and all that is checked later too.
func TestAuthentication(t *testing.T) {
	s := start(t, ovhtest.Options{})
	s.AddApplication("other", applicationSecret)
	s.AddConsumer(applicationKey, "limited", ovhtest.LeastRules("example.org")...)
	s.AddConsumer(applicationKey, "pending", ovhtest.Everything)
	s.SetConsumer("pending", "pendingValidation", time.Time{})
	s.AddConsumer(applicationKey, "old", ovhtest.Everything)
	s.SetConsumer("old", "validated", time.Now().Add(-time.Second))

	const forbidden, bad = "Client::Forbidden", "Client::BadRequest"
	refused := func(c caller, status int, class, message, code string) {
		t.Helper()
		c.server = s
		c.do(t, "GET", "/domain/zone", "").refused(t, status, class, message, code)
	}
	refused(caller{}, 401, "Client::Unauthorized", "You must login first", "")
	refused(caller{key: "nobody", clock: time.Minute}, 403, forbidden, "This application key is invalid", "INVALID_KEY")
	refused(caller{key: "app", clock: 32 * time.Second}, 400, bad, "Query out of time", "QUERY_TIME_OUT")
	refused(caller{key: "app", clock: -32 * time.Second}, 400, bad, "Query out of time", "QUERY_TIME_OUT")
	refused(caller{key: "app", secret: "wrong", consumer: "nobody"}, 400, bad, "Invalid signature", "INVALID_SIGNATURE")
	refused(caller{key: "app", secret: "secret", consumer: "nobody"}, 403, forbidden, "This credential does not exist", "NOT_CREDENTIAL")
	refused(caller{key: "other", secret: "secret", consumer: consumerKey}, 403, forbidden, "This credential does not exist", "NOT_CREDENTIAL")
	refused(caller{key: "app", secret: "secret", consumer: "pending"}, 403, forbidden, "This credential is not valid", "INVALID_CREDENTIAL")
	refused(caller{key: "app", secret: "secret", consumer: "old"}, 403, forbidden, "This credential is not valid", "INVALID_CREDENTIAL")
	refused(caller{key: "app", secret: "secret", consumer: "limited"}, 403, forbidden, "This call has not been granted", "NOT_GRANTED_CALL")

	callerOf(s).do(t, "GET", "/domain/zone", "").want(t, http.StatusOK, `["example.org"]`)
	s.RemoveConsumer(consumerKey)
	refused(callerOf(s), 403, forbidden, "This credential does not exist", "NOT_CREDENTIAL")
}

// What is signed is the whole request, as it was sent.
func TestSignatureCovers(t *testing.T) {
	s := start(t, ovhtest.Options{})
	c := callerOf(s)
	const path = "/domain/zone/example.org/record"
	tampered := func(change func(*http.Request)) {
		t.Helper()
		r := c.request(t, "GET", path+"?fieldType=TXT", "")
		change(r)
		send(t, r).refused(t, 400, "Client::BadRequest", "Invalid signature", "INVALID_SIGNATURE")
	}
	tampered(func(r *http.Request) { r.URL.RawQuery = "fieldType=A" })
	tampered(func(r *http.Request) { r.URL.RawQuery = "" })
	tampered(func(r *http.Request) { r.Method = "DELETE" })
	tampered(func(r *http.Request) { r.Host = "elsewhere.example" })
	tampered(func(r *http.Request) {
		seconds, _ := strconv.Atoi(r.Header.Get("X-Ovh-Timestamp"))
		r.Header.Set("X-Ovh-Timestamp", fmt.Sprint(seconds+1))
	})
	c.do(t, "GET", path+"?fieldType=TXT&subDomain=", "").want(t, http.StatusOK, "[]")
}

func TestRules(t *testing.T) {
	s := start(t, ovhtest.Options{})
	c := callerOf(s)
	try := func(rule ovhtest.Rule, method, path string, want bool) {
		t.Helper()
		s.AddConsumer(applicationKey, consumerKey, rule)
		got := c.do(t, method, path, "").status
		if (got != http.StatusForbidden) != want {
			t.Errorf("%s %s grants %s %s: got %d, want granted %t", rule.Method, rule.Path, method, path, got, want)
		}
	}
	good := func(m, p, method, path string) { t.Helper(); try(ovhtest.Rule{Method: m, Path: p}, method, path, true) }
	bad := func(m, p, method, path string) {
		t.Helper()
		try(ovhtest.Rule{Method: m, Path: p}, method, path, false)
	}

	good("GET", "/domain/zone", "GET", "/domain/zone")
	good("GET", "/*", "GET", "/domain/zone")
	good("GET", "/domain/zone/*", "GET", "/domain/zone/example.org")
	good("GET", "/domain/zone/*", "GET", "/domain/zone/example.org/record")
	good("GET", "/domain/zone/*", "GET", "/domain/zone/")
	good("*", "/domain/zone", "GET", "/domain/zone")
	good("GET", "/domain/zone*", "GET", "/domain/zone/example.org")
	good("GET", "/domain/zone/example.org/record", "GET", "/domain/zone/example.org/record?fieldType=TXT")
	bad("GET", "/domain/zone/*", "GET", "/domain/zone") // the classic
	bad("GET", "/domain/zone/example.org", "GET", "/domain/zone/example.org/record")
	bad("GET", "/domain/zone/", "GET", "/domain/zone") // exact
	bad("GET", "/domain/zone/example.org/*", "GET", "/domain/zone/example.org")
	bad("GET", "/domain/zone/example.net/*", "GET", "/domain/zone/example.org/record")
	bad("POST", "/*", "GET", "/domain/zone")
	bad("GET", "/domain/*/example.org", "GET", "/domain/zone/example.org") // a star elsewhere is a letter
}

// The least rules suffice to make a record, publish it and remove it.
func TestLeastRules(t *testing.T) {
	s := start(t, ovhtest.Options{})
	s.AddConsumer(applicationKey, consumerKey, ovhtest.LeastRules("example.org")...)
	c := callerOf(s)
	r := c.record(t, "example.org", "TXT", "a", "value")
	c.refresh(t, "example.org")
	path := fmt.Sprintf("/domain/zone/example.org/record/%d", r.ID)
	const message, code = "This call has not been granted", "NOT_GRANTED_CALL"
	c.do(t, "GET", path, "").refused(t, 403, "Client::Forbidden", message, code)
	c.do(t, "DELETE", path, "").want(t, http.StatusOK, "null")
}

func TestCurrentCredential(t *testing.T) {
	s := start(t, ovhtest.Options{})
	c := callerOf(s)
	type credential struct {
		Status     string
		Expiration *time.Time
		Rules      []ovhtest.Rule
	}
	get := func() (got credential) {
		t.Helper()
		a := c.do(t, "GET", "/auth/currentCredential", "")
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
		return got
	}
	s.AddConsumer(applicationKey, consumerKey) // no rule is needed
	if got := get(); got.Status != "validated" || got.Expiration != nil || got.Rules == nil || len(got.Rules) != 0 {
		t.Errorf("got %+v", got)
	}
	rules := ovhtest.LeastRules("example.org")
	until := time.Now().Add(time.Hour).Truncate(time.Second)
	s.AddConsumer(applicationKey, consumerKey, rules...)
	s.SetConsumer(consumerKey, "validated", until)
	if got := get(); got.Expiration == nil || !got.Expiration.Equal(until) || !slices.Equal(got.Rules, rules) {
		t.Errorf("got %+v", got)
	}
}

// The time needs no credential, and is what timestamps are compared with.
func TestTime(t *testing.T) {
	s := start(t, ovhtest.Options{Skew: time.Hour})
	c := callerOf(s)
	near := func(want time.Duration) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/auth/time", nil)
		if err != nil {
			t.Fatal(err)
		}
		a := send(t, r)
		seconds, err := strconv.ParseInt(a.body, 10, 64)
		if err != nil || a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
		if off := time.Until(time.Unix(seconds, 0)) - want; off.Abs() > 5*time.Second {
			t.Errorf("the clock is %v off", off)
		}
	}
	near(time.Hour)
	c.clock = time.Hour
	c.do(t, "GET", "/domain/zone", "").want(t, http.StatusOK, `["example.org"]`)
	s.SetSkew(-10 * time.Minute)
	near(-10 * time.Minute)
	c.do(t, "GET", "/domain/zone", "").refused(t, 400, "Client::BadRequest", "Query out of time", "QUERY_TIME_OUT")
}
