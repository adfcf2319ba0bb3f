//go:build integration

package integration

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// sighting is what a browser saw of the network, as clients/sightings.mjs
// reports it.
type sighting struct {
	Kind          string            `json:"kind"` // answer, redirect, preflight, failure, complaint
	Page          string            `json:"page"` // the origin of the page
	Method        string            `json:"method"`
	URL           string            `json:"url"`
	Authorization string            `json:"authorization"`
	Status        int               `json:"status"`
	Headers       map[string]string `json:"headers"` // of the answer, names in lower case
	Text          string            `json:"text"`    // of a failure or a complaint
}

// permits says whether a preflight's answer lets a page of another origin send
// what Matrix clients send (client-server API, "Web Browser Clients").
func (s sighting) permits() bool {
	allowed := strings.ToLower(s.Headers["access-control-allow-headers"])
	return (s.Status == http.StatusOK || s.Status == http.StatusNoContent) && s.Headers["access-control-allow-origin"] == "*" &&
		strings.Contains(allowed, "authorization") && strings.Contains(allowed, "content-type") &&
		strings.Contains(s.Headers["access-control-allow-methods"], "PUT")
}

// location is where a redirect led, as an absolute URL.
func (s sighting) location() string {
	from, err := url.Parse(s.URL)
	if err != nil {
		return err.Error()
	}
	to, err := from.Parse(s.Headers["location"])
	if err != nil {
		return err.Error()
	}
	return to.String()
}

// sightings are in the order in which a browser had them.
type sightings []sighting

func (all sightings) of(kind string) sightings {
	var found sightings
	for _, s := range all {
		if s.Kind == kind {
			found = append(found, s)
		}
	}
	return found
}

// String lists them, a line each.
func (all sightings) String() string {
	var text strings.Builder
	for _, s := range all {
		fmt.Fprintf(&text, "%s: %s %s %d %s\n", s.Kind, s.Method, s.URL, s.Status, s.Text)
	}
	return text.String()
}

// sent are the requests that were answered over TLS, but for preflights.
func (all sightings) sent() []sent {
	var requests []sent
	for _, s := range all {
		if (s.Kind == "answer" || s.Kind == "redirect") && strings.HasPrefix(s.URL, "https:") {
			requests = append(requests, sent{ID: "browser", Method: s.Method, URL: s.URL, Authorization: s.Authorization, Status: s.Status})
		}
	}
	return requests
}
