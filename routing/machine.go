package routing

import (
	"encoding/binary"
	"slices"
	"strings"
)

// machine finds the patterns a path fits in one pass over its segments. It is
// deterministic: a state stands for the set of places in patterns that the
// segments so far can have led to, so nothing is ever tried twice, and the cost
// does not depend on the number of patterns.
type machine struct{ states []state }

type state struct {
	few   []edge           // the texts that lead on, when they are few
	many  map[string]int32 // the same, when they are not
	other int32            // where any other segment leads, -1 nowhere
	// settled is true where every segment leads back here.
	settled bool
	// fits are the patterns a path that ends here fits, the most specific first.
	fits []int32
}

type edge struct {
	text string
	to   int32
}

// fewEdges is how many texts are compared one by one; beyond, hashing is faster.
const fewEdges = 8

func (s *state) next(text string) int32 {
	if s.many != nil {
		if to, ok := s.many[text]; ok {
			return to
		}
		return s.other
	}
	for i := range s.few {
		if s.few[i].text == text {
			return s.few[i].to
		}
	}
	return s.other
}

// find returns the patterns that path fits, by their index, the most specific
// first. The path begins with a slash.
func (m *machine) find(path string) []int32 {
	s := &m.states[0]
	for rest := path[1:]; !s.settled; {
		text, more := rest, false
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			text, rest, more = rest[:i], rest[i+1:], true
		}
		to := s.next(text)
		if to < 0 {
			return nil
		}
		s = &m.states[to]
		if !more {
			break
		}
	}
	return s.fits
}

// place is a position within a pattern: how many of its segments are behind.
type place struct{ pattern, done int32 }

// compiler builds a machine by subset construction.
type compiler struct {
	patterns []pattern
	states   []state
	known    map[string]int32 // state by its set of places
	todo     [][]place        // sets whose state has no edges yet, in order of states
}

// compile makes the machine of patterns. Those of equal specificity keep their
// order.
func compile(patterns []pattern) *machine {
	c := &compiler{patterns: patterns, known: make(map[string]int32)}
	start := make([]place, len(patterns))
	for i := range patterns {
		start[i] = place{pattern: int32(i)}
	}
	c.state(start)
	for at := 0; at < len(c.todo); at++ {
		c.connect(int32(at), c.todo[at])
		c.todo[at] = nil
	}
	return &machine{states: c.states}
}

// state returns the state of a sorted set of places, made on first use.
func (c *compiler) state(set []place) int32 {
	if len(set) == 0 {
		return -1
	}
	key := make([]byte, 0, 8*len(set))
	for _, p := range set {
		key = binary.BigEndian.AppendUint32(key, uint32(p.pattern))
		key = binary.BigEndian.AppendUint32(key, uint32(p.done))
	}
	if id, ok := c.known[string(key)]; ok {
		return id
	}
	id := int32(len(c.states))
	c.known[string(key)] = id
	c.states = append(c.states, state{fits: c.fits(set)})
	c.todo = append(c.todo, set)
	return id
}

// fits lists the patterns of which nothing is left, the most specific first.
func (c *compiler) fits(set []place) []int32 {
	var fits []int32
	for _, p := range set {
		if c.finished(p) {
			fits = append(fits, p.pattern)
		}
	}
	slices.SortStableFunc(fits, func(a, b int32) int {
		return compareSpecificity(c.patterns[a], c.patterns[b])
	})
	return fits
}

func (c *compiler) finished(p place) bool {
	return int(p.done) == len(c.patterns[p.pattern].segments)
}

// connect gives a state its edges: where each text leads, and any other.
func (c *compiler) connect(id int32, set []place) {
	var others []place
	byText := make(map[string][]place)
	for _, p := range set {
		pattern := &c.patterns[p.pattern]
		switch {
		case c.finished(p) && pattern.tail:
			others = append(others, p)
		case c.finished(p):
		case pattern.segments[p.done].any:
			others = append(others, place{p.pattern, p.done + 1})
		default:
			text := pattern.segments[p.done].text
			byText[text] = append(byText[text], place{p.pattern, p.done + 1})
		}
	}
	other := c.state(others)
	edges := make([]edge, 0, len(byText))
	for text, places := range byText {
		edges = append(edges, edge{text, c.state(merge(places, others))})
	}
	s := &c.states[id]
	s.other = other
	s.settled = other == id && len(edges) == 0
	if len(edges) <= fewEdges {
		s.few = edges
		return
	}
	s.many = make(map[string]int32, len(edges))
	for _, e := range edges {
		s.many[e.text] = e.to
	}
}

// merge joins two sorted sets of places.
func merge(a, b []place) []place {
	all := slices.Concat(a, b)
	slices.SortFunc(all, func(x, y place) int {
		if x.pattern != y.pattern {
			return int(x.pattern - y.pattern)
		}
		return int(x.done - y.done)
	})
	return all
}
