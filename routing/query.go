package routing

import "strings"

// parameter returns the first value of a query parameter, still encoded, or
// false. It cuts the query as Twisted does for Synapse (twisted.web.http,
// parse_qs): at "&" and ";", passing over what has no "=", and compares names
// decoded.
func parameter(query, name string) (value string, ok bool) {
	for query != "" {
		item := query
		if i := strings.IndexAny(query, "&;"); i >= 0 {
			item, query = query[:i], query[i+1:]
		} else {
			query = ""
		}
		i := strings.IndexByte(item, '=')
		if i >= 0 && nameIs(item[:i], name) {
			return item[i+1:], true
		}
	}
	return "", false
}

func nameIs(encoded, name string) bool {
	if encoded == name {
		return true
	}
	return strings.IndexByte(encoded, '%') >= 0 && decodesTo(encoded, name)
}

// condition is a row's demand on the query: the parameter's first value is
// this. An absent parameter has the value "".
type condition struct{ name, value string }

func (c condition) holds(query string) bool {
	value, _ := parameter(query, c.name)
	return value == c.value || c.value != "" && decodesTo(value, c.value)
}

func (c condition) String() string {
	if c.value == "" {
		return c.name + " is given"
	}
	return c.name + " is not " + c.value
}
