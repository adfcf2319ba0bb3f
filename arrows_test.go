// Package vestibule_test holds the shape of the project: which package may
// import which, who owns each outside module, and that every package says what
// it is for. CONTRIBUTING.md draws the same arrows for people.
package vestibule_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// arrows lists what each top-level directory may import of the module, besides
// itself and configs, which every one may import. A directory that is missing
// here may import configs alone.
var arrows = map[string][]string{
	"proxy":       {"routing"},
	"check":       {"routing", "wellknown", "acme"},
	"migrate":     {"routing"},
	"cmd":         {"acme", "check", "migrate", "proxy", "routing", "wellknown"},
	"bench":       {},       // it runs vestibule as anybody does
	"integration": {"acme"}, // for the stand-ins beside it, such as acme/ovhtest
}

// owners lists the directories that may import an outside module, so that it
// can be replaced in one place. A module that is missing here is not to be
// imported at all: adding one is a decision. The laboratory in integration
// plays the part of other programs and is not bound by it.
var owners = map[string][]string{
	"github.com/caddyserver/certmagic":    {"acme"},
	"github.com/libdns/libdns":            {"acme"},
	"github.com/libdns/ovh":               {"acme"},
	"github.com/letsencrypt/pebble/v2":    {"acme"},
	"github.com/mholt/acmez":              {"acme"},
	"github.com/miekg/dns":                {"acme"},
	"github.com/ovh/go-ovh":               {"acme"},
	"golang.org/x/net/publicsuffix":       {"acme"},
	"golang.org/x/oauth2":                 {"acme"},
	"go.uber.org/zap":                     {"acme"},
	"gopkg.in/yaml.v3":                    {"configs", "migrate"},
	"github.com/andybalholm/brotli":       {"proxy"},
	"github.com/klauspost/compress":       {"proxy"},
	"github.com/prometheus/client_golang": {"proxy", "cmd"},
	"github.com/rogpeppe/go-internal":     {"cmd"},
	"golang.org/x/net/http/httpguts":      {"configs", "proxy"},
	"golang.org/x/net/http2":              {"proxy", "cmd"},
	"golang.org/x/net/idna":               {"configs"},
	"golang.org/x/sys/unix":               {"proxy"},
}

// laboratory is the directory that owners does not bind.
const laboratory = "integration"

const module = "vestibule"

// TestArrows parses every file, whatever its build tags, tests included.
func TestArrows(t *testing.T) {
	files, err := sources(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range checkImports(files) {
		t.Error(problem)
	}
}

func TestPackageComments(t *testing.T) {
	files, err := sources(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range checkComments(files) {
		t.Error(problem)
	}
}

// source is what the checks need to know about one Go file.
type source struct {
	name    string // slash-separated, relative to the module
	pkg     string // the name in its package clause
	comment string // the package comment, "" when there is none
	imports []string
}

// top is the first element of the file's directory, "." for the root.
func (s source) top() string {
	top, _, inside := strings.Cut(s.name, "/")
	if !inside {
		return "."
	}
	return top
}

// sources parses the Go files of a module, but for testdata, vendored code and
// hidden directories.
func sources(module fs.FS) ([]source, error) {
	var files []source
	err := fs.WalkDir(module, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return skipForeign(entry.Name())
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		file, err := parse(module, name)
		files = append(files, file)
		return err
	})
	return files, err
}

func skipForeign(directory string) error {
	hidden := strings.HasPrefix(directory, ".") && directory != "."
	if hidden || slices.Contains([]string{"testdata", "vendor", "node_modules"}, directory) {
		return fs.SkipDir
	}
	return nil
}

func parse(module fs.FS, name string) (source, error) {
	text, err := fs.ReadFile(module, name)
	if err != nil {
		return source{}, err
	}
	tree, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return source{}, err
	}
	file := source{name: name, pkg: tree.Name.Name, comment: tree.Doc.Text()}
	for _, spec := range tree.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return source{}, fmt.Errorf("%s: import %s: %w", name, spec.Path.Value, err)
		}
		file.imports = append(file.imports, imported)
	}
	return file, nil
}

// checkImports returns a sentence for each import that goes against arrows or
// owners.
func checkImports(files []source) []string {
	var problems []string
	for _, file := range files {
		for _, imported := range file.imports {
			if problem := checkImport(file.top(), imported); problem != "" {
				problems = append(problems, fmt.Sprintf("%s imports %s: %s", file.name, imported, problem))
			}
		}
	}
	return problems
}

func checkImport(top, imported string) string {
	if inside, ours := strings.CutPrefix(imported, module+"/"); ours {
		return checkArrow(top, inside)
	}
	if !strings.Contains(strings.Split(imported, "/")[0], ".") {
		return "" // the standard library
	}
	return checkOwner(top, imported)
}

func checkArrow(top, inside string) string {
	to, _, _ := strings.Cut(inside, "/")
	if to == top || to == "configs" || slices.Contains(arrows[top], to) {
		return ""
	}
	allowed := append([]string{"configs"}, arrows[top]...)
	return fmt.Sprintf("%s may import only %s of this module; let cmd/vestibule hand it what it needs, as a function or a one-method interface",
		top, strings.Join(allowed, ", "))
}

func checkOwner(top, imported string) string {
	if top == laboratory {
		return ""
	}
	for outside, directories := range owners {
		if imported != outside && !strings.HasPrefix(imported, outside+"/") {
			continue
		}
		if slices.Contains(directories, top) {
			return ""
		}
		return fmt.Sprintf("only %s may; ask that package for what you need", strings.Join(directories, ", "))
	}
	return "nobody owns this module; use the standard library, or add it to owners in arrows_test.go and say why in the commit"
}

// checkComments returns a sentence for each directory whose package has no
// comment, or one that does not begin as godoc expects.
func checkComments(files []source) []string {
	comments := map[string]string{}
	names := map[string]string{}
	for _, file := range files {
		directory := path.Dir(file.name)
		names[directory] = file.pkg
		if file.comment != "" {
			comments[directory] = file.comment
		}
	}
	var problems []string
	for directory, name := range names {
		comment := comments[directory]
		switch {
		case comment == "":
			problems = append(problems, fmt.Sprintf("%s: package %s has no comment; say above its package clause what it decides, in what order, and what it leaves alone", directory, name))
		case name != "main" && !strings.HasPrefix(comment, "Package "):
			problems = append(problems, fmt.Sprintf("%s: the comment of package %s begins %q; begin it with \"Package %s\"", directory, name, strings.SplitN(comment, "\n", 2)[0], name))
		}
	}
	slices.Sort(problems)
	return problems
}

// TestCheckersNotice makes sure that the checks above can fail.
func TestCheckersNotice(t *testing.T) {
	t.Run("nothing wrong", func(t *testing.T) {
		expect(t, "proxy/a.go", "// Package proxy carries.\npackage proxy\nimport (_ \"net/http\"; _ \"vestibule/configs\"; _ \"vestibule/routing\")")
	})
	t.Run("an arrow back", func(t *testing.T) {
		expect(t, "routing/a.go", "// Package routing decides.\npackage routing\nimport _ \"vestibule/proxy\"",
			"routing/a.go imports vestibule/proxy: routing may import only configs of this module; let cmd/vestibule hand it what it needs, as a function or a one-method interface")
	})
	t.Run("an arrow behind a build tag", func(t *testing.T) {
		expect(t, "wellknown/a_test.go", "//go:build integration\n\n// Package wellknown publishes.\npackage wellknown\nimport _ \"vestibule/routing\"",
			"wellknown/a_test.go imports vestibule/routing: wellknown may import only configs of this module; let cmd/vestibule hand it what it needs, as a function or a one-method interface")
	})
	t.Run("a module of another package", func(t *testing.T) {
		expect(t, "cmd/vestibule/a.go", "// Vestibule is a front door.\npackage main\nimport _ \"github.com/caddyserver/certmagic/internal\"",
			"cmd/vestibule/a.go imports github.com/caddyserver/certmagic/internal: only acme may; ask that package for what you need")
	})
	t.Run("a module of nobody", func(t *testing.T) {
		expect(t, "proxy/a.go", "// Package proxy carries.\npackage proxy\nimport _ \"example.org/left/pad\"",
			"proxy/a.go imports example.org/left/pad: nobody owns this module; use the standard library, or add it to owners in arrows_test.go and say why in the commit")
	})
	t.Run("the laboratory is free", func(t *testing.T) {
		expect(t, "integration/a.go", "// Package integration proves.\npackage integration\nimport _ \"example.org/left/pad\"")
	})
	t.Run("no package comment", func(t *testing.T) {
		expect(t, "acme/a.go", "package acme",
			"acme: package acme has no comment; say above its package clause what it decides, in what order, and what it leaves alone")
	})
	t.Run("a comment godoc does not know", func(t *testing.T) {
		expect(t, "acme/a.go", "// Certificates.\npackage acme",
			"acme: the comment of package acme begins \"Certificates.\"; begin it with \"Package acme\"")
	})
	t.Run("testdata is not ours", func(t *testing.T) {
		expect(t, "configs/testdata/a.go", "package broken")
	})
}

// expect checks a module of one file and compares the sentences.
func expect(t *testing.T, name, text string, want ...string) {
	t.Helper()
	files, err := sources(fstest.MapFS{name: {Data: []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	got := append(checkImports(files), checkComments(files)...)
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
