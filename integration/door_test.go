//go:build integration

package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

const baseURL = "https://matrix." + serverName

// TestClientAddress sends the headers with which clients pretend to be somebody
// else; Synapse must know them by their connection all the same.
func TestClientAddress(t *testing.T) {
	c := newClient(lab.roots)
	for _, headers := range [][]string{
		nil,
		{"X-Forwarded-For", "203.0.113.9"},
		{"X-Forwarded-For", "203.0.113.9", "X-Forwarded-For", "203.0.113.10, 127.0.0.1"},
		{"x-forwarded-for", "203.0.113.9"},
		{"X_Forwarded_For", "203.0.113.9"},
		{"X-Real-Ip", "203.0.113.9"},
		{"Forwarded", "for=203.0.113.9;proto=http"},
		{"X-Forwarded-Proto", "http", "X-Forwarded-Host", "evil.example"},
	} {
		response, err := c.do(http.MethodGet, baseURL+"/_matrix/client/versions", headers...)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
	}
	requests := c.sent()
	compareWithExplain(t, requests)
	answers, err := lab.synapse.answers()
	if err != nil {
		t.Fatal(err)
	}
	for _, request := range requests {
		for _, answer := range answers[request.ID] {
			if answer.Client != c.address {
				t.Errorf("%s: Synapse takes the client at %s for %s", request.ID, c.address, answer.Client)
			}
		}
	}
}

func TestProtocols(t *testing.T) {
	for version, set := range map[int]func(*http.Protocols, bool){
		1: (*http.Protocols).SetHTTP1,
		2: (*http.Protocols).SetHTTP2,
	} {
		c := newClient(lab.roots)
		c.transport.ForceAttemptHTTP2 = false
		c.transport.Protocols = new(http.Protocols)
		set(c.transport.Protocols, true)
		for _, port := range []string{"", ":8448"} {
			response, err := c.do(http.MethodGet, baseURL+port+"/_matrix/client/versions")
			if err != nil {
				t.Errorf("HTTP/%d: %v", version, err)
				continue
			}
			response.Body.Close()
			if response.ProtoMajor != version || response.StatusCode != http.StatusOK {
				t.Errorf("HTTP/%d: %s over %s", version, response.Status, response.Proto)
			}
		}
		compareWithExplain(t, c.sent())
	}
}

// TestClosed asks for what nobody outside may have, in the spellings that
// Twisted would decode.
func TestClosed(t *testing.T) {
	c := newClient(lab.roots)
	for _, path := range append(spellings("admin", "v1/server_version"),
		"/_synapse/admin/v2/users",
		"/_synapse/admin",
		"/_synapse/mas/query_user?localpart=alice",
		"/_synapse/metrics",
		"/_synapse/replication/fed_send_edu/x/y",
		"/metrics",
		"/health",
	) {
		for _, port := range []string{"", ":8448"} {
			response, err := c.do(http.MethodGet, baseURL+port+path)
			if err != nil {
				t.Error(err)
				continue
			}
			response.Body.Close()
			if !refusal(response.StatusCode) {
				t.Errorf("%s%s answers %s", port, path, response.Status)
			}
		}
	}
	if result := compareWithExplain(t, c.sent()); len(result.proxied) > 0 {
		t.Errorf("some of it reaches Synapse: %s", result.classes())
	}
}

// spellings are ways to write /_synapse/AREA/REST.
func spellings(area, rest string) []string {
	return []string{
		"/_synapse/" + area + "/" + rest,
		"/%5Fsynapse/" + area + "/" + rest,
		"/%255Fsynapse/" + area + "/" + rest,
		fmt.Sprintf("/_synapse/%%%02x%s/%s", area[0], area[1:], rest),
		"/_synapse%2F" + area + "/" + rest,
		"/_synapse//" + area + "/" + rest,
		"/_synapse/client/../" + area + "/" + rest,
		"/_matrix/../_synapse/" + area + "/" + rest,
		"/_matrix/%2e%2e/_synapse/" + area + "/" + rest,
		"//_synapse/" + area + "/" + rest,
	}
}

// refusal says whether a status is one of those with which the front door
// refuses a request.
func refusal(status int) bool {
	return status == http.StatusForbidden || status == http.StatusNotFound || status == http.StatusBadRequest
}

func TestWellKnown(t *testing.T) {
	c := newClient(lab.roots)
	for _, host := range []string{serverName, "matrix." + serverName} {
		client := wellKnown(t, c, "https://"+host+"/.well-known/matrix/client")
		if base, _ := client["m.homeserver"].(map[string]any); base["base_url"] != baseURL {
			t.Errorf("%s sends clients to %v", host, client)
		}
		server := wellKnown(t, c, "https://"+host+"/.well-known/matrix/server")
		if server["m.server"] != "matrix."+serverName+":8448" {
			t.Errorf("%s sends servers to %v", host, server)
		}
	}
	compareWithExplain(t, c.sent())
}

// wellKnown fetches a document as a browser does on another site's page.
func wellKnown(t *testing.T, c *client, address string) map[string]any {
	t.Helper()
	response, err := c.do(http.MethodGet, address, "Origin", "https://app.example")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	document := map[string]any{}
	err = json.NewDecoder(response.Body).Decode(&document)
	if err != nil || response.StatusCode != http.StatusOK || response.Header.Get("Access-Control-Allow-Origin") != "*" ||
		!strings.HasPrefix(response.Header.Get("Content-Type"), "application/json") {
		t.Errorf("%s: %s %v %v", address, response.Status, response.Header, err)
	}
	return document
}

func TestRedirect(t *testing.T) {
	c := newClient(lab.roots)
	for _, target := range []string{"/", "/_matrix/client/versions?a=%2F", "/.well-known/matrix/client"} {
		response, err := c.do(http.MethodGet, "http://matrix."+serverName+target)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode/100 != 3 || response.Header.Get("Location") != baseURL+target {
			t.Errorf("http %s: %s to %q", target, response.Status, response.Header.Get("Location"))
		}
	}
}

// TestAdmin asks the admin entrypoint what monitoring asks.
func TestAdmin(t *testing.T) {
	for path, want := range map[string]int{
		"/livez": 200, "/readyz": 200, "/readyz?site=" + serverName: 200, "/status": 200, "/metrics": 200, "/_matrix/client/versions": 404,
	} {
		response, err := http.Get("http://" + lab.vestibule.admin + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != want || len(text) == 0 {
			t.Errorf("%s: %s with %d bytes, %v", path, response.Status, len(text), err)
		}
	}
	up, err := lab.vestibule.sample("vestibule_upstream_up", "upstream")
	if err != nil || len(up) == 0 {
		t.Errorf("vestibule_upstream_up: %v, %v", up, err)
	}
	certificates, err := lab.vestibule.sample("vestibule_certificate_not_after_seconds", "name")
	if err != nil || certificates["matrix."+serverName] == 0 || certificates[serverName] == 0 {
		t.Errorf("vestibule_certificate_not_after_seconds: %v, %v", certificates, err)
	}
}
