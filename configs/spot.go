package configs

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// spot is a value's path in the configuration, what is written there, and
// where problems with it are reported.
type spot struct {
	path     string
	node     *node // nil when nothing is written there
	place    Place // the value's, or that of the nearest one around it
	problems *Problems

	reported bool // what is said here or around it has a mistake already
}

// key goes to the value under a key.
func (s spot) key(name string) spot {
	next := spot{path: joined(s.path, name), place: s.place, problems: s.problems, reported: s.failed()}
	if s.node != nil && slices.Contains(s.node.misspelt, name) {
		next.reported = true
	}
	if f := s.node.field(name); f != nil {
		next.node, next.place = f.value, f.value.place
	}
	return next
}

// index goes to an item of a list.
func (s spot) index(i int) spot {
	next := spot{path: indexed(s.path, i), place: s.place, problems: s.problems, reported: s.failed()}
	if s.node != nil && i < len(s.node.items) {
		next.node = s.node.items[i]
		next.place = next.node.place
	}
	return next
}

// written tells whether the file says something there.
func (s spot) written() bool { return s.node != nil }

// failed tells whether a mistake around the spot makes further ones idle.
func (s spot) failed() bool { return s.reported || s.node != nil && s.node.bad }

// mistaken tells whether something was reported there or below.
func (s spot) mistaken() bool {
	return slices.ContainsFunc(*s.problems, func(p Problem) bool {
		rest, found := strings.CutPrefix(p.Key, s.path)
		return found && !p.Warning && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

// reject reports a value of the wrong type. What would follow from it is not
// reported: one mistake has one line.
func (s spot) reject(message, hint string) {
	s.fail(message, hint)
	s.node.bad = true
}

// fail reports a mistake at the spot.
func (s spot) fail(message, hint string) { s.report(Problem{Message: message, Hint: hint}) }

// warn reports something that deserves attention but works.
func (s spot) warn(message, hint string) {
	s.report(Problem{Message: message, Hint: hint, Warning: true})
}

func (s spot) report(p Problem) {
	if s.failed() {
		return
	}
	p.Place, p.Key = s.place, s.path
	*s.problems = append(*s.problems, p)
}

// failIf reports a mistake unless its message is empty.
func (s spot) failIf(message, hint string) {
	if message != "" {
		s.fail(message, hint)
	}
}

// valid reports what is wrong with the text that is written there.
func (s spot) valid(text string, mistake func(string) (message, hint string)) {
	if !s.written() {
		return
	}
	if message, hint := mistake(text); message != "" {
		s.reject(message, hint)
	}
}

// require reports that a key is missing or empty, and tells so.
func (s spot) require(name string) (missing bool) {
	key := s.key(name)
	switch {
	case !key.written():
		s.key(name).fail("is required", "")
		return true
	case key.node.kind == scalarNode && key.node.value == "":
		key.reject("is empty", "")
		return true
	}
	return false
}

// inRange reports a number out of bounds.
func (s spot) inRange(value, lowest, highest int) {
	if s.written() && (value < lowest || value > highest) {
		s.fail(fmt.Sprintf("%s is out of range", s.node.value), fmt.Sprintf("write a number from %d to %d", lowest, highest))
	}
}

// oneOf reports a word that is not among those known.
func (s spot) oneOf(value string, words ...string) {
	for _, word := range words {
		if value == word {
			return
		}
	}
	hint := "write " + enumerate(words)
	if meant := nearest(value, words); meant != "" {
		hint = "did you mean " + quote(meant) + "?"
	}
	s.fail(quote(value)+" is not known", hint)
}

// scalar gives the text of a single value, quoted or not.
func (s spot) scalar() (string, bool) {
	if s.node.kind != scalarNode || s.node.isNull() {
		return "", false
	}
	return s.node.value, true
}

// text gives a value that YAML takes for text.
func (s spot) text() (string, bool) {
	if s.node.kind != scalarNode || (s.node.tag != "!!str" && s.node.tag != "!!timestamp") {
		return "", false
	}
	return s.node.value, true
}

// resolve makes a path relative to the file that names it, whatever the working
// directory.
func (s spot) resolve(path string) string {
	if path == "" || filepath.IsAbs(path) || !s.written() {
		return path
	}
	return filepath.Join(filepath.Dir(s.node.place.File), path)
}

// readFile gives a file's content.
func (s spot) readFile(path string) ([]byte, bool) {
	data, err := readBounded(path)
	if err != nil {
		s.unreadable(err)
	}
	return data, err == nil
}

// unreadable reports why a file cannot be used. One that is missing or closed to
// us is a warning: validate runs on other machines and as other users than
// serve.
func (s spot) unreadable(err error) {
	missing := errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)
	s.report(Problem{Message: reason(err), Warning: missing, missingFile: missing})
}

// checkRoots reports a file that holds no certificate of an authority.
func (s spot) checkRoots(path string) {
	if data, ok := s.readFile(path); ok && !x509.NewCertPool().AppendCertsFromPEM(data) {
		s.fail(quote(path)+" holds no certificate", "give a file with PEM certificates")
	}
}

// quote shows a text between quotes, the beginning of it when it is long.
func quote(text string) string {
	const most = 200
	if len(text) > most {
		return strconv.Quote(text[:most]) + "…"
	}
	return strconv.Quote(text)
}
