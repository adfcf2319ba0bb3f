package routing

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"vestibule/configs"
)

// operatorRoute is a route of the configuration on its way into a host.
type operatorRoute struct {
	route
	config *configs.Route
	order  int // in the configuration
}

// newOperatorRoute reads a route; pool makes the pool of its upstreams.
func newOperatorRoute(config *configs.Route, pool func(configs.Class, []configs.Upstream) *Pool) (*operatorRoute, error) {
	rt := &operatorRoute{config: config}
	rt.class = configs.Class("route:" + config.Name)
	rt.methods = methods{config.Methods}
	rt.rule = Rule{
		Name: config.Name, Place: config.Place,
		Pattern:         cmp.Or(config.Path, config.PathPrefix, config.PathRegexp),
		RequestHeaders:  headerFields(config.RequestHeaders),
		ResponseHeaders: headerFields(config.ResponseHeaders),
	}
	if len(config.Allow) > 0 {
		rt.gate = &gate{allowed: config.Allow, list: "the route's allow"}
	}
	if config.PathRegexp != "" {
		var err error
		if rt.regexp, err = regexp.Compile("^(?:" + config.PathRegexp + ")$"); err != nil {
			return nil, fmt.Errorf("%s: route %s: %w", config.Place, config.Name, err)
		}
	}
	switch {
	case config.Redirect != "":
		rt.action, rt.location, rt.status = Redirect, config.Redirect, config.Status
	case config.Status != 0:
		rt.action, rt.status, rt.errcode = Refuse, config.Status, errcode(config.Status)
	default:
		rt.action, rt.pool = Proxy, pool(rt.class, config.Upstreams)
		rt.rule.Rewrite = rewriteOf(config)
		rt.within = confines(config.PathPrefix)
	}
	return rt, nil
}

// confines returns the prefix that a route stays within. Below /_matrix anything
// may stand in an identifier, dots and encoded slashes included, so nothing is
// read into them there.
func confines(prefix string) string {
	prefix = strings.TrimRight(prefix, "/")
	if prefix == "/_matrix" || strings.HasPrefix(prefix, "/_matrix/") {
		return ""
	}
	return prefix
}

func rewriteOf(config *configs.Route) Rewrite {
	w := Rewrite{Add: strings.TrimRight(config.AddPrefix, "/"), Replace: config.ReplacePath}
	if config.StripPrefix {
		w.Strip = strings.TrimRight(config.PathPrefix, "/")
	}
	return w
}

// headerFields sorts a map, so that every run sends the same.
func headerFields(fields map[string]string) []HeaderField {
	var list []HeaderField
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		list = append(list, HeaderField{name, fields[name]})
	}
	return list
}

// errcode is Matrix's word for a status (client-server API, "Common error
// codes"); an answer that is no error has none.
func errcode(status int) string {
	switch {
	case status < 400:
		return ""
	case status == http.StatusForbidden:
		return "M_FORBIDDEN"
	case status == http.StatusNotFound:
		return "M_NOT_FOUND"
	case status == http.StatusTooManyRequests:
		return "M_LIMIT_EXCEEDED"
	}
	return "M_UNKNOWN"
}

// pattern is what the machine compares; not for path_regexp.
func (rt *operatorRoute) pattern() pattern {
	if rt.config.Path != "" {
		return exactly(rt.config.Path)
	}
	return under(rt.config.PathPrefix)
}

// restricted reports whether the route is not for everybody, so that no other
// spelling of its path may lead past it.
func (rt *route) restricted() bool { return rt.gate != nil || rt.action == Refuse }

// redirect is where a Redirect leads; the query goes along unless the location
// has its own.
func (rt *route) redirect(t *target) string {
	location := rt.location
	if rt.addSlash {
		location = t.path + "/"
	}
	before, fragment, found := strings.Cut(location, "#") // a query stands before it (RFC 3986, section 3)
	if t.query == "" || strings.Contains(before, "?") {
		return location
	}
	if before += "?" + t.query; found {
		before += "#" + fragment
	}
	return before
}

// precedes orders routes of the same shape: the higher priority, then the one
// that was written first.
func (rt *operatorRoute) precedes(other *operatorRoute) int {
	if c := cmp.Compare(other.config.Priority, rt.config.Priority); c != 0 {
		return c
	}
	return cmp.Compare(rt.order, other.order)
}

// ties reports whether nothing but the order in a file would decide.
func (rt *operatorRoute) ties(other *operatorRoute) bool {
	return rt.config.Priority == other.config.Priority && rt.methods.overlap(other.methods)
}
