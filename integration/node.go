//go:build integration

package integration

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// outcome is a line that clients/report.mjs writes: a request that has ended,
// what a browser saw, or a step that has ended.
type outcome struct {
	Request  *sent     `json:"request"`
	Sighting *sighting `json:"sighting"`
	Step     string    `json:"step"`
	Failure  string    `json:"failure"` // "" when the step succeeded
}

// runNode runs a program of the directory clients, which trusts the given CA,
// and returns what it reports. The error holds the end of what it logged.
func runNode(ctx context.Context, roots, program string, arguments ...string) ([]outcome, error) {
	child := exec.CommandContext(ctx, node(), append([]string{program}, arguments...)...)
	child.Dir = "clients"
	child.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+roots)
	log := &bytes.Buffer{}
	child.Stderr = log
	output, err := child.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := child.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", program, err)
	}
	outcomes, err := readOutcomes(output)
	if problem := child.Wait(); problem != nil {
		text := log.Bytes()
		return outcomes, fmt.Errorf("%s: %w:\n%s", program, problem, text[max(0, len(text)-4000):])
	}
	return outcomes, err
}

func readOutcomes(from io.Reader) ([]outcome, error) {
	var outcomes []outcome
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var o outcome
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return outcomes, fmt.Errorf("reading what a client reports: %w: %s", err, lines.Text())
		}
		outcomes = append(outcomes, o)
	}
	return outcomes, lines.Err()
}

// node is the interpreter: the one setup.sh installs where the system's is too
// old, else the system's.
func node() string {
	own := filepath.Join(root(), ".lab", "node", "node_modules", "node", "bin", "node")
	if _, err := os.Stat(own); err == nil {
		return own
	}
	return "node"
}
