package routing

// What Synapse must not show is decided on three readings of a path: as it came,
// with its segments decoded once as Twisted does before it walks its resources
// (twisted.web.server.Request.process), and decoded until stable and cleaned as
// some proxies do. The strictest reading counts.
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

// zones are a path's three readings.
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

// zones reads the path in the three ways.
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
	return zones{raw, decoded, cleanZone(t.path)}
}

func cleanZone(path string) zone {
	var buffer [1024]byte
	clean := appendClean(buffer[:0], path)
	first, rest := cutClean(clean)
	switch {
	case string(first) == "metrics" && len(rest) == 0, string(first) == "health" && len(rest) == 0:
		return zoneHidden
	case string(first) != "_synapse":
		return zoneOpen
	case len(rest) == 0:
		return zoneClosed
	}
	second, _ := cutClean(rest)
	switch string(second) {
	case "client":
		return zoneOpen
	case "admin":
		return zoneAdmin
	}
	return zoneClosed
}

// cutClean returns the first segment of a cleaned path and what follows.
func cutClean(path []byte) (segment, rest []byte) {
	for i := 1; i < len(path); i++ {
		if path[i] == '/' {
			return path[1:i], path[i:]
		}
	}
	return path[1:], nil
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
