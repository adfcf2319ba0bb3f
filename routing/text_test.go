package routing

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// textCase is a request and what is expected of it, as an administrator would
// write it down:
//
//	GET https://matrix.example.com/_matrix/client/v3/sync
//	from 192.0.2.1
//	Authorization: Bearer syt_YWxpY2U_abcdefghijklmnopqrst_0aBcDe
//	class initial_sync
//	key user alice
type textCase struct {
	line    int
	request Request
	want    []expectation
}

type expectation struct {
	line        int
	word, value string
}

// TestTexts runs testdata/NAME.txt against the configuration testdata/NAME.yaml.
func TestTexts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no texts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			table := loadTable(t, strings.TrimSuffix(file, ".txt")+".yaml")
			for _, c := range readTexts(t, file) {
				c.check(t, file, table)
			}
		})
	}
}

func readTexts(t *testing.T, file string) []textCase {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var cases []textCase
	lines := bufio.NewScanner(f)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		word, value, _ := strings.Cut(line, " ")
		value = strings.TrimSpace(value)
		if strings.Contains(value, "://") && word == strings.ToUpper(word) {
			cases = append(cases, textCase{line: number, request: textRequest(word, value)})
			continue
		}
		if len(cases) == 0 {
			t.Fatalf("%s:%d: no request stands above", file, number)
		}
		if err := cases[len(cases)-1].read(word, value, number); err != nil {
			t.Fatalf("%s:%d: %v", file, number, err)
		}
	}
	return cases
}

func textRequest(method, url string) Request {
	_, rest, _ := strings.Cut(url, "://")
	host, target := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		host, target = rest[:i], rest[i:]
	}
	r := Request{Method: method, Host: host, Target: target, Client: netip.MustParseAddr("198.51.100.7")}
	if strings.HasSuffix(host, ":8448") {
		r.Entrypoint = Federation
	}
	return r
}

func (c *textCase) read(word, value string, line int) (err error) {
	switch word {
	case "Authorization:":
		c.request.Authorization = append(c.request.Authorization, value)
	case "from":
		c.request.Client, err = netip.ParseAddr(value)
	case "internal":
		c.request.Entrypoint, c.request.Site = Internal, value
	default:
		c.want = append(c.want, expectation{line, word, value})
	}
	return err
}

func (c *textCase) check(t *testing.T, file string, table *Table) {
	t.Helper()
	if len(c.want) == 0 {
		t.Errorf("%s:%d: nothing is expected", file, c.line)
	}
	var d Decision
	table.Match(&c.request, &d)
	explanation := table.Explain(&c.request)
	for _, want := range c.want {
		if want.word == "lost" {
			if !wasLost(explanation, want.value) {
				t.Errorf("%s:%d: %q is not among %s", file, want.line, want.value, describe(explanation.Lost))
			}
			continue
		}
		for _, decision := range []*Decision{&d, &explanation.Decision} {
			if got := property(decision, &c.request, want.word); got != want.value {
				t.Errorf("%s:%d: %s %q, want %q (rule %s)", file, want.line, want.word, got, want.value, d.Rule.Name)
			}
		}
	}
}

// property is what a line of expectation speaks of.
func property(d *Decision, r *Request, word string) string {
	switch word {
	case "class":
		return string(d.Class)
	case "endpoint":
		return string(d.Endpoint)
	case "action":
		return d.Action.String()
	case "rule":
		return d.Rule.Name
	case "site":
		return d.Site
	case "key":
		return d.Key.String()
	case "token":
		return string(d.Key.Value)
	case "status":
		return strconv.Itoa(d.Status)
	case "errcode":
		return d.Errcode
	case "location":
		return d.Location
	case "document":
		return d.Rule.Document
	case "remote":
		return strconv.FormatBool(d.Rule.Remote)
	case "pool":
		return poolName(d.Pool)
	case "spares":
		return poolNames(d.Spares)
	case "upstream":
		return d.Pool.Upstreams[0].URL
	case "forward":
		return string(d.Rule.Rewrite.Append(nil, r.Target))
	}
	return "no such word"
}

func poolName(p *Pool) string {
	if p == nil {
		return "none"
	}
	return p.Name
}

func poolNames(pools []*Pool) string {
	var names []string
	for _, p := range pools {
		names = append(names, p.Name)
	}
	return strings.Join(names, " ")
}

func wasLost(e Explanation, text string) bool {
	for _, c := range e.Lost {
		if strings.Contains(c.Rule.Name+": "+c.Why, text) {
			return true
		}
	}
	return false
}

func describe(lost []Candidate) string {
	var b strings.Builder
	for _, c := range lost {
		fmt.Fprintf(&b, "\n\t%s (%s): %s", c.Rule.Name, c.Class, c.Why)
	}
	return b.String()
}
