package configs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// Load reads the configuration at path and the files it includes. The Config is
// nil when there is a Problem that is not a warning.
func Load(path string) (*Config, Problems) {
	l := &loader{included: map[string]Place{}}
	root := l.read(path, Place{}, nil)
	if root == nil && !l.problems.Failed() {
		l.problems = append(l.problems, Problem{
			Place:   Place{File: path},
			Message: "is empty",
			Hint:    "begin with sites:",
		})
	}
	if root == nil {
		return nil, l.problems
	}
	cfg := Default()
	cfg.Files = l.files
	at := spot{node: root, place: Place{File: path, Line: 1, Column: 1}, problems: &l.problems}
	decodeStruct(at, cfg)
	cfg.check(at)
	l.problems.sort(l.files)
	if l.problems.Failed() {
		return nil, l.problems
	}
	return cfg, l.problems
}

// maxIncludeDepth bounds files that include files: what goes deeper cannot be
// followed by a reader either.
const maxIncludeDepth = 8

// loader reads a file and those it includes into one tree.
type loader struct {
	files    []string
	included map[string]Place // by absolute path: where it was included
	problems Problems
}

// read gives the tree of a file merged with those it includes, nil when there
// is nothing to read. The stack holds the files that led here.
func (l *loader) read(path string, from Place, stack []string) *node {
	l.files = append(l.files, path)
	data, err := readBounded(path)
	if err != nil {
		place := from
		if from.File == "" {
			place = Place{File: path}
		}
		l.fail(place, includeKey(from), reason(err), "")
		return nil
	}
	p := &parser{file: path, problems: &l.problems}
	root := p.parse(data)
	if root == nil {
		return nil
	}
	l.include(root, path, append(stack, absolute(path)))
	return root
}

func includeKey(from Place) string {
	if from.File == "" {
		return ""
	}
	return "include"
}

func (l *loader) fail(place Place, key, message, hint string) {
	l.problems = append(l.problems, Problem{Place: place, Key: key, Message: message, Hint: hint})
}

// include merges the files that root names into it.
func (l *loader) include(root *node, path string, stack []string) {
	f := root.field("include")
	if f == nil || f.value.kind != listNode {
		return // a wrong type is reported when the key is decoded
	}
	seen := map[string]bool{}
	for _, item := range f.value.items {
		if item.kind != scalarNode || item.isNull() {
			continue // reported when the key is decoded
		}
		if item.value == "" {
			l.fail(item.place, "include", "is empty", "name a file, or remove it")
			continue
		}
		for _, file := range l.expand(item, filepath.Dir(path)) {
			if seen[absolute(file)] {
				continue // two patterns of one list may meet
			}
			seen[absolute(file)] = true
			if !l.mayInclude(file, item.place, stack) {
				continue
			}
			l.included[absolute(file)] = item.place
			if further := l.read(file, item.place, stack); further != nil {
				further.fields = slices.DeleteFunc(further.fields, l.takeInclude)
				l.merge(root, further, "")
			}
		}
	}
}

// takeInclude tells whether a field is that of files to include, which is not
// merged: what is wrong with it is reported here.
func (l *loader) takeInclude(f *field) bool {
	if f.key != "include" {
		return false
	}
	var names []string
	decode(spot{path: f.key, node: f.value, place: f.value.place, problems: &l.problems}, reflect.ValueOf(&names).Elem())
	return true
}

// mayInclude refuses cycles, files included from two places, and depth.
func (l *loader) mayInclude(file string, place Place, stack []string) bool {
	first, twice := l.included[absolute(file)]
	switch {
	case slices.Contains(stack, absolute(file)):
		l.fail(place, "include", quote(file)+" includes itself", "name the files to include so that this one is not among them")
	case twice:
		l.fail(place, "include", quote(file)+" is already included at "+first.String(), "include it once")
	case len(stack) >= maxIncludeDepth:
		l.fail(place, "include", "files include files more than 8 deep", "include them from the main file")
	default:
		return true
	}
	return false
}

// expand gives the files a pattern names, sorted. A name without wildcard must
// exist; a pattern may match nothing.
func (l *loader) expand(item *node, directory string) []string {
	pattern := item.value
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(directory, pattern)
	}
	if !strings.ContainsAny(item.value, wildcards) {
		if _, err := os.Lstat(pattern); errors.Is(err, fs.ErrNotExist) {
			l.fail(item.place, "include", quote(item.value)+" does not exist", "")
			return nil
		}
		return []string{pattern} // what else is wrong is found when it is read
	}
	files, err := filepath.Glob(pattern)
	switch {
	case err != nil:
		l.fail(item.place, "include", quote(item.value)+" is not a pattern", `a "[" needs its "]"`)
	case len(files) == 0: // of what it may not read, Glob says nothing
		_, err := os.ReadDir(filepath.Dir(pattern[:strings.IndexAny(pattern, wildcards)]))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			l.fail(item.place, "include", reason(err), "let the user that vestibule runs as read this directory")
		}
	}
	slices.Sort(files)
	return files
}

const wildcards = `*?[`

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

var errTooLarge = errors.New("is larger than 1 MiB")

func readBounded(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFileSize+1))
	if err == nil && len(data) > maxFileSize {
		err = errTooLarge
	}
	return data, err
}

// reason says in one line why a file could not be read; the place shown beside
// it names the file that asked for it, so the path is repeated.
func reason(err error) string {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return "reading " + pathError.Path + ": " + pathError.Err.Error()
	}
	return err.Error()
}

// merge adds further's fields to n's. Lists grow, sites meet by server_name,
// and a single value can be said once only: which file wins would otherwise be
// a matter of order.
func (l *loader) merge(n, further *node, path string) {
	for _, f := range further.fields {
		existing := n.field(f.key)
		key := joined(path, f.key)
		switch {
		case existing == nil:
			n.fields = append(n.fields, f)
		case existing.value.kind != f.value.kind, f.value.kind == scalarNode:
			l.fail(f.place, key, "is already set at "+existing.place.String(), "keep one of them")
		case f.value.kind == mappingNode:
			l.merge(existing.value, f.value, key)
		case key == "sites":
			l.mergeSites(existing.value, f.value)
		default:
			existing.value.items = append(existing.value.items, f.value.items...)
		}
	}
}

func (l *loader) mergeSites(n, further *node) {
	own := n.items
	for _, site := range further.items {
		i := slices.IndexFunc(own, func(other *node) bool { return sameSite(other, site) })
		if i < 0 {
			n.items = append(n.items, site)
			continue
		}
		site.fields = slices.DeleteFunc(site.fields, func(f *field) bool { return f.key == "server_name" })
		l.merge(own[i], site, indexed("sites", i))
	}
}

func sameSite(a, b *node) bool {
	nameA, nameB := a.field("server_name"), b.field("server_name")
	return nameA != nil && nameB != nil && nameA.value.kind == scalarNode && nameB.value.kind == scalarNode &&
		nameA.value.value != "" && strings.EqualFold(nameA.value.value, nameB.value.value)
}
