package routing

import "strings"

// target is a request-target, cut but otherwise as it came.
type target struct {
	raw, path, query string
	// escaped is true when the path has a percent-encoded byte.
	escaped bool
	// tangled is true when the path's segments may be others to a server that
	// decodes and cleans before it looks: an empty one, one that begins with a
	// dot, an encoded slash, dot or percent sign.
	tangled bool
}

// parseTarget checks what no Matrix client sends and what servers disagree
// about, and returns what is wrong, or "".
func parseTarget(raw string) (t target, fault string) {
	t = target{raw: raw, path: raw}
	if raw == "" || raw[0] != '/' {
		return t, "the target does not begin with a slash"
	}
	if i := strings.IndexByte(raw, '?'); i >= 0 {
		t.path, t.query = raw[:i], raw[i+1:]
	}
	if fault := t.checkPath(); fault != "" {
		return t, fault
	}
	for i := range len(t.query) {
		if c := t.query[i]; c <= ' ' || c == 0x7f || c == '#' {
			return t, "the query holds a space, a control character or #"
		}
	}
	return t, ""
}

// readsAs tells whether some reading of the path comes to the one given.
func (t *target) readsAs(path string) bool {
	if strings.TrimSuffix(t.path, "/") == path {
		return true
	}
	if !t.escaped && !t.tangled {
		return false
	}
	for s, more := spell(nil, t.path), true; more; more = s.next() {
		if resolved(s.spelling) == path {
			return true
		}
	}
	return false
}

// pathBytes tells what a path may hold as it is: 1 is plain, 2 needs a look.
var pathBytes = func() (table [256]uint8) {
	for c := '!'; c <= '~'; c++ {
		table[c] = 1
	}
	table['#'], table['\\'] = 0, 0
	table['%'], table['/'] = 2, 2
	return table
}()

func (t *target) checkPath() (fault string) {
	path := t.path
	for i := 0; i < len(path); i++ {
		switch pathBytes[path[i]] {
		case 1:
			continue
		case 0:
			return "the path holds a space, a control character, a backslash, # or a byte beyond ASCII"
		}
		if path[i] == '/' {
			if i+1 < len(path) && (path[i+1] == '/' || path[i+1] == '.') {
				t.tangled = true
			}
			continue
		}
		c, ok := unescape(path, i)
		if !ok {
			return "the path holds a percent sign that begins no escape"
		}
		t.escaped = true
		if c == '/' || c == '.' || c == '%' {
			t.tangled = true
		}
		i += 2
	}
	return ""
}

// unescape decodes the %XX at s[i].
func unescape[T ~string | ~[]byte](s T, i int) (byte, bool) {
	if i+2 >= len(s) {
		return 0, false
	}
	high, low := hexDigits[s[i+1]], hexDigits[s[i+2]]
	if high > 15 || low > 15 {
		return 0, false
	}
	return high<<4 | low, true
}

// hexDigits holds the value of each hexadecimal digit, 255 for other bytes.
var hexDigits = func() (table [256]uint8) {
	for c := range table {
		switch {
		case '0' <= c && c <= '9':
			table[c] = uint8(c - '0')
		case 'a' <= c && c <= 'f':
			table[c] = uint8(c - 'a' + 10)
		case 'A' <= c && c <= 'F':
			table[c] = uint8(c - 'A' + 10)
		default:
			table[c] = 255
		}
	}
	return table
}()

// cutSegment returns the first segment of a path and what follows it, from the
// next slash on. The path begins with a slash.
func cutSegment(path string) (segment, rest string) {
	path = path[1:]
	if i := strings.IndexByte(path, '/'); i >= 0 {
		return path[:i], path[i:]
	}
	return path, ""
}

// segmentAt returns the nth segment of a path, from 0; "" beyond the end.
func segmentAt(path string, n int) string {
	for ; path != ""; n-- {
		var s string
		s, path = cutSegment(path)
		if n == 0 {
			return s
		}
	}
	return ""
}

// decodesTo reports whether s, decoded once, is word.
func decodesTo(s, word string) bool {
	n := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' {
			if decoded, ok := unescape(s, i); ok {
				c = decoded
				i += 2
			}
		}
		if n >= len(word) || word[n] != c {
			return false
		}
		n++
	}
	return n == len(word)
}
