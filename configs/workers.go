package configs

import (
	"slices"
	"strings"
)

// Workers maps a class to its processes. A class that is absent is done by
// another, as the catalogue says, and in the end by the main process.
type Workers map[Class][]Upstream

const streamPrefix = "stream:"

// decodeFrom reads classes and, under streams, stream writers.
func (w *Workers) decodeFrom(at spot) {
	*w = Workers{}
	if at.node.kind != mappingNode {
		at.reject("expected a mapping, got "+at.node.kind.String(), "write classes and their processes: { sync: [http://host:port] }")
		return
	}
	for _, f := range at.node.fields {
		if f.key == "streams" {
			w.decodeStreams(at.key("streams"))
			continue
		}
		w.decodeClass(at, f, "")
	}
}

func (w *Workers) decodeStreams(at spot) {
	if at.node.kind != mappingNode {
		at.reject("expected a mapping, got "+at.node.kind.String(), "write streams and their processes: { typing: [http://host:port] }")
		return
	}
	for _, f := range at.node.fields {
		w.decodeClass(at, f, streamPrefix)
	}
}

func (w *Workers) decodeClass(at spot, f *field, prefix string) {
	key := at.key(f.key)
	class := Class(prefix + f.key)
	if !slices.Contains(WorkerClasses, class) || (prefix == "" && strings.HasPrefix(f.key, streamPrefix)) {
		key.place = f.place
		key.fail(unknownClass(f.key, prefix))
		return
	}
	if key.node.kind != listNode {
		key.reject("expected a list of upstreams, got "+key.node.kind.String(), listHint(key.node))
		return
	}
	upstreams := make([]Upstream, len(key.node.items))
	for i := range upstreams {
		item := key.index(i)
		if item.node.isNull() {
			item.reject("has no value", "remove it")
			continue
		}
		upstreams[i].setDefaults()
		upstreams[i].decodeFrom(item)
	}
	(*w)[class] = upstreams
}

// unknownClass says why a word is no key of workers or of streams.
func unknownClass(word, prefix string) (message, hint string) {
	stream := strings.TrimPrefix(word, streamPrefix)
	if prefix == "" && slices.Contains(WorkerClasses, Class(streamPrefix+stream)) {
		return quote(word) + " is a stream", "write it under streams: { " + stream + ": […] }"
	}
	if word == string(ClassMain) {
		return "the main process is no worker", "write it as synapse.main"
	}
	words := classWords(prefix)
	if meant := nearest(word, words); meant != "" {
		return "unknown class", "did you mean " + quote(meant) + "?"
	}
	return "unknown class", "known are " + strings.Join(words, ", ")
}

// classWords are the keys of workers or, with the prefix, of streams.
func classWords(prefix string) []string {
	var words []string
	for _, class := range WorkerClasses {
		word := string(class)
		if stream, ok := strings.CutPrefix(word, streamPrefix); ok != (prefix != "") {
			continue
		} else if ok {
			word = stream
		}
		words = append(words, word)
	}
	if prefix == "" {
		words = append(words, "streams")
	}
	return words
}

// singleProcess are the classes whose requests only one process can answer:
// these streams have exactly one writer (Synapse, config/workers.py,
// WriterLocations), and the sessions of a single sign-on live in the memory of
// the process that began them.
var singleProcess = []Class{
	ClassStreamTyping, ClassStreamToDevice, ClassStreamAccountData, ClassStreamPresence, ClassStreamPushRules, ClassSSOLogin,
}

// check reports mistakes in the order of WorkerClasses.
func (w Workers) check(at spot, layout bool) {
	for _, class := range WorkerClasses {
		upstreams, given := w[class]
		if !given {
			continue
		}
		key := at.key(string(class))
		if stream, ok := strings.CutPrefix(string(class), streamPrefix); ok {
			key = at.key("streams").key(stream)
		}
		if len(upstreams) == 0 && !layout {
			key.fail("names no process", "remove the key: the class is then done by another")
		}
		if len(upstreams) > 1 && slices.Contains(singleProcess, class) {
			key.fail("takes exactly one process", "keep the one that Synapse's configuration names for it")
		}
		checkUpstreams(key, upstreams)
	}
}

// checkUpstreams checks the upstreams of one pool. One that is listed twice
// would get twice its share of the load without a word saying so.
func checkUpstreams(at spot, upstreams []Upstream) {
	first := map[string]Place{}
	for i := range upstreams {
		u := &upstreams[i]
		u.check(at.index(i))
		if u.URL == "" {
			continue
		}
		if place, twice := first[u.URL]; twice {
			at.index(i).fail(quote(u.URL)+" is already listed at "+place.String(), "list it once, with a weight")
			continue
		}
		first[u.URL] = u.Place
	}
}
