package main

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vestibule/proxy"
)

// askedServer answers on a control socket as a running server does.
func askedServer(t *testing.T, status string) (socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "v") // sockets have short paths
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "c.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/status" {
			http.NotFound(w, r)
			return
		}
		w.Write([]byte(status)) //nolint:errcheck // the test sees what is missing
	})}
	go srv.Serve(l) //nolint:errcheck // ends with Close
	t.Cleanup(func() { srv.Close() })
	return socket
}

// The health of each address of a name is shown when the server tells it, and a
// process that is down loses its keys to the others.
func TestExplainHealth(t *testing.T) {
	socket := askedServer(t, `{"pools": [{"upstreams": [
		{"url": "http://sync0:1", "health": "down", "error": "refused"},
		{"url": "http://sync1:1", "health": "up", "addresses": [
			{"address": "192.0.2.1:1", "health": "up"}, {"address": "192.0.2.2:1", "health": "down", "error": "connection refused"}]},
		{"url": "http://main:1", "health": "up"}]}]}`)
	path := filepath.Join(t.TempDir(), "c.yaml")
	text := "control: " + socket + `
certificates: { issuer: internal }
sites:
  - server_name: example.com
    synapse: { main: "http://main:1", workers: { sync: ["http://sync0:1", { url: "http://sync1:1", max_conns: 20 }] } }
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ask := func(token string, flags ...string) string {
		var out, complaints bytes.Buffer
		args := append([]string{"explain", "GET", "/_matrix/client/v3/sync?since=s1", "-H", "Authorization: Bearer " + token, "--config", path}, flags...)
		if status := run(args, strings.NewReader(""), &out, &complaints); status != exitOK {
			t.Fatalf("%s: exit %d: %s", token, status, complaints.String())
		}
		return out.String()
	}
	for _, token := range []string{"mat_a", "mat_b", "mat_c", "mat_d", "mat_e", "mat_f"} { // none of them stays with sync0
		var x explanation
		if err := json.Unmarshal([]byte(ask(token, "--json")), &x); err != nil {
			t.Fatal(err)
		}
		if x.Upstream != "http://sync1:1" || x.Limits.MaxConns != 20 {
			t.Errorf("%s: upstream %s, limits %+v", token, x.Upstream, x.Limits)
		}
		addresses := []proxy.AddressStatus{{Address: "192.0.2.1:1", Health: "up"}, {Address: "192.0.2.2:1", Health: "down", Error: "connection refused"}}
		if !slices.Equal(x.Candidates[1].Addresses, addresses) || x.Candidates[0].Health != "down" {
			t.Errorf("%s: candidates %+v", token, x.Candidates)
		}
	}
	for _, line := range []string{
		"            http://sync0:1  down\n",
		"upstream -> http://sync1:1  up  at most 20 connections\n              192.0.2.1:1  up\n              192.0.2.2:1  down  connection refused\n",
		"hash key    token, until Synapse has said whose it is; then that user's process answers\n",
		"stands in   example.com/main  http://main:1  up\n",
	} {
		if got := ask("mat_a"); !strings.Contains(got, line) {
			t.Errorf("%q is missing in\n%s", line, got)
		}
	}
}
