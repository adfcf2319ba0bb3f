//go:build integration

package integration

import (
	"encoding/csv"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestCorpus sends the cases of routing's corpus to the processes they are
// about. Most have no valid token, so all they get is an error; but a process
// that does not know the endpoint answers differently from one that does, and
// the front door counts the former as misrouted.
func TestCorpus(t *testing.T) {
	before := totalMisrouted(t, lab.vestibule)
	c := newClient(lab.roots)
	for _, row := range corpus(t, "one-of-each") {
		response, err := c.Do(row)
		if err != nil {
			t.Errorf("%s %s: %v", row.Method, row.URL, err)
			continue
		}
		response.Body.Close()
	}
	compareWithExplain(t, c.sent())
	if after := totalMisrouted(t, lab.vestibule); after != before {
		t.Errorf("vestibule_misrouted_total grew by %v: a worker does not know an endpoint it was asked for", after-before)
	}
}

// corpus reads the cases of a preset that ask the site's own host.
func corpus(t *testing.T, preset string) []*http.Request {
	t.Helper()
	file, err := os.Open(filepath.Join(root(), "routing", "corpus.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"method", "target", "headers", "preset"}; !slices.Equal(rows[0][:4], want) {
		t.Fatalf("the corpus begins with %q, not %q", rows[0], want)
	}
	var requests []*http.Request
	for _, row := range rows[1:] {
		if row[3] == preset && !strings.Contains(row[2], "Host:") {
			requests = append(requests, corpusRequest(row[0], row[1], row[2]))
		}
	}
	if len(requests) == 0 {
		t.Fatalf("the corpus has no cases for %s", preset)
	}
	return requests
}

// corpusRequest keeps the target byte for byte, which a parsed URL would not. An
// opaque URL cannot begin with two slashes; that case has nothing to escape.
func corpusRequest(method, target, headers string) *http.Request {
	path, query, _ := strings.Cut(target, "?")
	address := &url.URL{Scheme: "https", Host: "matrix." + serverName, Opaque: path, RawQuery: query}
	if strings.HasPrefix(path, "//") {
		address.Opaque, address.Path = "", path
	}
	request := &http.Request{Method: method, URL: address, Header: http.Header{}}
	for line := range strings.SplitSeq(headers, ";") {
		if name, value, found := strings.Cut(line, ":"); found {
			request.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
		}
	}
	return request
}
