package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	sentenceRow = regexp.MustCompile("(?m)^\\| (`[^|]*`) \\| ")
	quoted      = regexp.MustCompile("`([^`]+)`")
)

// TestSentencesAreSaid: what the pages explain about certificates is what
// vestibule says, letter by letter, so that people who search for it find it.
func TestSentencesAreSaid(t *testing.T) {
	sources, err := filepath.Glob("../acme/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for _, source := range sources {
		if strings.HasSuffix(source, "_test.go") {
			continue
		}
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(text)
	}
	for page, heading := range map[string]string{"ovh.md": "\n## What the sentences mean\n", "fr/ovh.md": "\n## Ce que veulent dire les phrases\n"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		_, table, _ := strings.Cut(string(text), heading)
		rows := sentenceRow.FindAllStringSubmatch(table, -1)
		if len(rows) < 15 {
			t.Errorf("%s: only %d sentences under %q", page, len(rows), strings.TrimSpace(heading))
		}
		for _, row := range rows {
			for _, words := range quoted.FindAllStringSubmatch(row[1], -1) {
				if !strings.Contains(code.String(), words[1]) {
					t.Errorf("%s explains %q, which nothing says", page, words[1])
				}
			}
		}
	}
}
