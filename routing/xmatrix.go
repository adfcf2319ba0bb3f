package routing

import "strings"

// xMatrixOrigin appends the origin that an Authorization field of the scheme
// X-Matrix claims, in lower case, or returns false (server-server API, "Request
// Authentication"). As in Synapse, names are in any case, values are bare or
// quoted with backslash escapes, and the last of several origins counts.
//
// The claim is not verified, so it may choose a process and nothing else.
func xMatrixOrigin(dst []byte, field string) (origin []byte, ok bool) {
	const scheme = "X-Matrix "
	if len(field) < len(scheme) || !strings.EqualFold(field[:len(scheme)], scheme) {
		return nil, false
	}
	for rest := field[len(scheme):]; rest != ""; {
		var parameter string
		parameter, rest = cutParameter(rest)
		name, value, found := strings.Cut(parameter, "=")
		if found && strings.EqualFold(name, "origin") {
			origin, ok = appendServerName(dst, value)
		}
	}
	return origin, ok
}

// cutParameter returns what stands before the next comma outside quotes,
// without the blanks around it, and what follows the comma.
func cutParameter(s string) (parameter, rest string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case quoted && s[i] == '\\':
			i++
		case !quoted && s[i] == ',':
			return strings.Trim(s[:i], " \t"), s[i+1:]
		}
	}
	return strings.Trim(s, " \t"), ""
}

// appendServerName unquotes a server name and appends it in lower case. It
// fails on what no server name holds, and on more than 255 bytes.
func appendServerName(dst []byte, value string) ([]byte, bool) {
	if strings.HasPrefix(value, `"`) {
		if len(value) < 2 || !strings.HasSuffix(value, `"`) {
			return nil, false
		}
		value = value[1 : len(value)-1]
	}
	start := len(dst)
	for i := 0; i < len(value); i++ {
		c := value[i]
		if c == '\\' && i+1 < len(value) {
			i++
			c = value[i]
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if !serverNameByte(c) || len(dst)-start == 255 {
			return nil, false
		}
		dst = append(dst, c)
	}
	return dst, len(dst) > start
}

// cutXMatrix returns what follows the scheme of a field that Synapse, or a
// reader less strict, would take for X-Matrix.
func cutXMatrix(field string) (parameters string, ok bool) {
	const scheme = "X-Matrix"
	field = strings.TrimLeft(field, " \t")
	if len(field) < len(scheme) || !strings.EqualFold(field[:len(scheme)], scheme) {
		return "", false
	}
	return field[len(scheme):], true
}

// plainParameter cuts a parameter that no two readers understand differently.
// Synapse separates parameters at every comma, be it within quotes
// (federation/transport/server/_base.py, _parse_auth_header): so that
//
//	origin=a.example,x="y,origin=b.example,z=w"
//
// comes from a.example for one reader and from b.example for another. Between
// two commas there is therefore to be one name, "=" and one value, bare or in
// its own quotes.
func plainParameter(text string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(strings.Trim(text, " \t"), "=")
	if !ok || !isToken(name) {
		return "", "", false
	}
	if !strings.HasPrefix(value, `"`) {
		return name, value, !strings.ContainsAny(value, "\"\\ \t")
	}
	for i := 1; i < len(value); i++ {
		switch value[i] {
		case '\\':
			i++
		case '"':
			return name, value, i == len(value)-1
		}
	}
	return "", "", false
}

func isToken(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		if (c < 'a' || c > 'z') && s[i] != '_' && s[i] != '-' && (s[i] < '0' || s[i] > '9') {
			return false
		}
	}
	return s != ""
}

func serverNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("-._:[]", c) >= 0
}
