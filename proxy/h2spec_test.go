package proxy

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// h2specMisses are the cases of h2spec that a front end does not pass, and why.
// All of these are choices of Go's HTTP/2 server, which nothing in front of it
// can change; none lets a request through in another reading.
var h2specMisses = map[string]map[string]string{
	"standard": {
		"http2/6.5.3 Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE": "it ends a connection whose SETTINGS say one thing twice; no client does",
		"http2/8.1.2.2 Sends a HEADERS frame that contains the connection-specific header field": "it answers 400 instead of resetting the stream, which RFC 9113, " +
			"section 8.1.1, allows; the back end gets nothing",
		`http2/8.1.2.2 Sends a HEADERS frame that contains the TE header field with any value other than "trailers"`: "as above",
	},
}

// h2specPatience is how long h2spec waits for an answer, in seconds. A busy machine
// needs some; only what is missed takes all of it.
const h2specPatience = "10"

// h2specParts are run side by side: what is missed takes as long as h2spec's
// patience.
var h2specParts = [][]string{{"generic", "hpack", "http2/3", "http2/4"}, {"http2/5"}, {"http2/6"}, {"http2/7", "http2/8"}}

// TestH2Spec runs h2spec against a front door with a back end. What is missed
// must be what h2specMisses lists, no more and no less.
func TestH2Spec(t *testing.T) {
	program := buildH2Spec(t)
	eachEngine(t, func(t *testing.T, e engine) {
		fallback := newBackend(t, "long enough for every case") // h2spec asks for the address
		f := e.front(t, oneSite(newBackend(t, "main"), fmt.Sprintf("fallback: %q\n", fallback.url())), true)
		known := h2specMisses[e.name]
		cases, missed := askH2Spec(t, program, f.https)
		if cases < 140 {
			t.Errorf("h2spec has run only %d cases", cases)
		}
		for _, name := range missed {
			if known[name] == "" {
				t.Errorf("missed, and not listed in h2specMisses: %s", name)
			}
		}
		for name := range known {
			if !slices.Contains(missed, name) {
				t.Errorf("passed, so h2specMisses is to list it no more: %s", name)
			}
		}
		if requests, _ := fallback.count(); requests < 50 {
			t.Errorf("only %d requests reached the back end", requests)
		}
	})
}

// askH2Spec runs all cases, and returns those that were missed.
func askH2Spec(t *testing.T, program, address string) (cases int, missed []string) {
	t.Helper()
	var reports [4]h2specReport
	var errs [4]error
	var wg sync.WaitGroup
	directory := t.TempDir()
	for i, part := range h2specParts {
		wg.Go(func() {
			reports[i], errs[i] = runH2Spec(program, address, filepath.Join(directory, fmt.Sprint(i)), part)
		})
	}
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	for _, r := range reports {
		all, misses := r.count()
		cases += all
		missed = append(missed, misses...)
	}
	return cases, missed
}

// buildH2Spec builds h2spec, whose modules the go command fetches.
func buildH2Spec(t *testing.T) string {
	t.Helper()
	const module = "testdata/h2spec"
	fetch := exec.Command("go", "mod", "download")
	fetch.Dir = module
	if text, err := fetch.CombinedOutput(); err != nil {
		t.Skipf("h2spec is not run: its modules can be had neither from the module cache nor from GOPROXY: %s", text)
	}
	program := filepath.Join(t.TempDir(), "h2spec")
	build := exec.Command("go", "build", "-o", program, "github.com/summerwind/h2spec/cmd/h2spec")
	build.Dir = module
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building h2spec: %v\n%s", err, text)
	}
	return program
}

// h2specReport is the part of h2spec's report that matters.
type h2specReport struct {
	Cases []struct {
		Package string    `xml:"package,attr"`
		Name    string    `xml:"classname,attr"`
		Failure *struct{} `xml:"failure"`
		Error   *struct{} `xml:"error"`
		Skipped *struct{} `xml:"skipped"`
	} `xml:"testsuite>testcase"`
}

func (r *h2specReport) count() (cases int, missed []string) {
	for _, c := range r.Cases {
		if c.Failure != nil || c.Error != nil || c.Skipped != nil {
			missed = append(missed, c.Package+" "+c.Name)
		}
	}
	return len(r.Cases), missed
}

// runH2Spec runs sections of h2spec. Its exit status says no more than its report.
func runH2Spec(program, address, report string, sections []string) (r h2specReport, err error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return r, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, append([]string{"--tls", "--insecure", "--strict", "--timeout", h2specPatience,
		"--host", host, "--port", port, "--junit-report", report}, sections...)...)
	cmd.WaitDelay = time.Second
	output, runErr := cmd.CombinedOutput()
	text, err := os.ReadFile(report)
	if err != nil {
		return r, fmt.Errorf("h2spec %s: %w: %s", strings.Join(sections, " "), runErr, output)
	}
	if err := xml.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("reading the report of h2spec: %w", err)
	}
	return r, nil
}
