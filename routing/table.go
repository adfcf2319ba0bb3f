// Package routing decides who answers a request, without I/O.
//
// A Table knows the hosts of each entrypoint. A request meets, in this order:
// the form of its target; its host; what stays closed, in every spelling, be it
// to all or to other servers; the operator's routes; the components beside
// Synapse; the catalogue of Synapse's endpoints, which names a class of process
// and the key a request sticks to; and what answers the rest of the host. Among
// routes the most specific wins, whatever their order in a file.
//
// Matching reads the request and leaves it as it came: servers sign the URI
// they send (server-server API, "Request Authentication"), so every byte of it
// must arrive.
package routing

import (
	"net/http"
	"regexp"
	"strings"

	"vestibule/configs"
)

// Table is the routes of a configuration. It never changes, and may be used
// from many goroutines.
type Table struct {
	// Pools are all that a decision can name; Pool.Index counts them.
	Pools []*Pool

	hosts    [2]map[string]*vhost // by canonical name, for HTTPS and Federation
	internal map[string]*vhost    // by server_name
	fallback *Pool
}

// New compiles the routes of a checked configuration. Its errors are about what
// only shows here, such as two routes that take the same requests; they name
// both places.
func New(cfg *configs.Config) (*Table, error) { return NewFor(cfg, nil) }

// NewFor is New for sites whose Synapse is of a known release, by server_name. A
// row of the catalogue that came later goes to the main process there. Where the
// release is missing, all rows hold.
func NewFor(cfg *configs.Config, running map[string]Release) (*Table, error) {
	catalogue, err := synapse()
	if err != nil {
		return nil, err
	}
	return newTable(cfg, running, catalogue)
}

func newTable(cfg *configs.Config, running map[string]Release, synapse *catalogue) (*Table, error) {
	b := &builder{cfg: cfg, running: running, synapse: synapse, table: &Table{internal: make(map[string]*vhost)}}
	return b.build()
}

// vhost is what one host serves on one entrypoint.
type vhost struct {
	site *site
	paths
	// spelt finds the same routes also under what their paths read decoded, for
	// evades; nil where none is written with escapes.
	spelt   *paths
	rest    *route // answers what nothing else claims; nil for nobody
	synapse *catalogue
	areas   area  // of the catalogue that are served here; 0 for none
	admin   *gate // before /_synapse/admin
	hidden  bool  // /metrics and /health are not shown
	// gated are the first segments under which some route is not for everybody;
	// gatedAnywhere is true when it may be any.
	gated         []string
	gatedAnywhere bool
}

// paths are the routes of a host that are found by path.
type paths struct {
	guard    layer // MAS's admin API, which no operator's route opens
	operator layer
	builtin  layer
	regexps  []*route // in the order they are tried
}

// layer is routes found by path.
type layer struct {
	machine *machine
	routes  []*route // by the machine's indexes; a route may stand several times
}

// route is a rule on a host and what it comes to, other than a row of the
// catalogue.
type route struct {
	rule    Rule
	methods methods
	action  Action
	class   configs.Class
	pool    *Pool // for Proxy
	gate    *gate // nil is for everybody
	status  int   // for Refuse; for Redirect 0 lets the method choose
	errcode string
	// location is where a Redirect leads; addSlash means to its own path with a
	// slash.
	location string
	addSlash bool
	// regexp is what the whole path must match, for the operator's path_regexp.
	regexp *regexp.Regexp
	// within is a prefix that no spelling of the path may leave, so that the
	// upstream shows nothing beside it; "" for none.
	within string
}

// Rules for answers that no line of a file stands for.
var (
	ruleBadRequest  = &Rule{Name: "bad_request"}
	ruleUnknownHost = &Rule{Name: "unknown_host"}
	ruleClosed      = &Rule{Name: "closed", Pattern: "/_synapse/**"}
	ruleAdmin       = &Rule{Name: "admin_api", Pattern: "/_synapse/admin/**"}
	ruleHidden      = &Rule{Name: "hidden", Pattern: "/(health|metrics)"}
	ruleUnclaimed   = &Rule{Name: "unclaimed"}
)

// Match decides who answers r. It never fails, and allocates only for redirects
// that keep a query and for paths spelt so that they may evade a gate.
func (t *Table) Match(r *Request, d *Decision) { t.match(r, d, nil) }

func (t *Table) match(r *Request, d *Decision, tr *trace) {
	d.reset()
	target, fault := parseTarget(r.Target)
	if fault != "" {
		tr.lost(ruleBadRequest, configs.ClassDeny, fault)
		d.refuse(ruleBadRequest, configs.ClassDeny, http.StatusBadRequest, "M_UNKNOWN")
		return
	}
	v := t.vhost(r, d)
	if v == nil {
		t.unclaimed(d, ruleUnknownHost)
		return
	}
	d.Site = v.site.name
	if v.closed(r, &target, d, tr) || v.evades(r, &target, d, tr) {
		return
	}
	if found := v.findRoute(r.Method, target.path, tr); found != nil {
		found.decide(r, &target, d, tr)
		return
	}
	if v.areas != 0 {
		f := v.synapse.find(r.Method, &target, v.site.hasMAS(), tr)
		if f != nil && f.row.area&v.areas != 0 {
			v.site.decide(f, r, &target, d, tr)
			return
		}
		if f != nil && tr != nil {
			tr.lost(&f.row.rule, f.row.endpoint, "not on the entrypoint "+r.Entrypoint.String()+" of this host")
		}
	}
	if v.rest != nil {
		v.rest.decide(r, &target, d, tr)
		return
	}
	t.unclaimed(d, ruleUnclaimed)
}

// vhost finds the host of a request, nil when nobody claims it.
func (t *Table) vhost(r *Request, d *Decision) *vhost {
	if r.Entrypoint == Internal {
		return t.internal[r.Site]
	}
	if int(r.Entrypoint) >= len(t.hosts) || len(r.Host) > len(d.scratch) {
		return nil
	}
	return t.hosts[r.Entrypoint][string(appendHost(d.scratch[:0], r.Host))]
}

// unclaimed gives the request to the fallback, else refuses it.
func (t *Table) unclaimed(d *Decision, rule *Rule) {
	if t.fallback == nil {
		d.refuse(rule, configs.ClassNotFound, http.StatusNotFound, "M_UNRECOGNIZED")
		return
	}
	d.Action, d.Rule, d.Pool = Proxy, rule, t.fallback
	d.Endpoint, d.Class = configs.ClassFallback, configs.ClassFallback
}

// closed refuses what no route may open.
func (v *vhost) closed(r *Request, t *target, d *Decision, tr *trace) bool {
	z := t.zones()
	led := z.all()
	switch {
	case led == 0:
		return false
	case led&zoneClosed != 0:
		tr.lost(ruleClosed, configs.ClassDeny, "closed to all in some spelling of the path")
		d.refuse(ruleClosed, configs.ClassDeny, http.StatusForbidden, "M_FORBIDDEN")
		return true
	case led&zoneHidden != 0 && v.hidden:
		d.refuse(ruleHidden, configs.ClassNotFound, http.StatusNotFound, "M_UNRECOGNIZED")
		return true
	case led&zoneFederation != 0 && v.site.policy.refuses(r, t, d, tr):
		return true
	case led&zoneAdmin != 0 && !(z.raw == zoneAdmin && v.admin.admits(r.Client)):
		if tr != nil {
			tr.lost(ruleAdmin, configs.ClassDeny, v.admin.why(r.Client))
		}
		d.refuse(ruleAdmin, configs.ClassDeny, http.StatusForbidden, "M_FORBIDDEN")
		return true
	}
	return false
}

// evades refuses a path that, in another spelling, would stand before a closed
// gate.
func (v *vhost) evades(r *Request, t *target, d *Decision, tr *trace) bool {
	if !t.escaped && !t.tangled && v.spelt == nil || !v.mayBeGated(t) {
		return false
	}
	for s, more := spell(nil, t.path), true; more; more = s.next() {
		clean := resolved(s.spelling)
		if v.closes(string(s.spelling), r, t, d, tr) || v.closes(clean, r, t, d, tr) ||
			endsOpen(s.spelling) && v.closes(clean+"/", r, t, d, tr) {
			return true
		}
	}
	return false
}

// closes refuses t if path, a spelling of its own, leads to a closed gate.
func (v *vhost) closes(path string, r *Request, t *target, d *Decision, tr *trace) bool {
	routes := &v.paths
	if v.spelt != nil {
		routes = v.spelt
	} else if path == t.path {
		return false // the route that t leads to looks at its own gate
	}
	found := routes.findRoute(r.Method, path, nil)
	if found == nil || found.action != Refuse && found.gate.admits(r.Client) {
		return false
	}
	if tr != nil && path != t.path {
		tr.lost(&found.rule, found.class, "the path also reads "+path)
	}
	found.decide(r, t, d, tr)
	return true
}

// mayBeGated is a quick look whether some spelling begins as a gated route does.
func (v *vhost) mayBeGated(t *target) bool {
	if v.gatedAnywhere {
		return true
	}
	if len(v.gated) == 0 {
		return false
	}
	first, _ := cutSegment(t.path)
	for _, head := range v.gated {
		if decodesTo(first, head) {
			return true
		}
	}
	return t.tangled && v.someSpellingGated(t.path)
}

func (v *vhost) someSpellingGated(path string) bool {
	var buffer [1024]byte
	for s, more := spell(buffer[:], path), true; more; more = s.next() {
		w := walker{rest: s.spelling}
		for w.next() {
			if w.depth == 1 && v.isGated(w.segment) {
				return true
			}
		}
	}
	return false
}

func (v *vhost) isGated(head []byte) bool {
	for _, gated := range v.gated {
		if string(head) == gated {
			return true
		}
	}
	return false
}

// findRoute returns the route of a path: the guard's, then the operator's, then
// a component's.
func (p *paths) findRoute(method, path string, tr *trace) *route {
	found := p.guard.find(method, path, nil, tr)
	if found != nil && tr == nil {
		return found
	}
	found = p.operator.find(method, path, found, tr)
	for _, candidate := range p.regexps {
		if found != nil && tr == nil {
			return found
		}
		if candidate.regexp.MatchString(path) {
			found = candidate.choose(method, found, tr)
		}
	}
	if found != nil && tr == nil {
		return found
	}
	return p.builtin.find(method, path, found, tr)
}

// find returns the route of a path, or the one already found.
func (l *layer) find(method, path string, found *route, tr *trace) *route {
	if l.machine == nil {
		return found
	}
	for _, i := range l.machine.find(path) {
		if found = l.routes[i].choose(method, found, tr); found != nil && tr == nil {
			return found
		}
	}
	return found
}

// choose returns what was found before, else the candidate if it takes the
// method.
func (rt *route) choose(method string, found *route, tr *trace) *route {
	switch {
	case found != nil:
		tr.lost(&rt.rule, rt.class, "less specific")
		return found
	case rt.methods.have(method):
		return rt
	}
	if tr != nil {
		tr.lost(&rt.rule, rt.class, rt.methods.want(method))
	}
	return nil
}

// decide is the route's decision.
func (rt *route) decide(r *Request, t *target, d *Decision, tr *trace) {
	if !rt.gate.admits(r.Client) {
		if tr != nil {
			tr.lost(&rt.rule, rt.class, rt.gate.why(r.Client))
		}
		d.refuse(&rt.rule, configs.ClassDeny, http.StatusForbidden, "M_FORBIDDEN")
		d.Endpoint = rt.class
		return
	}
	if within := rt.left(t); within != "" {
		tr.lost(&rt.rule, rt.class, "some spelling of the path leads out of "+within)
		d.refuse(&rt.rule, configs.ClassDeny, http.StatusForbidden, "M_FORBIDDEN")
		d.Endpoint = rt.class
		return
	}
	d.Action, d.Rule, d.Pool = rt.action, &rt.rule, rt.pool
	d.Endpoint, d.Class = rt.class, rt.class
	d.Status, d.Errcode = rt.status, rt.errcode
	if rt.action != Redirect {
		return
	}
	if rt.status == 0 {
		d.Status = redirectStatus(r.Method)
	}
	d.Location = rt.redirect(t)
}

// left is the prefix that some spelling of the path leaves, "" for none: the one
// it came by, or the one that is put before it.
func (rt *route) left(t *target) string {
	if !t.tangled {
		return ""
	}
	if rt.within != "" && leaves(t.path, rt.within) {
		return rt.within
	}
	if add := rt.rule.Rewrite.Add; add != "" && leaves(add+strings.TrimPrefix(t.path, rt.rule.Rewrite.Strip), add) {
		return add
	}
	return ""
}

// redirectStatus is a temporary redirect that keeps the method: routes move, and
// browsers remember permanent ones.
func redirectStatus(method string) int {
	if method == "GET" || method == "HEAD" {
		return http.StatusFound
	}
	return http.StatusTemporaryRedirect
}

func (d *Decision) reset() {
	d.Action, d.Site, d.Rule = Refuse, "", nil
	d.Endpoint, d.Class = "", ""
	d.Pool, d.Spares, d.Main, d.Key = nil, nil, nil, Key{}
	d.Status, d.Errcode, d.Location = 0, "", ""
}

func (d *Decision) refuse(rule *Rule, class configs.Class, status int, errcode string) {
	d.Action, d.Rule, d.Pool = Refuse, rule, nil
	d.Endpoint, d.Class = class, class
	d.Status, d.Errcode = status, errcode
}
