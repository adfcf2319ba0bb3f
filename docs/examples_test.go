package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"vestibule/configs"
)

var yamlBlock = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")

// TestExamplesLoad reads every whole configuration that a page shows. Files it
// names need not exist here; everything else must be right.
func TestExamplesLoad(t *testing.T) {
	examples := 0
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range yamlBlock.FindAllStringSubmatch(string(text), -1) {
			if !regexp.MustCompile(`(?m)^sites:`).MatchString(block[1]) {
				continue
			}
			examples++
			for _, problem := range load(t, block[1]) {
				if !problem.Warning {
					t.Errorf("%s: %v", page, problem)
				}
			}
		}
	}
	if examples < 2 {
		t.Errorf("found %d examples, of at least 2 (README.md, docs/fr/README.md)", examples)
	}
}

// pages lists the documents for operators.
func pages(t *testing.T) []string {
	t.Helper()
	found := []string{"../README.md"}
	for _, pattern := range []string{"*.md", "*/*.md"} {
		matches, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, matches...)
	}
	return found
}

func load(t *testing.T, example string) configs.Problems {
	t.Helper()
	file := filepath.Join(t.TempDir(), "vestibule.yaml")
	if err := os.WriteFile(file, []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	_, problems := configs.Load(file)
	return problems
}

var link = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)

// TestLinksLead checks that the files the pages link to exist.
func TestLinksLead(t *testing.T) {
	for _, page := range append(pages(t), "../CONTRIBUTING.md", "../CHANGELOG.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range link.FindAllStringSubmatch(string(text), -1) {
			target := filepath.Join(filepath.Dir(page), match[1])
			if _, err := os.Stat(target); err != nil && !strings.HasPrefix(match[1], "http") {
				t.Errorf("%s links to %s, which does not exist", page, match[1])
			}
		}
	}
}
