//go:build integration

package integration

import (
	"bytes"
	"context"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	pageURL      = baseURL + "/element/"
	otherPageURL = "https://" + pageHost + "/"
)

// screenshotEnv names a file to which the screenshot is copied.
const screenshotEnv = "VESTIBULE_SCREENSHOT"

// TestBrowser has somebody talk with a matrix-js-sdk in Node by a web page in
// Chromium: from Synapse's own host, then from another origin. A browser shows
// what no other client does: what may be read across origins, and what it asks
// before it sends something.
func TestBrowser(t *testing.T) {
	if err := lab.page.bundle(); err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(lab.directory, "browser")
	screenshot := filepath.Join(home, "screenshot.png")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	outcomes, err := browse(ctx, lab.vestibule.root, errand{
		ServerName: serverName, Page: pageURL, OtherPage: otherPageURL, Broken: brokenPath,
		Impostor: "https://" + peerName + ":8448/", Home: home, Screenshot: screenshot,
	})
	if err != nil {
		t.Error(err)
	}
	var requests []sent
	var seen sightings
	for _, o := range outcomes {
		switch {
		case o.Request != nil:
			requests = append(requests, *o.Request)
		case o.Sighting != nil:
			seen = append(seen, *o.Sighting)
		case o.Failure != "":
			t.Errorf("%s: %s", o.Step, o.Failure)
		default:
			t.Log(o.Step)
		}
	}
	if t.Failed() {
		t.Logf("the browser saw:\n%s", seen)
	}
	compareWithExplain(t, requests)
	seen.wantRedirects(t,
		"http://matrix.hs1.test/element 301 https://matrix.hs1.test/element",
		"https://matrix.hs1.test/element 302 https://matrix.hs1.test/element/",
		"https://matrix.hs1.test/ 302 https://matrix.hs1.test/element/")
	seen.wantPreflights(t)
	seen.wantReadable(t)
	seen.compareWithExplain(t)
	wantStripped(t)
	keepScreenshot(t, screenshot)
}

// wantRedirects compares all redirects the browser followed.
func (all sightings) wantRedirects(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for _, s := range all.of("redirect") {
		got = append(got, fmt.Sprintf("%s %d %s", s.URL, s.Status, s.location()))
	}
	if !slices.Equal(got, want) {
		t.Errorf("the browser was redirected so:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// wantPreflights fails unless every preflight was permitted, those for what is
// closed or broken among them: a browser hides the answer otherwise, and
// calls it a CORS error.
func (all sightings) wantPreflights(t *testing.T) {
	t.Helper()
	unseen := map[string]bool{"/_matrix/client/v3/sync": true, "/_synapse/admin/v1/server_version": true, brokenPath: true}
	preflights := all.of("preflight")
	for _, s := range preflights {
		if !s.permits() {
			t.Errorf("preflight of %s from %s: %d %v", s.URL, s.Page, s.Status, s.Headers)
		}
		if s.Page+"/" != otherPageURL {
			t.Errorf("preflight of %s from %s, which is of the same origin", s.URL, s.Page)
		}
		path, _, _ := strings.Cut(strings.TrimPrefix(s.URL, baseURL), "?")
		delete(unseen, path)
	}
	for path := range unseen {
		t.Errorf("no preflight was seen for %s", path)
	}
	t.Logf("the browser made %d preflights, all permitted", len(preflights))
}

// wantReadable fails when the browser could not read an answer, or complained
// of one, but for those that are meant to be errors.
func (all sightings) wantReadable(t *testing.T) {
	t.Helper()
	for _, s := range all.of("failure") {
		t.Errorf("%s %s, from %s, failed: %s", s.Method, s.URL, s.Page, s.Text)
	}
	for _, s := range all.of("complaint") {
		if !s.meantToFail() || !strings.HasPrefix(s.Text, "Failed to load resource: the server responded with a status of ") {
			t.Errorf("the browser complains of %s: %s", s.URL, s.Text)
		}
	}
	for _, s := range all.of("answer") {
		if s.Status >= 400 && !s.meantToFail() {
			t.Errorf("%s %s, from %s: %d", s.Method, s.URL, s.Page, s.Status)
		}
	}
}

// meantToFail says whether the page asked for what is closed or broken.
func (s sighting) meantToFail() bool {
	return strings.HasPrefix(s.URL, baseURL+"/_synapse/admin/") || s.URL == baseURL+brokenPath
}

// compareWithExplain holds the browser's requests against what explain says,
// and those for Synapse against its logs.
func (all sightings) compareWithExplain(t *testing.T) {
	t.Helper()
	requests := all.sent()
	explanations, err := lab.vestibule.explain(requests)
	if err != nil {
		t.Fatal(err)
	}
	answers, err := lab.synapse.awaitUnnumbered(forSynapse(requests, explanations))
	if err != nil {
		t.Fatal(err)
	}
	result := comparison{proxied: map[string]int{}}
	for i, request := range requests {
		if problem := unlike(request, explanations[i], answers[unnumbered(request)]); problem != "" {
			t.Errorf("%s %s (browser, status %d): %s", request.Method, request.URL, request.Status, problem)
		}
		if explanations[i].Action == "proxy" {
			result.proxied[explanations[i].Class]++
		} else {
			result.local++
		}
	}
	result.wantClasses(t, "element", "main", "generic", "media", "stream:typing", "stream:receipts")
	t.Logf("compared %d requests of the browser, and %d that the front door answers itself: %s",
		len(requests)-result.local, result.local, result.classes())
}

// forSynapse are those of the requests that it must have logged.
func forSynapse(requests []sent, explanations []explanation) []string {
	var keys []string
	for i, request := range requests {
		if processesOf[explanations[i].Class] != nil {
			keys = append(keys, unnumbered(request))
		}
	}
	return keys
}

// unlike says what is wrong with who answered a browser, "" when nothing is.
func unlike(request sent, e explanation, answers []logged) string {
	switch {
	case e.Action != "proxy" && e.Status != 0 && e.Status != request.Status:
		return fmt.Sprintf("explain says %s with %d", e.Action, e.Status)
	case e.Action != "proxy":
		return difference(request, e, answers)
	case processesOf[e.Class] == nil && len(answers) > 0:
		return fmt.Sprintf("explain says %s, but %s answered", e.Class, answers[0].Process)
	case processesOf[e.Class] == nil:
		return ""
	case len(answers) == 0:
		return fmt.Sprintf("explain says %s, and no process logged it", e.Pool)
	}
	for _, answer := range answers {
		if problem := difference(request, e, []logged{answer}); problem != "" {
			return problem
		}
	}
	return ""
}

// wantStripped fails unless the page's server knows nothing of the path under
// which the front door publishes it.
func wantStripped(t *testing.T) {
	t.Helper()
	targets := lab.page.targets()
	for _, target := range []string{"/", "/app.js", "/style.css"} {
		if targets[target] < 2 { // once for each origin
			t.Errorf("the page's server was asked %d times for %s", targets[target], target)
		}
		delete(targets, target)
	}
	if len(targets) > 0 {
		t.Errorf("the page's server was also asked for %v", targets)
	}
}

// keepScreenshot copies it where the environment says, if it is fit for a
// document.
func keepScreenshot(t *testing.T, from string) {
	t.Helper()
	picture, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	size, err := png.DecodeConfig(bytes.NewReader(picture))
	if err != nil || len(picture) > 150<<10 {
		t.Fatalf("the screenshot has %d KiB, %v", len(picture)>>10, err)
	}
	t.Logf("the screenshot has %d × %d pixels, %d KiB", size.Width, size.Height, len(picture)>>10)
	if to := os.Getenv(screenshotEnv); to != "" {
		if err := os.WriteFile(to, picture, 0o644); err != nil {
			t.Error(err)
		}
	}
}
