//go:build integration

package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// passage is a line of a front door's access log.
type passage struct {
	Message    string `json:"msg"`
	Entrypoint string `json:"entrypoint"`
	Method     string `json:"method"`
	Host       string `json:"host"`
	Path       string `json:"path"` // raw, without the query
	Endpoint   string `json:"endpoint"`
	Class      string `json:"class"`
	Upstream   string `json:"upstream"`
	Status     int    `json:"status"`
}

// key is how awaitFederated knows the request.
func (p passage) key() string { return p.Method + " " + p.Path }

// isFederation tells whether only other homeservers ask for a path.
func isFederation(path string) bool {
	return strings.HasPrefix(path, "/_matrix/federation/") || strings.HasPrefix(path, "/_matrix/key/")
}

// written is how long the front door's log is by now.
func (v *vestibule) written() (int64, error) {
	info, err := os.Stat(v.log)
	if err != nil {
		return 0, fmt.Errorf("reading an access log: %w", err)
	}
	return info.Size(), nil
}

// federated are the requests of other homeservers that the front door has logged
// after so many bytes.
func (v *vestibule) federated(after int64) ([]passage, error) {
	text, err := os.ReadFile(v.log)
	if err != nil {
		return nil, fmt.Errorf("reading an access log: %w", err)
	}
	var found []passage
	for line := range bytes.Lines(text[after:]) {
		var p passage
		if json.Unmarshal(line, &p) == nil && p.Message == "request" && isFederation(p.Path) {
			found = append(found, p)
		}
	}
	return found, nil
}
