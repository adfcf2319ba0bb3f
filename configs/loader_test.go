package configs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writeFiles puts files into a new directory and returns main.yaml's path.
func writeFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	directory := t.TempDir()
	for name, content := range files {
		path := filepath.Join(directory, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(directory, "main.yaml")
}

func loadFiles(t *testing.T, files map[string]string) *Config {
	t.Helper()
	return mustLoad(t, writeFiles(t, files))
}

// problemsOf gives what Load says, with the directory left out.
func problemsOf(t *testing.T, files map[string]string) string {
	t.Helper()
	path := writeFiles(t, files)
	_, problems := Load(path)
	return strings.ReplaceAll(problems.Error(), filepath.Dir(path)+"/", "")
}

const mainFile = `
certificates: { issuer: internal }
admins: [192.0.2.1]
sites:
  - server_name: example.com
    synapse: { main: "http://synapse:8008", workers: { sync: ["http://sync-0:8083"] } }
`

// Included files add lists and keys, and to a site of the same server_name.
func TestIncludeMerges(t *testing.T) {
	cfg := loadFiles(t, map[string]string{
		"main.yaml":        "include: [local.yaml, \"generated/*.yaml\", \"none/*.yaml\"]" + mainFile,
		"local.yaml":       "admins: [192.0.2.2]\nlogging: { level: debug }\n",
		"generated/b.yaml": "sites:\n  - { server_name: b.example, synapse: { main: \"http://b:8008\" } }\n",
		"generated/a.yaml": "sites:\n  - { server_name: EXAMPLE.com, synapse: { workers: { sync: [\"http://sync-1:8083\"] } }, element: { upstream: \"http://element:8080\" } }\n",
		"generated/c.yaml": "# nothing yet\n",
	})
	if len(cfg.Sites) != 2 || cfg.Sites[1].ServerName != "b.example" {
		t.Fatalf("%d sites", len(cfg.Sites))
	}
	site := cfg.Sites[0]
	if got := len(site.Synapse.Workers[ClassSync]); got != 2 {
		t.Errorf("%d sync workers", got)
	}
	if site.Element == nil || filepath.Base(site.Element.Place.File) != "a.yaml" {
		t.Errorf("element: %+v", site.Element)
	}
	if len(cfg.Admins) != 2 || cfg.Logging.Level != "debug" {
		t.Errorf("admins %v, level %s", cfg.Admins, cfg.Logging.Level)
	}
	var names []string
	for _, file := range cfg.Files {
		names = append(names, filepath.Base(file))
	}
	if got := strings.Join(names, " "); got != "main.yaml local.yaml a.yaml b.yaml c.yaml" {
		t.Errorf("files: %s", got)
	}
}

// A path is relative to the file that names it.
func TestIncludeRelativePaths(t *testing.T) {
	path := writeFiles(t, map[string]string{
		"main.yaml":       "include: [sub/local.yaml]" + mainFile,
		"sub/local.yaml":  "include: [deeper.yaml]\ncertificates: { storage: { directory: data } }\n",
		"sub/deeper.yaml": "logging: { level: warn }\n",
	})
	cfg := mustLoad(t, path)
	if want := filepath.Join(filepath.Dir(path), "sub", "data"); cfg.Certificates.Storage.Directory != want {
		t.Errorf("got %s, want %s", cfg.Certificates.Storage.Directory, want)
	}
	if cfg.Logging.Level != "warn" {
		t.Error("an included file's own include was not read")
	}
}

func TestIncludeMistakes(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		want  string
	}{
		{
			"a value said twice", map[string]string{
				"main.yaml":  "include: [local.yaml]" + mainFile,
				"local.yaml": "certificates: { issuer: internal }\n",
			},
			`local.yaml:1:17: certificates.issuer: is already set at main.yaml:2:17 (hint: keep one of them)`,
		}, {
			"an included file that includes without a list", map[string]string{
				"main.yaml":  "include: [local.yaml]" + mainFile,
				"local.yaml": "include: more.yaml\n", "more.yaml": "nonsense: true\n",
			},
			`local.yaml:1:10: include: expected a list, got a single value (hint: write ["more.yaml"])`,
		}, {
			"an included file that includes nothing", map[string]string{
				"main.yaml": "include: [local.yaml]" + mainFile, "local.yaml": "include: [null]\n",
			},
			`local.yaml:1:11: include[0]: has no value (hint: give it one or remove the key)`,
		}, {
			"a pattern in what is no directory", map[string]string{ // one that is closed is the same, but not for root
				"main.yaml": "include: [\"gen/*.yaml\"]" + mainFile, "gen": "a file\n",
			},
			`main.yaml:1:11: include: reading gen: not a directory (hint: let the user that vestibule runs as read this directory)`,
		}, {
			"a mapping met by a list", map[string]string{
				"main.yaml":  "include: [local.yaml]" + mainFile,
				"local.yaml": "certificates: [internal]\n",
			},
			`local.yaml:1:1: certificates: is already set at main.yaml:2:1 (hint: keep one of them)`,
		}, {
			"a site's value said twice", map[string]string{
				"main.yaml":  "include: [local.yaml]" + mainFile,
				"local.yaml": "sites: [ { server_name: example.com, synapse: { main: \"http://other:8008\" } } ]\n",
			},
			`local.yaml:1:49: sites[0].synapse.main: is already set at main.yaml:6:16 (hint: keep one of them)`,
		}, {
			"a circle", map[string]string{
				"main.yaml":  "include: [local.yaml]" + mainFile,
				"local.yaml": "include: [main.yaml]\n",
			},
			`local.yaml:1:11: include: "` + `main.yaml" includes itself (hint: name the files to include so that this one is not among them)`,
		}, {
			"one file from two places", map[string]string{
				"main.yaml": "include: [a.yaml, b.yaml]" + mainFile,
				"a.yaml":    "include: [c.yaml]\n",
				"b.yaml":    "include: [c.yaml]\n",
				"c.yaml":    "logging: { level: warn }\n",
			},
			`b.yaml:1:11: include: "c.yaml" is already included at a.yaml:1:11 (hint: include it once)`,
		}, {
			"nine levels", map[string]string{
				"main.yaml": "include: [1.yaml]" + mainFile,
				"1.yaml":    "include: [2.yaml]\n", "2.yaml": "include: [3.yaml]\n", "3.yaml": "include: [4.yaml]\n",
				"4.yaml": "include: [5.yaml]\n", "5.yaml": "include: [6.yaml]\n", "6.yaml": "include: [7.yaml]\n",
				"7.yaml": "include: [8.yaml]\n", "8.yaml": "logging: { level: warn }\n",
			},
			`7.yaml:1:11: include: files include files more than 8 deep (hint: include them from the main file)`,
		}, {
			"a mistake in an included file", map[string]string{
				"main.yaml":  "include: [local.yaml]" + mainFile,
				"local.yaml": "sites:\n  - server_name: b.example\n    synapse: { main: \"b:8008\" }\n",
			},
			`local.yaml:3:22: sites[1].synapse.main: "b:8008" has no scheme (hint: write "http://b:8008")`,
		}, {
			"mistakes in order of the files", map[string]string{
				"main.yaml":  "include: [local.yaml]" + mainFile + "engine: fast\n",
				"local.yaml": "control: here\n",
			},
			`main.yaml:7:9: engine: "fast" is not known (hint: write own or standard)` + "\n" +
				`local.yaml:1:10: control: the socket "here" is not an absolute path (hint: begin it with "/")`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := problemsOf(t, test.files); got != test.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, test.want)
			}
		})
	}
}

// Two patterns of one list may name one file, as local.yaml and *.yaml do.
func TestIncludeOverlappingPatterns(t *testing.T) {
	loadFiles(t, map[string]string{
		"main.yaml":      "include: [d/local.yaml, \"d/*.yaml\"]" + mainFile,
		"d/local.yaml":   "logging: { level: debug }\n",
		"d/another.yaml": "admins: [192.0.2.3]\n",
	})
}

func TestLoadUnreadable(t *testing.T) {
	directory := t.TempDir()
	tests := map[string]string{
		filepath.Join(directory, "none.yaml"): "none.yaml: reading none.yaml: no such file or directory",
		directory:                             filepath.Base(directory) + ": reading " + filepath.Base(directory) + ": is a directory",
	}
	for path, want := range tests {
		cfg, problems := Load(path)
		got := strings.ReplaceAll(problems.Error(), filepath.Dir(path)+"/", "")
		if cfg != nil || got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestLoadTooLarge(t *testing.T) {
	got := problemsOf(t, map[string]string{"main.yaml": mainFile + strings.Repeat("#\n", maxFileSize/2)})
	if want := "main.yaml: is larger than 1 MiB"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A value that stands for itself must not hang the parser.
func TestLoadAliasOfItself(t *testing.T) {
	got := problemsOf(t, map[string]string{"main.yaml": mainFile + "tcp: &a [*a]\n"})
	want := "main.yaml:1:1: holds more than 30000 values, or values more than 50 deep (hint: write less; each alias counts as what it stands for)"
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestLoadAlias(t *testing.T) {
	cfg := loadFiles(t, map[string]string{"main.yaml": `
certificates: { issuer: internal }
sites:
  - server_name: a.example
    synapse: &synapse { main: "http://synapse:8008" }
  - server_name: b.example
    synapse: *synapse
`})
	if got := cfg.Sites[1].Synapse.Main.URL; got != "http://synapse:8008" {
		t.Errorf("got %s", got)
	}
}

func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/*/*.yaml", "presets/*.yaml", "examples/*.yaml"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "fuzz.yaml")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, problems := Load(path)
		if (cfg == nil) != problems.Failed() {
			t.Fatalf("cfg == nil is %v with these problems:\n%s", cfg == nil, problems.Error())
		}
		if cfg == nil {
			return
		}
		for _, name := range cfg.CertificateNames() {
			if cfg.Certificates.Issuer == "acme" && len(cfg.Certificates.Files) == 0 && cfg.Challenge(name) == nil {
				t.Fatalf("no challenge fits %s", name)
			}
		}
	})
}

// Each pair of expressions is looked at; what that takes must not grow with what
// it takes to compile one.
func TestManyExpressions(t *testing.T) {
	text := mainFile + "    routes:\n"
	for i := range 800 {
		text += fmt.Sprintf("      - { name: r%d, path_regexp: \"/p%d/(a|b)*[a-z]{1,50}\", upstreams: [\"http://a:1\"] }\n", i, i)
	}
	path := writeFiles(t, map[string]string{"main.yaml": text})
	began := time.Now()
	mustLoad(t, path)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
}
