//go:build integration

package integration

import "testing"

// TestDifference makes sure that the comparison can fail.
func TestDifference(t *testing.T) {
	request := sent{ID: "go1.1", Method: "PUT", URL: baseURL + "/_matrix/client/v3/rooms/%21a/typing/b?c=%2F"}
	said := explanation{
		Class: "stream:typing", Pool: serverName + "/stream:typing", Action: "proxy",
		Upstream: "http://matrix-synapse-worker-stream-writer-1-typing:20012",
	}
	seen := logged{
		Process: "matrix-synapse-worker-stream-writer-1-typing:20012",
		Method:  "PUT", Target: "/_matrix/client/v3/rooms/%21a/typing/b?c=%2F",
	}
	if problem := difference(request, said, []logged{seen}); problem != "" {
		t.Fatalf("nothing is wrong, but: %s", problem)
	}
	bad := func(what string, said explanation, seen ...logged) {
		t.Helper()
		if difference(request, said, seen) == "" {
			t.Errorf("%s goes unnoticed", what)
		}
	}
	generic, decoded, method := seen, seen, seen
	generic.Process = "matrix-synapse-worker-generic-0:18111"
	decoded.Target = "/_matrix/client/v3/rooms/!a/typing/b?c=%2F"
	method.Method = "POST"
	bad("a request nobody logged", said)
	bad("a request answered twice", said, seen, seen)
	bad("another process", said, generic)
	bad("a decoded target", said, decoded)
	bad("another method", said, method)

	refused, elsewhere, pool := said, said, said
	refused.Action = "refuse"
	elsewhere.Upstream = "http://matrix-synapse-worker-stream-writer-1-typing:20013"
	pool.Pool = serverName + "/generic"
	bad("a request that should have been refused", refused, seen)
	bad("another upstream", elsewhere, seen)
	bad("another pool", pool, seen)
}
