package configs

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// check reports what is wrong with the bounds of endpoints.
func (l *Limits) check(at spot, sites []*Site) {
	if head := at.key("head"); head.written() && (l.Head < 4<<10 || l.Head > 16<<20) {
		head.fail(quote(l.Head.String())+" is out of range", "write a size from 4KiB to 16MiB")
	}
	at.key("connections").inRange(l.Connections, 16, 1000000)
	for _, endpoint := range slices.Sorted(maps.Keys(l.Endpoints)) {
		key := at.key("endpoints").key(string(endpoint))
		key.failIf(limitedMistake(endpoint, sites))
		if !key.require("concurrent") {
			key.key("concurrent").inRange(l.Endpoints[endpoint].Concurrent, 1, 1000000)
		}
		key.key("queue").atMost(l.Endpoints[endpoint].Queue, time.Minute)
	}
}

// limitedMistake says why a word is no endpoint.
func limitedMistake(word Class, sites []*Site) (message, hint string) {
	known := []string{string(ClassMain)}
	for _, class := range WorkerClasses {
		if class != ClassGeneric && class != ClassRoom {
			known = append(known, string(class))
		}
	}
	for _, class := range []Class{ClassMAS, ClassElement, ClassKetesa, ClassElementCall, ClassNtfy, ClassBridge, ClassFallback} {
		known = append(known, string(class))
	}
	for _, site := range sites {
		for i := range site.Routes {
			known = append(known, "route:"+site.Routes[i].Name)
		}
	}
	switch meant := nearest(string(word), known); {
	case slices.Contains(known, string(word)):
		return "", ""
	case word == ClassGeneric || word == ClassRoom: // whoever does the work, it is asked for by another name
		return quote(string(word)) + " serves endpoints and is none", "write the endpoint that vestibule explain names, such as client_reader"
	case meant != "":
		return quote(string(word)) + " is no endpoint", "did you mean " + quote(meant) + "?"
	default:
		return quote(string(word)) + " is no endpoint", "known are " + strings.Join(known, ", ")
	}
}
