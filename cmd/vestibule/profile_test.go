package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// controlClient asks the control socket of a service.
type controlClient struct {
	t      *testing.T
	client http.Client
}

func newControlClient(t *testing.T, path string) *controlClient {
	c := &controlClient{t: t, client: http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}}}
	t.Cleanup(c.client.CloseIdleConnections)
	return c
}

func (c *controlClient) get(target string) (int, string) {
	resp, err := c.client.Get("http://control" + target)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// TestProfiles: the control socket gives them, in the form "go tool pprof" reads,
// which is compressed.
func TestProfiles(t *testing.T) {
	s := newTestService(t, http.NotFoundHandler(), "")
	c := newControlClient(t, s.control.path)
	for _, tt := range []struct {
		target string
		status int
		begins string
	}{
		{"/debug/pprof/profile?seconds=1", 200, "\x1f\x8b"},
		{"/debug/pprof/heap", 200, "\x1f\x8b"},
		{"/debug/pprof/goroutine", 200, "\x1f\x8b"},
		{"/debug/pprof/goroutine?debug=1", 200, "goroutine profile: total "},
		{"/debug/pprof/profile?seconds=0", 400, `seconds is "0" (hint: 1 to 300)`},
		{"/debug/pprof/profile?seconds=301", 400, `seconds is "301" (hint: 1 to 300)`},
		{"/debug/pprof/profile?seconds=x", 400, `seconds is "x" (hint: 1 to 300)`},
		{"/debug/pprof/nothing", 404, "there is no such profile (hint: "},
		{"/debug/pprof/", 404, "404"},
	} {
		if status, text := c.get(tt.target); status != tt.status || !strings.HasPrefix(text, tt.begins) {
			t.Errorf("%s: %d %.60q, not %d %q", tt.target, status, text, tt.status, tt.begins)
		}
	}
}

// TestProfilesAreLocal: who can reach a port gets none.
func TestProfilesAreLocal(t *testing.T) {
	s := newTestService(t, sayName("main"), "")
	for _, target := range []string{"/debug/pprof/heap", "/debug/pprof/goroutine?debug=1", "/debug/pprof/profile?seconds=1", "/debug/pprof/"} {
		if status, _ := s.ask(target); status != 404 {
			t.Errorf("%s on the admin entrypoint: %d", target, status)
		}
		if status, _ := s.get(target); status != 404 {
			t.Errorf("%s on the https entrypoint: %d", target, status)
		}
		req, err := http.NewRequest("GET", target, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, pattern := http.DefaultServeMux.Handler(req); pattern != "" {
			t.Errorf("%s is on http.DefaultServeMux, which anything may serve", target)
		}
	}
}

// TestProfileEndsWithItsClient: one that is under way keeps others out, and not
// longer than who asked for it waits.
func TestProfileEndsWithItsClient(t *testing.T) {
	s := newTestService(t, http.NotFoundHandler(), "")
	c := newControlClient(t, s.control.path)
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan struct{})
	go func() {
		defer close(left)
		for ctx.Err() == nil { // the question below may come first
			if answer, err := open(ctx, s.control.path, "GET", "debug/pprof/profile?seconds=300", 0); err == nil {
				answer.Close()
			}
		}
	}()
	c.await("/debug/pprof/profile?seconds=1", 409)
	leave()
	<-left
	c.await("/debug/pprof/profile?seconds=1", 200)
}

// await repeats a question until it is answered with a status.
func (c *controlClient) await(target string, want int) {
	c.t.Helper()
	status := 0
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if status, _ = c.get(target); status == want {
			return
		}
	}
	c.t.Errorf("%s is answered %d, not %d", target, status, want)
}
