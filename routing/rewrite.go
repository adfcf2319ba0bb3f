package routing

import "strings"

// Rewrite changes a target's path; the query is never touched.
type Rewrite struct {
	Strip   string // removed from the front of the raw path; it matched by segments
	Add     string // put in front
	Replace string // stands for the whole path
}

// Append appends the target to forward, query and all, to dst. A path of which
// nothing is left becomes "/".
func (w Rewrite) Append(dst []byte, target string) []byte {
	path, query := target, ""
	if i := strings.IndexByte(target, '?'); i >= 0 {
		path, query = target[:i], target[i:]
	}
	if w.Replace != "" {
		path = w.Replace
	}
	path = strings.TrimPrefix(path, w.Strip)
	if path == "" {
		path = "/"
	}
	dst = append(dst, w.Add...)
	dst = append(dst, path...)
	return append(dst, query...)
}
