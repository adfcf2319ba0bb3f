package configs

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each file of testdata/invalid holds one mistake. Its first lines, "# want: …",
// are the whole text of what Load says, the directory left out.
func TestLoadInvalid(t *testing.T) {
	for _, path := range glob(t, "testdata/invalid/*.yaml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			want := wanted(t, path)
			cfg, problems := Load(path)
			got := strings.ReplaceAll(problems.Error(), "testdata/invalid/", "")
			if got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
			if (cfg == nil) != problems.Failed() {
				t.Errorf("cfg == nil is %v, but Failed is %v", cfg == nil, problems.Failed())
			}
		})
	}
}

// Files that begin with "# want: …" are valid with warnings.
func TestLoadValid(t *testing.T) {
	paths := glob(t, "testdata/valid/*.yaml")
	paths = append(paths, glob(t, "presets/*.yaml")...)
	paths = append(paths, glob(t, "examples/*.yaml")...)
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			cfg, problems := Load(path)
			if got, want := strings.ReplaceAll(problems.Error(), "testdata/valid/", ""), wanted(t, path); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
			if cfg == nil {
				t.Fatal("no configuration")
			}
		})
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("nothing matches %s: %v", pattern, err)
	}
	return paths
}

// wanted gives what the comments at the head of a file expect.
func wanted(t *testing.T, path string) string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var lines []string
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		line, found := strings.CutPrefix(scanner.Text(), "# want: ")
		if !found {
			break
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}
