package ovhtest

import "strings"

// Rule grants calls to a consumer key or, in place of IAM policies, to the
// tokens of an OAuth2 client.
type Rule struct {
	Method string `json:"method"` // or "*"
	// Path is a path without "/1.0", such as "/domain/zone/example.org/record".
	// A "*" at its end stands for anything, slashes included; the path before it
	// is not meant: "/domain/zone/*" does not grant "/domain/zone".
	Path string `json:"path"`
}

// Everything grants every call.
var Everything = Rule{Method: "*", Path: "/*"}

// LeastRules are what it takes to create, publish and delete a zone's records.
func LeastRules(zone string) []Rule {
	path := "/domain/zone/" + zone
	return []Rule{
		{Method: "POST", Path: path + "/record"},
		{Method: "DELETE", Path: path + "/record/*"},
		{Method: "POST", Path: path + "/refresh"},
	}
}

func (r Rule) grants(method, path string) bool {
	if r.Method != "*" && r.Method != method {
		return false
	}
	if before, cut := strings.CutSuffix(r.Path, "*"); cut {
		return strings.HasPrefix(path, before)
	}
	return r.Path == path
}

// granted tells whether a call is allowed. Those under /auth need no rule, as
// OVHcloud's developers say in github.com/acmesh-official/acme.sh/pull/858.
func granted(rules []Rule, method, path string) bool {
	if strings.HasPrefix(path, "/auth/") {
		return true
	}
	for _, r := range rules {
		if r.grants(method, path) {
			return true
		}
	}
	return false
}

// action is the IAM action a call needs, as https://eu.api.ovh.com/console/
// names it.
func action(method, path string) string {
	rest := strings.Split(strings.TrimPrefix(path, "/domain/zone"), "/")
	verb := map[string]string{"GET": "get", "POST": "create", "PUT": "edit", "DELETE": "delete"}[method]
	switch {
	case len(rest) <= 2:
		return "dnsZone:apiovh:" + verb
	case rest[2] == "refresh":
		return "dnsZone:apiovh:refresh"
	default:
		return "dnsZone:apiovh:" + rest[2] + "/" + verb
	}
}
