//go:build integration

package integration

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"
)

// logged is a line of a Synapse process's access log.
type logged struct {
	Process string // the listener's tag: host and port, as the front door calls it
	ID      string
	Client  string // the address Synapse attributes the request to
	User    string // whose token it had; "None" for nobody's
	Status  string // with a "!" when the client went away first
	Method  string
	Target  string // with the values of access_token redacted
}

// accessLine is written by SynapseRequest._finished_processing
// (synapse/http/site.py), after what log.yaml.tmpl puts before it. The request's
// name is its method, a dash and the number its client gave it.
var accessLine = regexp.MustCompile(`^\S+ \S+ INFO synapse\.access\.https?\.(\S+) [^-\s]+-(\S+) (\S+) - \S+ - \{(.*?)\} Processed request: .*?B (\S+) "(\S+) (\S+) `)

// answers reads the access logs of all processes, by the requests' numbers.
// Requests that processes make among themselves are not in it.
func (s *synapse) answers() (map[string][]logged, error) {
	found := map[string][]logged{}
	for _, name := range s.processes() {
		if err := readAccessLog(s.logOf(name), found); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// awaitFederated reads the logs, as awaitAnswers does, for requests of other
// homeservers. It returns the processes that logged each method and path:
// homeservers do not number their requests.
func (s *synapse) awaitFederated(wanted []string) (map[string][]string, error) {
	deadline := time.Now().Add(10 * time.Second)
	for {
		answers, err := s.answers()
		found := federated(answers)
		if err != nil || complete(found, wanted) || time.Now().After(deadline) {
			return found, err
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func federated(answers map[string][]logged) map[string][]string {
	found := map[string][]string{}
	for _, lines := range answers {
		for _, line := range lines {
			if path, _, _ := strings.Cut(line.Target, "?"); isFederation(path) {
				found[line.Method+" "+path] = append(found[line.Method+" "+path], line.Process)
			}
		}
	}
	return found
}

func readAccessLog(path string, into map[string][]logged) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("reading an access log: %w", err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		m := accessLine.FindStringSubmatch(lines.Text())
		if m == nil || m[1] == "replication" {
			continue
		}
		line := logged{Process: m[1], ID: m[2], Client: m[3], User: m[4], Status: m[5], Method: m[6], Target: m[7]}
		into[line.ID] = append(into[line.ID], line)
	}
	return lines.Err()
}

// awaitAnswers reads the logs until every request wanted is in them, at most ten
// seconds: a process writes its line only after the answer is out.
func (s *synapse) awaitAnswers(wanted []string) (map[string][]logged, error) {
	deadline := time.Now().Add(10 * time.Second)
	for {
		found, err := s.answers()
		if err != nil || complete(found, wanted) || time.Now().After(deadline) {
			return found, err
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func complete[T any](found map[string][]T, wanted []string) bool {
	for _, id := range wanted {
		if len(found[id]) == 0 {
			return false
		}
	}
	return true
}
