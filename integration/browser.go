//go:build integration

package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// errand is what clients/browser.mjs is told.
type errand struct {
	ServerName string `json:"serverName"`
	Page       string `json:"page"`       // its address on Synapse's host
	OtherPage  string `json:"otherPage"`  // its address on a host of its own
	Broken     string `json:"broken"`     // a path on Synapse's host that leads to no answer
	Impostor   string `json:"impostor"`   // an address with a certificate that nobody issued
	Home       string `json:"home"`       // in which Chromium trusts the CA
	Screenshot string `json:"screenshot"` // where to write one
}

// browse has a person use the web page in Chromium. The home directory is made
// anew, for this one browser.
func browse(ctx context.Context, roots string, e errand) ([]outcome, error) {
	if err := trustingHome(e.Home, roots); err != nil {
		return nil, err
	}
	text, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	return runNode(ctx, roots, "browser.mjs", string(text))
}

// trustingHome makes a home directory in which Chromium trusts a CA besides
// those it brings: on Linux it asks the NSS database there.
func trustingHome(directory, root string) error {
	database := filepath.Join(directory, ".pki", "nssdb")
	if err := os.MkdirAll(database, 0o700); err != nil {
		return fmt.Errorf("making a browser's home: %w", err)
	}
	if err := errors.Join(
		command("certutil", "-d", "sql:"+database, "-N", "--empty-password"),
		command("certutil", "-d", "sql:"+database, "-A", "-n", "laboratory", "-t", "C,,", "-i", root),
	); err != nil {
		return fmt.Errorf("making a browser trust the laboratory: %w (hint: run integration/setup.sh)", err)
	}
	return nil
}

// numberOfSynapse is how Synapse numbers requests that bring no number, as a
// browser's: with X-Lab-Id it would ask first whether it may send that.
var numberOfSynapse = regexp.MustCompile(`^[0-9]+$`)

// unnumbered is how awaitUnnumbered knows a request.
func unnumbered(request sent) string { return request.Method + " " + loggedTarget(request) }

// awaitUnnumbered reads the logs, as awaitAnswers does, for requests that brought
// no number, by their method and target.
func (s *synapse) awaitUnnumbered(wanted []string) (map[string][]logged, error) {
	deadline := time.Now().Add(10 * time.Second)
	for {
		answers, err := s.answers()
		found := map[string][]logged{}
		for id, lines := range answers {
			if !numberOfSynapse.MatchString(id) {
				continue
			}
			for _, line := range lines {
				found[line.Method+" "+line.Target] = append(found[line.Method+" "+line.Target], line)
			}
		}
		if err != nil || complete(found, wanted) || time.Now().After(deadline) {
			return found, err
		}
		time.Sleep(200 * time.Millisecond)
	}
}
