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

func serverNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("-._:[]", c) >= 0
}
