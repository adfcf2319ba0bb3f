package routing

import (
	"maps"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// Unmet is a route of the operator's that no sample meets.
type Unmet struct {
	Site string
	Rule *Rule
	Why  string
}

// Samples returns requests that between them meet what the table has: on each
// host of each entrypoint the requests of the corpus, and some for each route
// beside the catalogue. Hosts are without port, and Client is not set. Two
// tables that decide alike about the samples of both are alike to most of the
// world.
func (t *Table) Samples() ([]Request, []Unmet) {
	s := &sampler{table: t, met: make(map[*Rule]bool)}
	for _, e := range public {
		for _, host := range slices.Sorted(maps.Keys(t.hosts[e])) {
			s.host(t.hosts[e][host], Request{Entrypoint: e, Host: host}, corpusHosts(t.hosts[e][host].site.config)[host])
		}
		s.corpus(Request{Entrypoint: e, Host: unknownHost}, unknownHost)
	}
	for _, name := range slices.Sorted(maps.Keys(t.internal)) {
		v := t.internal[name]
		s.host(v, Request{Entrypoint: Internal, Site: name, Host: Host(v.site.config.Host)}, "matrix.example.com")
	}
	return s.requests, s.unmet()
}

// Hosts lists the hosts of an entrypoint, each with the server_name of its site.
// Internal entrypoints take any host: theirs are the server_names.
func (t *Table) Hosts(e Entrypoint) map[string]string {
	vhosts := t.internal
	if e != Internal {
		vhosts = t.hosts[e]
	}
	hosts := make(map[string]string)
	for host, v := range vhosts {
		hosts[host] = v.site.name
	}
	return hosts
}

// sampler collects samples.
type sampler struct {
	table    *Table
	requests []Request
	met      map[*Rule]bool // the operator's, and whether a sample met it
	asked    []Unmet        // the same in order, each once
}

// host adds the samples of a host. base says where it is asked, and like which
// host of the corpus it is.
func (s *sampler) host(v *vhost, base Request, like string) {
	s.corpus(base, like)
	s.policy(v, base)
	for _, rt := range slices.Concat(v.guard.routes, v.builtin.routes) {
		s.route(rt, base, samplePaths(rt.rule.Pattern))
	}
	for _, rt := range v.operator.routes {
		s.operator(v, rt, base, around(rt.rule.Pattern))
	}
	for _, rt := range v.regexps {
		s.operator(v, rt, base, matching(rt.regexp))
	}
	if v.rest != nil {
		s.route(v.rest, base, around("/"))
	}
}

// corpus adds what the corpus asks of a host.
func (s *sampler) corpus(base Request, like string) {
	requests, err := corpusByHost()
	if err != nil {
		panic(err) // it is a constant, and a test reads it
	}
	for _, r := range requests[like] {
		base.Method, base.Target, base.Authorization = r.Method, r.Target, r.Authorization
		s.requests = append(s.requests, base)
	}
}

// policy adds a request of each server that the site names.
func (s *sampler) policy(v *vhost, base Request) {
	if v.areas&areaFederation == 0 {
		return
	}
	for _, server := range v.site.config.Federation.With.Servers {
		server = strings.NewReplacer("*", "x", "?", "x").Replace(server)
		base.Method, base.Target = "GET", "/_matrix/federation/v1/version"
		base.Authorization = []string{`X-Matrix origin="` + server + `",key="ed25519:1",sig="c2ln"`}
		s.requests = append(s.requests, base)
	}
}

// operator adds the samples of a route of the operator's and notes whether one
// of them meets it.
func (s *sampler) operator(v *vhost, rt *route, base Request, paths []string) {
	why := "other routes take every request that was tried"
	if len(paths) == 0 {
		why = "no path was found that the expression matches"
	}
	if _, asked := s.met[&rt.rule]; !asked {
		s.met[&rt.rule] = false
		s.asked = append(s.asked, Unmet{v.site.name, &rt.rule, why})
	}
	var d Decision
	for _, r := range s.route(rt, base, paths) {
		s.table.Match(&r, &d)
		s.met[&rt.rule] = s.met[&rt.rule] || d.Rule == &rt.rule
	}
}

// route adds requests for paths with the methods of a route, and returns them.
func (s *sampler) route(rt *route, base Request, paths []string) []Request {
	methods := rt.methods.list
	if len(methods) == 0 {
		methods = []string{"GET", "POST"}
	}
	before := len(s.requests)
	for _, path := range paths {
		for _, method := range methods {
			base.Method, base.Target = method, path
			s.requests = append(s.requests, base)
		}
	}
	return s.requests[before:]
}

func (s *sampler) unmet() []Unmet {
	return slices.DeleteFunc(s.asked, func(u Unmet) bool { return s.met[u.Rule] })
}

// around is a path, the same with a slash, and one below.
func around(path string) []string {
	stem := strings.TrimRight(path, "/")
	paths := []string{path}
	for _, other := range []string{stem, stem + "/", stem + "/x"} {
		if other != "" && !slices.Contains(paths, other) {
			paths = append(paths, other)
		}
	}
	return paths
}

// samplePaths are paths for a component's pattern.
func samplePaths(pattern string) []string {
	if stem, tail := strings.CutSuffix(pattern, "/**"); tail {
		return around(stem + "/")
	}
	patterns, err := parsePatterns(pattern)
	if err != nil {
		return around(pattern) // a path of the configuration, with such signs in it
	}
	var paths []string
	for _, p := range patterns {
		path := ""
		for _, s := range p.segments {
			if s.any {
				s.text = "x"
			}
			path += "/" + s.text
		}
		paths = append(paths, around(path)...)
	}
	return paths
}

// matching finds a few paths that an expression matches.
func matching(re *regexp.Regexp) []string {
	parsed, err := syntax.Parse(re.String(), syntax.Perl)
	if err != nil {
		return nil
	}
	var paths []string
	for _, path := range written(parsed) {
		_, fault := parseTarget(path)
		if fault == "" && !strings.Contains(path, "?") && re.MatchString(path) && !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	return paths
}

// mostWritten bounds the texts that written returns, and longestWritten the
// length of each.
const (
	mostWritten    = 12
	longestWritten = 2048
)

// written are texts that an expression may match: for each part of it, without
// and with what is optional, and the alternatives. Conditions on what stands
// around are not looked at.
func written(re *syntax.Regexp) []string {
	var texts []string
	switch re.Op {
	case syntax.OpNoMatch:
	case syntax.OpLiteral:
		texts = []string{string(re.Rune)}
	case syntax.OpCharClass:
		texts = writtenClass(re.Rune)
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		texts = []string{"x"}
	case syntax.OpCapture, syntax.OpPlus:
		texts = written(re.Sub[0])
	case syntax.OpStar, syntax.OpQuest:
		texts = append([]string{""}, written(re.Sub[0])...)
	case syntax.OpRepeat:
		for _, text := range written(re.Sub[0]) {
			texts = append(texts, strings.Repeat(text, min(re.Min, longestWritten/max(len(text), 1)+1)))
		}
	case syntax.OpConcat:
		texts = writtenInTurn(re.Sub)
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			texts = append(texts, written(sub)...)
		}
	default: // the empty text, and what stands at edges
		texts = []string{""}
	}
	texts = slices.DeleteFunc(texts, func(text string) bool { return len(text) > longestWritten })
	return texts[:min(len(texts), mostWritten)]
}

// writtenInTurn joins the parts' first texts, their second ones, and so on.
func writtenInTurn(parts []*syntax.Regexp) []string {
	var each [][]string
	most := 0
	for _, part := range parts {
		texts := written(part)
		if len(texts) == 0 {
			return nil
		}
		each, most = append(each, texts), max(most, len(texts))
	}
	var joined []string
	for i := range most {
		text := ""
		for _, texts := range each {
			text += texts[min(i, len(texts)-1)]
		}
		joined = append(joined, text)
	}
	return joined
}

// smallClass is how many members of a class are all written.
const smallClass = 4

// writtenClass takes the members of a small class, such as what (a|b) becomes,
// else one that paths may hold, a plain one if there is.
func writtenClass(ranges []rune) []string {
	var members []string
	for i := 0; i+1 < len(ranges); i += 2 {
		for c := ranges[i]; c <= ranges[i+1] && len(members) <= smallClass; c++ {
			members = append(members, string(c))
		}
	}
	if len(members) <= smallClass {
		return members
	}
	for _, c := range "xaX0-_.!$~%/" {
		if inClass(ranges, c) {
			return []string{string(c)}
		}
	}
	for c := rune('!'); c <= '~'; c++ {
		if pathBytes[c] != 0 && inClass(ranges, c) {
			return []string{string(c)}
		}
	}
	return nil
}

// inClass says whether a class, as package syntax has it, holds a rune.
func inClass(ranges []rune, c rune) bool {
	for i := 0; i+1 < len(ranges); i += 2 {
		if ranges[i] <= c && c <= ranges[i+1] {
			return true
		}
	}
	return false
}
