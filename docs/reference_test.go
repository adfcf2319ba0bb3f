package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// TestReferenceIsFresh fails when configs says something that the
// page does not.
func TestReferenceIsFresh(t *testing.T) {
	schema, err := readSchema("..")
	if err != nil {
		t.Fatal(err)
	}
	want, err := reference(schema...)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../" + referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the comments in %s say (remedy: make docs)", referenceFile, schemaFiles)
	}
}

func TestReference(t *testing.T) {
	page, err := reference([]byte(`package configs
// Config is a house.
type Config struct {
	// Doors are numbered, such as "1" or "<last>"; see Main.
	Doors []Door ` + "`yaml:\"doors\"`" + `
	// Main is the way in. Required.
	Main *Upstream ` + "`yaml:\"main\"`" + `
	Spare map[string]Door ` + "`yaml:\"spare\"`" + ` // for TLS
	Place Place ` + "`yaml:\"-\"`" + `
}
// Door opens the House.
type Door struct {
	// Behind leads on, with Wide.
	Behind Upstream ` + "`yaml:\"behind\"`" + `
	Wide bool ` + "`yaml:\"wide\"`" + `
}
// Upstream answers.
type Upstream struct {
	// URL is where.
	URL string ` + "`yaml:\"url\"`" + `
}
`))
	if err != nil {
		t.Fatal(err)
	}
	got := strings.TrimPrefix(string(page), preface)
	want := "\n## The top of the file\n\nA house.\n\n" +
		"- **`doors`** ([list: mapping](#doors-sparename)): numbered, such as `1` or `<last>`; see `main`.\n" +
		"- **`main`** ([upstream](#upstream)): the way in. Required.\n" +
		"- **`spare`** ([mapping of names: mapping](#doors-sparename)): for TLS.\n" +
		"\n## `doors[]`, `spare.NAME`\n\nOpens the House.\n\n" +
		"- **`behind`** ([upstream](#upstream)): `behind` leads on, with `wide`.\n" +
		"- **`wide`** (true or false): `behind` leads on, with `wide`.\n" +
		"\n## Upstream\n\nAnswers.\n\n" +
		"- **`url`** (text): where.\n"
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestDefaultOf(t *testing.T) {
	for path, want := range map[string]string{
		"timeouts.head":        "10s",
		"limits.head":          "64KiB",
		"logging.access":       "true",
		"certificates.files":   "", // not a single value
		"fallback":             "", // nothing
		"entrypoints.http.tls": "", // false
		"sites[].server_name":  "", // in a list
	} {
		if got := defaultOf(path); got != want {
			t.Errorf("defaultOf(%q) is %q, want %q", path, got, want)
		}
	}
}

func TestReferenceNeedsTheSchema(t *testing.T) {
	if _, err := reference([]byte("package configs")); err == nil {
		t.Error("a file without type Config was taken for the schema")
	}
}
