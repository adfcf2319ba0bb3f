package routing

import (
	"net/http"

	"vestibule/configs"
)

// userinfoPath is where services ask who a user is, by a token of the user's and
// without a signature (server-server API, "OpenID").
const userinfoPath = "/_matrix/federation/v1/openid/userinfo"

// policy is with which servers a site federates. It stands before all its hosts
// and entrypoints, and before every route. A nil policy refuses nothing.
type policy struct {
	rule   Rule
	nobody bool
	listed *serverList // nil for no list
	openID bool        // userinfo is answered
}

// newPolicy compiles what a site says under federation.
func newPolicy(config *configs.Site) *policy {
	with := config.Federation.With
	p := &policy{nobody: with.Nobody(), openID: config.OpenIDIsOpen()}
	if len(with.Servers) > 0 {
		p.listed = newServerList(with.Servers)
	}
	if !p.nobody && p.listed == nil && p.openID {
		return nil
	}
	p.rule = Rule{Name: "federation", Place: config.Federation.Place, Pattern: "/_matrix/(federation|key)/**"}
	return p
}

// refuses decides about a path that some reading takes for other servers'.
func (p *policy) refuses(r *Request, t *target, d *Decision, tr *trace) bool {
	if p == nil {
		return false
	}
	o := p.objection(r, t, d.scratch[:0])
	if o.why == "" {
		return false
	}
	if tr != nil {
		tr.lost(&p.rule, configs.ClassDeny, string(o.server)+o.why)
	}
	d.refuse(&p.rule, configs.ClassDeny, http.StatusForbidden, "M_FORBIDDEN")
	return true
}

// objection is why a request is refused; why is "" when it is not.
type objection struct {
	server []byte // the one that is not welcome, if that is why
	why    string
}

// objection looks for one; buffer is memory for a server name.
func (p *policy) objection(r *Request, t *target, buffer []byte) objection {
	switch {
	case p.nobody && p.openID && t.path == userinfoPath && reads(r.Method):
		return objection{}
	case p.nobody:
		return objection{why: "federation with nobody"}
	case !p.openID && t.readsAs(userinfoPath):
		return objection{why: "federation.openid is closed"}
	case p.listed == nil:
		return objection{}
	}
	for _, field := range r.Authorization {
		if o := p.listed.objection(field, buffer); o.why != "" {
			return o
		}
	}
	return objection{}
}

// reads tells the methods that userinfo is asked with, a browser's OPTIONS among
// them.
func reads(method string) bool { return method == "GET" || method == "HEAD" || method == "OPTIONS" }
