package routing

// What Synapse must not show is decided on several readings of a path: as it
// came; with its segments decoded once and nothing else, as Twisted does before
// it walks its resources (twisted.web.server.Request.process); and, for proxies
// and servers of all habits, decoded any number of times and then cleaned, where
// each place that the walk passes counts. The strictest reading wins.
//
// Synapse's own tree (app/homeserver.py, app/generic_worker.py) puts under
// /_synapse: client, which is for everybody; admin; and mas, metrics and
// replication, which are for its neighbours. Whatever else a version may add
// there stays closed too.

// zone is where a path leads, from open to closed to all.
type zone uint8

const (
	zoneOpen   zone = iota
	zoneAdmin       // /_synapse/admin
	zoneHidden      // exactly /metrics or /health
	zoneClosed      // the rest of /_synapse, but for client
)

// zones are what a path's readings come to.
type zones struct{ raw, decoded, cleaned zone }

// strictest is the zone that counts.
func (z zones) strictest() zone { return max(z.raw, z.decoded, z.cleaned) }

// shown is the zones of a host that has nothing to hide.
func (z zones) shown() zones {
	for _, at := range []*zone{&z.raw, &z.decoded, &z.cleaned} {
		if *at == zoneHidden {
			*at = zoneOpen
		}
	}
	return z
}

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

// cleanedZone is the strictest zone over all spellings of a path.
func cleanedZone(path string) zone {
	var buffer [1024]byte
	s := spell(buffer[:], path)
	strictest := walkZone(s.spelling)
	for s.next() {
		strictest = max(strictest, walkZone(s.spelling))
	}
	if s.endless {
		return zoneClosed
	}
	return strictest
}

// walkZone is the strictest zone on the way through a path.
func walkZone(path []byte) zone {
	strictest, synapse, hidden := zoneOpen, false, false
	w := walker{rest: path}
	for w.next() {
		switch {
		case w.depth == 1:
			synapse = string(w.segment) == "_synapse"
			hidden = string(w.segment) == "metrics" || string(w.segment) == "health"
		case w.depth > 2 || !synapse || string(w.segment) == "client":
		case string(w.segment) == "admin":
			strictest = max(strictest, zoneAdmin)
		default:
			return zoneClosed
		}
	}
	switch {
	case w.depth == 1 && synapse:
		return zoneClosed
	case w.depth == 1 && hidden:
		return max(strictest, zoneHidden)
	}
	return strictest
}

func equal(s, word string) bool { return s == word }

// zoneOf finds the zone of a path whose segments are compared by is.
func zoneOf(path string, is func(segment, word string) bool) zone {
	first, rest := cutSegment(path)
	if !is(first, "_synapse") {
		if (rest == "" || rest == "/") && (is(first, "metrics") || is(first, "health")) {
			return zoneHidden
		}
		return zoneOpen
	}
	if rest == "" {
		return zoneClosed
	}
	second, _ := cutSegment(rest)
	switch {
	case is(second, "client"):
		return zoneOpen
	case is(second, "admin"):
		return zoneAdmin
	}
	return zoneClosed
}
