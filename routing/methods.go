package routing

import (
	"slices"
	"strings"
)

// methods is a set of methods; the zero value holds all of them. HEAD counts as
// GET, and OPTIONS, a browser's question before another request, as any.
type methods struct{ list []string }

// parseMethods reads "GET,PUT" or "*".
func parseMethods(text string) methods {
	if text == "*" {
		return methods{}
	}
	return methods{strings.Split(text, ",")}
}

func (m methods) have(method string) bool {
	if len(m.list) == 0 || method == "OPTIONS" {
		return true
	}
	for _, have := range m.list {
		if have == method || have == "GET" && method == "HEAD" {
			return true
		}
	}
	return false
}

// overlap reports whether some method is in both, but for OPTIONS.
func (m methods) overlap(n methods) bool {
	if len(m.list) == 0 || len(n.list) == 0 {
		return true
	}
	return slices.ContainsFunc(m.list, func(method string) bool { return slices.Contains(n.list, method) })
}

// want explains that method is not among them.
func (m methods) want(method string) string {
	return "method " + method + ", wants " + strings.Join(m.list, " or ")
}
