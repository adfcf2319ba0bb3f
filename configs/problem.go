package configs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// String gives the place as editors and compilers write it: "file:line:col".
// It is empty for the zero Place.
func (p Place) String() string {
	switch {
	case p.File == "":
		return ""
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Problem is one mistake in a configuration: where it is, what is wrong and,
// where we know it, the remedy.
type Problem struct {
	Place
	// Key is the path of the value, such as "sites[0].synapse.workers.sync[1]";
	// empty when the file could not be understood so far.
	Key string
	// Message says what is wrong, without a full stop.
	Message string
	// Hint says what to write instead. Optional.
	Hint string
	// Warning is true when the configuration can be used all the same.
	Warning bool

	missingFile bool // becomes an error in Strict
}

// String gives the problem as one line:
// "file:line:col: key: what is wrong (hint: remedy)".
func (p Problem) String() string {
	var b strings.Builder
	for _, part := range []string{p.Place.String(), p.Key} {
		if part != "" {
			b.WriteString(part + ": ")
		}
	}
	if p.Warning {
		b.WriteString("warning: ")
	}
	b.WriteString(p.Message)
	if p.Hint != "" {
		b.WriteString(" (hint: " + p.Hint + ")")
	}
	return b.String()
}

// Problems are all the mistakes of a configuration, in the order in which its
// files and their lines are read.
type Problems []Problem

// Error gives the problems one per line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}

// Failed tells whether one of the problems is more than a warning.
func (p Problems) Failed() bool {
	return slices.ContainsFunc(p, func(problem Problem) bool { return !problem.Warning })
}

// Strict gives the problems as a server that is about to start sees them: a
// file that is missing here, which on another machine is worth a warning, is an
// error.
func (p Problems) Strict() Problems {
	strict := slices.Clone(p)
	for i := range strict {
		if strict[i].missingFile {
			strict[i].Warning = false
		}
	}
	return strict
}

// sort orders the problems by file, as listed, then by line and column.
func (p Problems) sort(files []string) {
	rank := func(file string) int {
		if i := slices.Index(files, file); i >= 0 {
			return i
		}
		return len(files)
	}
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(rank(a.File), rank(b.File)),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
		)
	})
}
