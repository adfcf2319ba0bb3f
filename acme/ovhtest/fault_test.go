package ovhtest_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"vestibule/acme/ovhtest"
)

func TestFaultAnswers(t *testing.T) {
	s := start(t, ovhtest.Options{})
	c := callerOf(s)
	s.Fault(ovhtest.Fault{
		Method: "POST", Path: "/record", Status: 429, Body: `{"message":"slow down"}`,
		Header: http.Header{"Retry-After": {"7"}}, Times: 2,
	})
	const path = "/domain/zone/example.org/record"
	const body = `{"fieldType":"TXT","target":"a"}`
	c.do(t, "GET", path, "").want(t, 200, "[5000000001,5000000002]") // another method
	for range 2 {
		a := c.do(t, "POST", path, body)
		a.want(t, 429, `{"message":"slow down"}`)
		if a.header.Get("Retry-After") != "7" || a.header.Get("X-Ovh-QueryID") == "" {
			t.Errorf("got %v", a.header)
		}
	}
	if n := len(s.Records("example.org")); n != 2 {
		t.Errorf("there are %d records", n)
	}
	if a := c.do(t, "POST", path, body); a.status != 200 {
		t.Errorf("the fault did not wear off: %d", a.status)
	}
	calls := s.Calls()
	if !calls[2].Faulty || calls[2].Status != 429 || calls[3].Faulty {
		t.Errorf("got %+v", calls)
	}
}

// Faults come one after another, and may begin late or last.
func TestFaultOrder(t *testing.T) {
	s := start(t, ovhtest.Options{})
	c := callerOf(s)
	s.Fault(ovhtest.Fault{Path: "/refresh", Status: 500, Skip: 1})
	s.Fault(ovhtest.Fault{Path: "/refresh", Status: 502, Body: "<html>", Times: ovhtest.Forever, Skip: 1})
	var got []int
	for range 5 {
		got = append(got, c.do(t, "POST", "/domain/zone/example.org/refresh", "").status)
	}
	s.ClearFaults()
	got = append(got, c.do(t, "POST", "/domain/zone/example.org/refresh", "").status)
	if want := [6]int{200, 500, 502, 502, 502, 200}; [6]int(got) != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// The change is made, and the client does not hear of it.
func TestFaultAfter(t *testing.T) {
	s := start(t, ovhtest.Options{})
	c := callerOf(s)
	const path = "/domain/zone/example.org/record"
	s.Fault(ovhtest.Fault{Method: "POST", Status: 500, After: true})
	c.do(t, "POST", path, `{"fieldType":"TXT","target":"a"}`).want(t, 500, "")
	s.Fault(ovhtest.Fault{Method: "POST", Drop: true, After: true})
	r := c.request(t, "POST", path, `{"fieldType":"TXT","target":"b"}`)
	if response, err := http.DefaultClient.Do(r); err == nil {
		t.Errorf("got %s", response.Status)
		response.Body.Close()
	}
	if n := len(s.Records("example.org")); n != 4 {
		t.Errorf("there are %d records", n)
	}
}

func TestFaultDelay(t *testing.T) {
	s := start(t, ovhtest.Options{})
	c := callerOf(s)
	s.Fault(ovhtest.Fault{Path: "/domain/zone", Delay: 100 * time.Millisecond})
	began := time.Now()
	c.do(t, "GET", "/domain/zone", "").want(t, 200, `["example.org"]`)
	if took := time.Since(began); took < 100*time.Millisecond {
		t.Errorf("it took %v", took)
	}
}

// A call that hangs is never carried out, and does not hold up others, nor Close.
func TestFaultHangs(t *testing.T) {
	s := start(t, ovhtest.Options{})
	c := callerOf(s)
	s.Fault(ovhtest.Fault{Method: "POST", Delay: ovhtest.Forever, Times: ovhtest.Forever})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	r := c.request(t, "POST", "/domain/zone/example.org/record", `{"fieldType":"TXT","target":"a"}`).WithContext(ctx)
	if _, err := http.DefaultClient.Do(r); !errors.Is(err, context.DeadlineExceeded) { //nolint:bodyclose // there is none
		t.Errorf("got %v", err)
	}
	c.do(t, "GET", "/domain/zone", "").want(t, 200, `["example.org"]`)

	closed := make(chan error, 1)
	r = c.request(t, "POST", "/domain/zone/example.org/refresh", "")
	go func() {
		_, err := http.DefaultClient.Do(r) //nolint:bodyclose // there is none
		closed <- err
	}()
	for len(s.CallsTo("POST", "/refresh")) == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-closed; err == nil {
		t.Error("the call that hung was answered")
	}
	if n := len(s.Records("example.org")); n != 2 {
		t.Errorf("there are %d records", n)
	}
}

func TestFaultOfTokenEndpoint(t *testing.T) {
	s := start(t, ovhtest.Options{})
	s.AddOAuthClient("id", "secret")
	s.Fault(ovhtest.Fault{Path: "/auth/oauth2/token", Status: 503})
	grant(t, s, "client_credentials", "id", "secret", true).want(t, 503, "")
	tokenOf(t, grant(t, s, "client_credentials", "id", "secret", true))
}
