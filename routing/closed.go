package routing

// What Synapse must not show is decided on several readings of a path: as it
// came; with its segments decoded once and nothing else, as Twisted does before
// it walks its resources (twisted.web.server.Request.process); and, for proxies
// and servers of all habits, decoded any number of times and then cleaned, where
// each place that the walk passes counts. What one reading comes to, the path
// comes to.
//
// Synapse's own tree (app/homeserver.py, app/generic_worker.py) puts under
// /_synapse: client, which is for everybody; admin; and mas, metrics and
// replication, which are for its neighbours. Whatever else a version may add
// there stays closed too.

// zone is where a path leads: a set, for its readings may differ. The zero zone
// is open.
type zone uint8

const (
	zoneAdmin      zone = 1 << iota // /_synapse/admin
	zoneFederation                  // /_matrix/federation and /_matrix/key
	zoneHidden                      // exactly /metrics or /health
	zoneClosed                      // the rest of /_synapse, but for client
)

// zones are what a path's readings come to.
type zones struct{ raw, decoded, cleaned zone }

// all is where the path leads in any reading.
func (z zones) all() zone { return z.raw | z.decoded | z.cleaned }

// zones reads the path.
func (t *target) zones() zones {
	raw := zoneOf(t.path, equal)
	if !t.escaped && !t.tangled {
		return zones{raw, raw, raw}
	}
	// Twisted's root takes an empty segment for itself, so "//_synapse/mas"
	// is "/_synapse/mas" (synapse/http/server.py, RootRedirect.getChild).
	path := t.path
	for len(path) > 1 && path[1] == '/' {
		path = path[1:]
	}
	decoded := zoneOf(path, decodesTo)
	if !t.tangled {
		return zones{raw, decoded, decoded}
	}
	return zones{raw, decoded, cleanedZone(t.path)}
}

// cleanedZone is where all spellings of a path lead.
func cleanedZone(path string) zone {
	var buffer [1024]byte
	s := spell(buffer[:], path)
	passed := walkZone(s.spelling)
	for s.next() {
		passed |= walkZone(s.spelling)
	}
	if s.endless {
		return zoneClosed
	}
	return passed
}

// walkZone is all that the way through a path passes.
func walkZone(path []byte) zone {
	var passed zone
	synapse, matrix, hidden := false, false, false
	w := walker{rest: path}
	for w.next() {
		switch {
		case w.depth == 1:
			synapse, matrix = string(w.segment) == "_synapse", string(w.segment) == "_matrix"
			hidden = string(w.segment) == "metrics" || string(w.segment) == "health"
		case w.depth > 2:
		case matrix && (string(w.segment) == "federation" || string(w.segment) == "key"):
			passed |= zoneFederation
		case !synapse || string(w.segment) == "client":
		case string(w.segment) == "admin":
			passed |= zoneAdmin
		default:
			passed |= zoneClosed
		}
	}
	switch {
	case w.depth == 1 && synapse:
		passed |= zoneClosed
	case w.depth == 1 && hidden:
		passed |= zoneHidden
	}
	return passed
}

func equal(s, word string) bool { return s == word }

// zoneOf finds the zone of a path whose segments are compared by is.
func zoneOf(path string, is func(segment, word string) bool) zone {
	first, rest := cutSegment(path)
	if rest == "" || rest == "/" {
		if is(first, "metrics") || is(first, "health") {
			return zoneHidden
		}
	}
	if !is(first, "_synapse") {
		return federationZone(first, rest, is)
	}
	if rest == "" {
		return zoneClosed
	}
	second, _ := cutSegment(rest)
	switch {
	case is(second, "client"):
		return 0
	case is(second, "admin"):
		return zoneAdmin
	}
	return zoneClosed
}

// federationZone finds out whether a path, cut after its first segment, is other
// servers' alone. Most requests are for /_matrix/client, so it looks at a byte
// first.
func federationZone(first, rest string, is func(segment, word string) bool) zone {
	if len(rest) < 2 || rest[1] != 'f' && rest[1] != 'k' && rest[1] != '%' || !is(first, "_matrix") {
		return 0
	}
	second, _ := cutSegment(rest)
	if is(second, "federation") || is(second, "key") {
		return zoneFederation
	}
	return 0
}
