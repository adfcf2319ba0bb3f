package configs

import (
	"errors"
	"net/http"
	"net/netip"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Route is the operator's own: what it matches and what happens then.
type Route struct {
	// Name stands in explain, logs and metrics: letters a to z, digits, hyphens
	// and underscores. Required, unique in its site.
	Name string `yaml:"name"`
	// Hosts it applies to. Optional. Defaults to the site's host.
	Hosts []string `yaml:"hosts"`
	// Entrypoints it applies to: https, federation, internal. Optional. Defaults
	// to https and federation.
	Entrypoints []string `yaml:"entrypoints"`
	// Methods it applies to. Optional. Defaults to all.
	Methods []string `yaml:"methods"`
	// Exactly one of Path, PathPrefix (by whole segments) and PathRegexp (the
	// whole raw path must match) is required.
	Path       string `yaml:"path"`
	PathPrefix string `yaml:"path_prefix"`
	PathRegexp string `yaml:"path_regexp"`

	// StripPrefix removes PathPrefix before forwarding. Optional. Not towards
	// Synapse, as AddPrefix.
	StripPrefix bool `yaml:"strip_prefix"`
	// AddPrefix puts a path before what is forwarded. Optional.
	AddPrefix string `yaml:"add_prefix"`
	// ReplacePath is forwarded instead of the path. Optional.
	ReplacePath string `yaml:"replace_path"`

	// RequestHeaders and ResponseHeaders are set; an empty value removes. What
	// belongs to the connection or tells who the client is cannot be set. Those of
	// responses are for what the upstream, Redirect or Status answers: refusals and
	// errors go without.
	RequestHeaders  map[string]string `yaml:"request_headers"`
	ResponseHeaders map[string]string `yaml:"response_headers"`

	// Allow limits the route to these addresses; others get 403. Optional.
	Allow []netip.Prefix `yaml:"allow"`
	// BasicAuthFile is not supported yet.
	BasicAuthFile string `yaml:"basic_auth_file"`
	// Priority breaks a tie between two routes of the same shape; the higher
	// wins. Optional.
	Priority int `yaml:"priority"`

	// Exactly one of Upstreams, Redirect (a URL or a path) and Status is
	// required; Status may go with Redirect to choose 301, 302, 303, 307 or 308.
	Upstreams []Upstream `yaml:"upstreams"`
	Redirect  string     `yaml:"redirect"`
	Status    int        `yaml:"status"`

	Place Place `yaml:"-"`
}

func (r *Route) check(at spot) {
	if !at.require("name") && r.Name != "" && !namePattern.MatchString(r.Name) {
		at.key("name").fail(quote(r.Name)+" cannot be a metric label", "use the letters a to z, digits, hyphens and underscores")
	}
	for i, host := range r.Hosts {
		at.key("hosts").index(i).valid(host, hostMistake)
	}
	for i, word := range r.Entrypoints {
		at.key("entrypoints").index(i).oneOf(word, "https", "federation", "internal")
	}
	r.checkMethods(at.key("methods"))
	r.checkMatch(at)
	r.checkRewrite(at)
	r.checkAction(at)
	if allow := at.key("allow"); allow.written() && len(r.Allow) == 0 {
		allow.fail("the list is empty", "remove it to let everybody in, or write status: 403 to let nobody in")
	}
	checkHeaders(at.key("request_headers"))
	checkHeaders(at.key("response_headers"))
	at.key("basic_auth_file").unsupported("close the route with allow")
}

// checkMethods requires methods as they are sent; they are case-sensitive
// (RFC 9110, section 9.1).
func (r *Route) checkMethods(at spot) {
	for i, method := range r.Methods {
		switch {
		case !httpguts.ValidHeaderFieldName(method): // a token, as methods are
			at.index(i).fail(quote(method)+" is not a method", `write it as "GET"`)
		case method != strings.ToUpper(method):
			at.index(i).fail(quote(method)+" is not in upper case", "write "+quote(strings.ToUpper(method)))
		}
	}
}

// exactlyOne reports keys of which one is needed and not more; without tells
// what the lack of them means.
func exactlyOne(at spot, without string, names ...string) {
	var written []string
	misspelt := false
	for _, name := range names {
		key := at.key(name)
		misspelt = misspelt || key.failed()
		if key.written() {
			written = append(written, name)
		}
	}
	switch {
	case len(written) == 0 && !misspelt:
		at.fail(without+": "+enumerate(names)+" is required", "")
	case len(written) > 1:
		at.key(written[1]).fail("cannot go together with "+written[0], "keep one of "+enumerate(names))
	}
}

func (r *Route) checkMatch(at spot) {
	exactlyOne(at, "matches nothing", "path", "path_prefix", "path_regexp")
	at.key("path").valid(r.Path, unlessClosed(pathMistake))
	at.key("path_prefix").valid(r.PathPrefix, unlessClosed(prefixMistake))
	at.key("path_regexp").valid(r.PathRegexp, regexpMistake)
	if strings.Contains(r.PathRegexp, "%") && (len(r.Allow) > 0 || r.Status >= 400) {
		// Paths are also read decoded before a route that closes; what an expression
		// with escapes would match decoded, nobody can tell.
		at.key("path_regexp").warn("closes only what is written with these very escapes: %3a and %3A are two", "write path or path_prefix, which close every spelling")
	}
}

// unlessClosed adds to the mistakes of a path that it stays closed.
func unlessClosed(mistake func(string) (message, hint string)) func(string) (message, hint string) {
	return func(path string) (message, hint string) {
		if message, hint = mistake(path); message != "" {
			return message, hint
		}
		return closedMistake(path, path)
	}
}

// closedMistake says that a path, or all that begin with it, stays closed.
func closedMistake(path, shown string) (message, hint string) {
	closed := closedBy(path)
	if closed == "" {
		return "", ""
	}
	return quote(shown) + " lies under " + closed + ", which no route can open", closedRemedy(closed)
}

func closedRemedy(closed string) string {
	if closed == "/_synapse/admin" {
		return "list who may use it under admins"
	}
	return "reach it on Synapse's own address"
}

// regexpMistake compiles a pattern (RE2, as package regexp has it); the whole
// raw path must match.
func regexpMistake(pattern string) (message, hint string) {
	if pattern == "" {
		return "is empty", ""
	}
	_, err := regexp.Compile(pattern)
	if err == nil {
		_, err = regexp.Compile("^(?:" + pattern + ")$") // "\\Q" without "\\E" would reach beyond its end
	}
	if err == nil {
		return closedMistake(literalPrefix(pattern), pattern)
	}
	var syntaxError *syntax.Error
	if errors.As(err, &syntaxError) && syntaxError.Code == syntax.ErrInvalidPerlOp {
		hint = "lookaheads do not exist here"
	}
	return strings.TrimPrefix(err.Error(), "error parsing regexp: "), hint
}

// literalPrefix is what every path that matches begins with. The anchor is
// implied and hides it from package regexp.
func literalPrefix(pattern string) string {
	compiled, err := regexp.Compile(strings.TrimPrefix(pattern, "^"))
	if err != nil {
		return ""
	}
	prefix, _ := compiled.LiteralPrefix()
	return prefix
}

func (r *Route) checkRewrite(at spot) {
	if r.StripPrefix && !at.key("path_prefix").written() {
		at.key("strip_prefix").fail("needs path_prefix", "remove it, or write path_prefix")
	}
	at.key("add_prefix").valid(r.AddPrefix, unlessClosed(prefixMistake))
	at.key("replace_path").valid(r.ReplacePath, unlessClosed(pathMistake))
	if r.ReplacePath == "" {
		return
	}
	for _, name := range []string{"strip_prefix", "add_prefix"} {
		if key := at.key(name); key.written() && (name != "strip_prefix" || r.StripPrefix) {
			key.fail("cannot go together with replace_path", "keep one of them")
		}
	}
}

var redirectStatuses = []int{
	http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
	http.StatusTemporaryRedirect, http.StatusPermanentRedirect,
}

func (r *Route) checkAction(at spot) {
	upstreams, redirect, status := at.key("upstreams"), at.key("redirect"), at.key("status")
	switch {
	case redirect.written():
		exactlyOne(at, "", "redirect", "upstreams")
		r.checkRedirect(redirect, status)
	default:
		exactlyOne(at, "answers nothing", "upstreams", "redirect", "status")
		r.checkStatus(status)
	}
	if upstreams.written() && len(r.Upstreams) == 0 {
		upstreams.fail("names no process", "")
	}
	checkUpstreams(upstreams, r.Upstreams)
	if upstreams.written() {
		return
	}
	for _, name := range []string{"strip_prefix", "add_prefix", "replace_path", "request_headers"} {
		if key := at.key(name); key.written() {
			key.fail("has no effect without upstreams", "remove it")
		}
	}
}

func (r *Route) checkRedirect(redirect, status spot) {
	switch {
	case r.Redirect == "":
		redirect.failIf("is empty", "write a URL or a path")
	case strings.HasPrefix(r.Redirect, "/") && !strings.HasPrefix(r.Redirect, "//"):
		if strings.ContainsFunc(r.Redirect, func(c rune) bool { return c <= ' ' || c > '~' || c == '\\' }) {
			redirect.fail(quote(r.Redirect)+" holds a character that must be percent-encoded", "")
		}
	default:
		redirect.failIf(urlMistake(r.Redirect))
	}
	if status.written() && !slices.Contains(redirectStatuses, r.Status) {
		status.fail(status.node.value+" is not a redirect", "write 301, 302, 303, 307 or 308")
	}
}

// checkStatus checks an answer of our own: a final one, and no redirect to
// nowhere.
func (r *Route) checkStatus(status spot) {
	switch {
	case !status.written():
	case r.Status >= 300 && r.Status < 400:
		status.fail(status.node.value+" needs redirect", "write redirect, or another status")
	default:
		status.inRange(r.Status, 200, 599)
	}
}

// managedHeaders belong to the connection or to the client's identity, which
// are vestibule's to tell (RFC 9110, sections 7.2 and 7.6.1; RFC 7239).
var managedHeaders = []string{
	"Connection", "Content-Length", "Forwarded", "Host", "Keep-Alive", "TE", "Trailer",
	"Transfer-Encoding", "Upgrade", "X-Real-Ip",
}

var managedHeaderPrefixes = []string{"Proxy-", "X-Forwarded-"}

func isManagedHeader(name string) bool {
	name = http.CanonicalHeaderKey(name)
	return slices.ContainsFunc(managedHeaders, func(h string) bool { return strings.EqualFold(h, name) }) ||
		slices.ContainsFunc(managedHeaderPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

func checkHeaders(at spot) {
	if at.node == nil || at.node.kind != mappingNode {
		return
	}
	first := map[string]Place{}
	for _, f := range at.node.fields {
		key := at.key(f.key)
		name := strings.ToLower(f.key)
		place, twice := first[name]
		first[name] = f.place
		switch {
		case !httpguts.ValidHeaderFieldName(f.key):
			key.fail(quote(f.key)+" is not a header name", "")
		case isManagedHeader(f.key):
			key.fail(quote(f.key)+" is set by vestibule", "remove it")
		case twice:
			key.fail("is written twice, first at "+place.String(), "keep one of them")
		case f.value.kind == scalarNode && !httpguts.ValidHeaderFieldValue(f.value.value):
			key.fail("the value holds a line break or another control character", "write it on one line")
		}
	}
}
