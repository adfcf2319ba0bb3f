package configs

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Timeouts bound every wait. Values are durations such as "10s" or "3m".
type Timeouts struct {
	Head        Duration `yaml:"head"`         // a request's head, from its first byte; also a TLS handshake; 0 for no bound, as for idle and connect
	Idle        Duration `yaml:"idle"`         // a client's connection without a request
	Connect     Duration `yaml:"connect"`      // one dial to an upstream
	Stall       Duration `yaml:"stall"`        // a body, in either direction, of which no byte moves; however long it takes, it may
	Response    Duration `yaml:"response"`     // from the whole request to the response's head; a download of media adds what its client waits for
	SyncMargin  Duration `yaml:"sync_margin"`  // added to a /sync's own timeout parameter
	InitialSync Duration `yaml:"initial_sync"` // Response, for the class initial_sync
	Federation  Duration `yaml:"federation"`   // Response, for federation and for joins
	Grace       Duration `yaml:"grace"`        // requests under way at a stop, and WebSockets whose route a reload took away
}

// Limits bound sizes and counts.
type Limits struct {
	// Head bounds a request's head. Optional. Defaults to 64KiB.
	Head Size `yaml:"head"`
	// Connections bounds the connections that clients have open, on all entrypoints
	// but internal and admin together, whoever they are. When one more comes, those
	// without a request make room, the oldest first; while requests are under way on all,
	// it is refused. Half of the files that the process may open (ulimit -n) are the
	// most there can be, for a request mostly needs a second one. Optional. Defaults to
	// 20000.
	Connections int `yaml:"connections"`
	// Endpoints bounds the requests under way for each site, by endpoint: the word
	// that explain names, such as initial_sync, whatever class then serves it.
	// Further ones wait for their turn, then get 429 M_LIMIT_EXCEEDED. Optional.
	// Defaults to no bound.
	Endpoints map[Class]EndpointLimit `yaml:"endpoints"`
}

// EndpointLimit bounds the requests of one endpoint that are under way.
type EndpointLimit struct {
	// Concurrent is how many may be under way, such as 50. Required.
	Concurrent int `yaml:"concurrent"`
	// Queue is how long one more waits, such as 5s. Optional. Defaults to 0: not at
	// all.
	Queue Duration `yaml:"queue"`
}

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
