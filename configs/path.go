package configs

import (
	"net/url"
	"strings"
)

// pathMistake says what is wrong with a path to match. It is compared with what
// clients send byte for byte, so it is written as they send it.
func pathMistake(path string) (message, hint string) {
	if path == "" {
		return "is empty", ""
	}
	if !strings.HasPrefix(path, "/") {
		return quote(path) + " does not begin with a slash", "write " + quote("/"+path)
	}
	if before, _, found := cutAny(path, "?#"); found {
		return quote(path) + " has a query or a fragment", "write the path alone: " + quote(before)
	}
	if i := strings.IndexFunc(path, notInPath); i >= 0 {
		return quote(path) + " holds a character that no path on the wire has", "percent-encode it: " + quote((&url.URL{Path: path}).EscapedPath())
	}
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return quote(path) + " has a percent sign without two hexadecimal digits", `write "%25" for the sign itself`
	}
	for segment := range strings.SplitSeq(decoded, "/") {
		if segment == "." || segment == ".." {
			return quote(path) + " has a dot segment", "write the path that it leads to"
		}
	}
	return "", ""
}

// notInPath tells a byte that RFC 3986 has no room for in a path, and the
// backslash, which some servers take for a slash.
func notInPath(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"<>\^`+"`{|}", r) }

// prefixMistake says what is wrong with a path prefix. A prefix is compared by
// whole segments, so an empty one could hardly be meant.
func prefixMistake(path string) (message, hint string) {
	if message, hint = pathMistake(path); message != "" {
		return message, hint
	}
	if strings.Contains(path, "//") {
		return quote(path) + " has an empty segment", "write one slash"
	}
	return "", ""
}

// closedBy gives the closed prefix that a path lies under; empty when none. Of
// what Synapse has under /_synapse, client is for everybody, admin has its own
// gate, and mas, metrics, replication and whatever a later version adds are for
// its neighbours alone (Synapse, docs/reverse_proxy.md, "Synapse administration
// endpoints"). Letters may be percent-encoded: Synapse finds these resources by
// their decoded segments (util/httpresourcetree.py). It passes over slashes at
// the beginning (http/server.py, RootRedirect.getChild).
func closedBy(path string) string {
	if decoded, err := url.PathUnescape(path); err == nil {
		path = decoded
	}
	rest, found := strings.CutPrefix(strings.TrimLeft(path, "/"), "_synapse/")
	segment, _, _ := strings.Cut(rest, "/")
	if !found || segment == "" || segment == "client" {
		return ""
	}
	return "/_synapse/" + segment
}

// under tells whether a path is a prefix or lies below it, by whole segments.
func under(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, strings.TrimSuffix(prefix, "/")+"/")
}
