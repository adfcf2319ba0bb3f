//go:build integration

package integration

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// processesOf lists who may answer for a class, by MDAD's worker routing for the
// preset one-of-each: written out here so that the catalogue, explain and the
// running server are held against something that is not theirs.
var processesOf = map[string][]string{
	"main":                             {"matrix-synapse:8008", "matrix-synapse:8048"},
	"generic":                          {"matrix-synapse-worker-generic-0:18111"},
	"media":                            {"matrix-synapse-worker-media-repository-0:18551"},
	"user_dir":                         {"matrix-synapse-worker-user-dir-0:18661"},
	"stream:typing":                    {"matrix-synapse-worker-stream-writer-1-typing:20012"},
	"stream:to_device":                 {"matrix-synapse-worker-stream-writer-2-to-device:20013"},
	"stream:account_data":              {"matrix-synapse-worker-stream-writer-3-account-data:20014"},
	"stream:receipts":                  {"matrix-synapse-worker-stream-writer-4-receipts:20015"},
	"stream:presence":                  {"matrix-synapse-worker-stream-writer-5-presence:20016"},
	"stream:push_rules":                {"matrix-synapse-worker-stream-writer-6-push-rules:20017"},
	"stream:device_lists":              {"matrix-synapse-worker-stream-writer-7-device-lists:20018"},
	"stream:quarantined_media_changes": {"matrix-synapse-worker-stream-writer-8-quarantined-media-changes:20019"},
}

// comparison is what came of comparing requests.
type comparison struct {
	proxied map[string]int // by class
	local   int            // answered by the front door itself
}

// compareWithExplain holds each request against the access logs: the process
// that answered must be the one explain names, it must have seen the target as
// it was sent, and only once. What explain says is answered here must be in no
// log at all.
func compareWithExplain(t *testing.T, requests []sent) comparison {
	t.Helper()
	result := comparison{proxied: map[string]int{}}
	requests = slices.DeleteFunc(slices.Clone(requests), func(r sent) bool { return r.Method == http.MethodOptions })
	explanations, err := lab.vestibule.explain(requests)
	if err != nil {
		t.Fatal(err)
	}
	var proxied []string
	for i, e := range explanations {
		if e.Action == "proxy" {
			proxied = append(proxied, requests[i].ID)
		}
	}
	answers, err := lab.synapse.awaitAnswers(proxied)
	if err != nil {
		t.Fatal(err)
	}
	for i, request := range requests {
		if problem := difference(request, explanations[i], answers[request.ID]); problem != "" {
			t.Errorf("%s %s (%s, status %d): %s", request.Method, request.URL, request.ID, request.Status, problem)
		}
		if explanations[i].Action == "proxy" {
			result.proxied[explanations[i].Class]++
		} else {
			result.local++
		}
	}
	lab.compared += len(proxied)
	t.Logf("compared %d requests with Synapse's own logs, and %d that the front door answers itself: %s",
		len(proxied), result.local, result.classes())
	return result
}

// classes lists the classes and how many requests each had.
func (c comparison) classes() string {
	var words []string
	for _, class := range slices.Sorted(maps.Keys(c.proxied)) {
		words = append(words, fmt.Sprintf("%s %d", class, c.proxied[class]))
	}
	return strings.Join(words, ", ")
}

// difference says what is wrong with who answered, "" when nothing is.
func difference(request sent, e explanation, answers []logged) string {
	if e.Action != "proxy" {
		if len(answers) > 0 {
			return fmt.Sprintf("explain says %q, but %s answered", e.Action, answers[0].Process)
		}
		return ""
	}
	if len(answers) != 1 {
		return fmt.Sprintf("explain says %s, and %d processes logged it: %v", e.Pool, len(answers), answers)
	}
	answer := answers[0]
	target := loggedTarget(request)
	switch {
	case e.Pool != serverName+"/"+e.Class:
		return fmt.Sprintf("explain names the pool %q for the class %q", e.Pool, e.Class)
	case !slices.Contains(processesOf[e.Class], answer.Process):
		return fmt.Sprintf("explain says %s (endpoint %s, route %s), but %s answered", e.Class, e.Endpoint, e.Route, answer.Process)
	case e.Upstream != "" && hostOf(e.Upstream) != answer.Process:
		return fmt.Sprintf("explain says %s, but %s answered", e.Upstream, answer.Process)
	case answer.Method != request.Method || answer.Target != target:
		return fmt.Sprintf("%s was asked for %s %s", answer.Process, answer.Method, answer.Target)
	}
	return ""
}

// accessToken is what Synapse leaves out of its log of a target.
var accessToken = regexp.MustCompile(`([?&]access_token=)[^&]*`)

// loggedTarget is a request's target as Synapse's log has it.
func loggedTarget(request sent) string {
	_, address, _ := strings.Cut(request.URL, "://")
	return accessToken.ReplaceAllString(address[strings.IndexByte(address, '/'):], "$1<redacted>")
}

func hostOf(upstream string) string {
	address, err := url.Parse(upstream)
	if err != nil {
		return err.Error()
	}
	return address.Host
}

// wantClasses fails when a class had no request, so that a test which no longer
// exercises a class says so.
func (c comparison) wantClasses(t *testing.T, classes ...string) {
	t.Helper()
	for _, class := range classes {
		if c.proxied[class] == 0 {
			t.Errorf("no request was for %s", class)
		}
	}
}

// counters are the front door's counts of requests, by class.
func counters(t *testing.T) map[string]float64 {
	t.Helper()
	counts, err := lab.vestibule.sample("vestibule_requests_total", "class")
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

// wantCounted fails unless the metrics have grown by at least the requests
// compared, in each class.
func (c comparison) wantCounted(t *testing.T, before map[string]float64) {
	t.Helper()
	after := counters(t)
	for class, requests := range c.proxied {
		if grown := after[class] - before[class]; grown < float64(requests) {
			t.Errorf("vestibule_requests_total{class=%q} grew by %v for %d requests", class, grown, requests)
		}
	}
}
