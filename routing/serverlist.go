package routing

import "strings"

// serverList is the servers that a site federates with. Being on it grants
// nothing: whoever claims an origin is still to prove it to Synapse. It is for
// turning others away.
type serverList struct {
	names    map[string]bool
	patterns []string // with "*" for any bytes and "?" for one
}

func newServerList(servers []string) *serverList {
	l := &serverList{names: make(map[string]bool)}
	for _, server := range servers {
		if server = strings.ToLower(server); strings.ContainsAny(server, "*?") {
			l.patterns = append(l.patterns, server)
		} else {
			l.names[server] = true
		}
	}
	return l
}

// has tells whether a server name in lower case is listed, port and all.
func (l *serverList) has(name []byte) bool {
	if l.names[string(name)] {
		return true
	}
	for _, pattern := range l.patterns {
		if matchesPattern(pattern, name) {
			return true
		}
	}
	return false
}

// matchesPattern goes back to the last "*" and lets it take one byte more, so
// its time is bounded by the product of both lengths.
func matchesPattern(pattern string, name []byte) bool {
	p, n, star, taken := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, taken = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p++
			n++
		case star >= 0:
			taken++
			p, n = star+1, taken
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// objection is against a field of Authorization of the scheme X-Matrix that
// claims an origin not listed, or does not plainly say which. Of several
// origins Synapse takes the last, so all must be listed. buffer is memory for a
// server name.
func (l *serverList) objection(field string, buffer []byte) objection {
	rest, ok := cutXMatrix(field)
	if !ok {
		return objection{} // a user's token, or another scheme
	}
	unclear := objection{why: "X-Matrix does not plainly say which server asks"}
	claimed := false
	for more := true; more; {
		var text string
		text, rest, more = strings.Cut(rest, ",")
		name, value, ok := plainParameter(text)
		if !ok {
			return unclear
		}
		if !strings.EqualFold(name, "origin") {
			continue
		}
		origin, ok := appendServerName(buffer, value)
		if !ok {
			return unclear
		}
		if !l.has(origin) {
			return objection{server: origin, why: " is not among federation.with"}
		}
		claimed = true
	}
	if !claimed {
		return unclear
	}
	return objection{}
}
