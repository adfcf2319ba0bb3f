//go:build integration

package integration

import (
	"maps"
	"testing"
)

// TestPermits: a preflight without one of the fields is no permission.
func TestPermits(t *testing.T) {
	good := sighting{Kind: "preflight", Status: 204, Headers: map[string]string{
		"access-control-allow-origin":  "*",
		"access-control-allow-methods": "GET, PUT",
		"access-control-allow-headers": "Content-Type, Authorization",
	}}
	if !good.permits() {
		t.Error("a permission is not taken for one")
	}
	for _, status := range []int{301, 403, 503} {
		bad := good
		if bad.Status = status; bad.permits() {
			t.Errorf("a preflight answered %d is taken for a permission", status)
		}
	}
	for name := range good.Headers {
		bad := good
		bad.Headers = maps.Clone(good.Headers)
		if delete(bad.Headers, name); bad.permits() {
			t.Errorf("a preflight without %s is taken for a permission", name)
		}
	}
}

func TestUnlike(t *testing.T) {
	request := sent{ID: "browser", Method: "GET", URL: baseURL + "/_matrix/client/v3/sync?since=1", Status: 200}
	generic := explanation{Action: "proxy", Class: "generic", Pool: serverName + "/generic"}
	right := logged{Process: "matrix-synapse-worker-generic-0:18111", Method: "GET", Target: "/_matrix/client/v3/sync?since=1"}
	wrong := right
	wrong.Process = "matrix-synapse:8008"
	for name, c := range map[string]struct {
		e       explanation
		answers []logged
		fine    bool
	}{
		"the process explained":        {generic, []logged{right}, true},
		"nobody":                       {generic, nil, false},
		"another process":              {generic, []logged{wrong}, false},
		"another process as well":      {generic, []logged{right, wrong}, false},
		"the page":                     {explanation{Action: "proxy", Class: "element"}, nil, true},
		"Synapse in place of the page": {explanation{Action: "proxy", Class: "element"}, []logged{right}, false},
		"ourselves":                    {explanation{Action: "local"}, nil, true},
		"Synapse in place of us":       {explanation{Action: "local"}, []logged{right}, false},
		"another status than ours":     {explanation{Action: "refuse", Status: 403}, nil, false},
	} {
		if problem := unlike(request, c.e, c.answers); (problem == "") != c.fine {
			t.Errorf("%s: %q", name, problem)
		}
	}
}
