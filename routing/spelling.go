package routing

import (
	"bytes"
	"strings"
)

// maxSpellings bounds how often a path is decoded. What can be decoded more
// often than this was made to deceive.
const maxSpellings = 8

// speller goes through what a path reads as after decoding it no time, once,
// twice and so on, until nothing is left to decode. (Both it and walker are
// stepped by hand: what a function value gets would move to the heap.)
type speller struct {
	spelling []byte
	rounds   int
	endless  bool // the end was not in sight
}

// spell begins with the path as it came, in buffer as far as that is large
// enough.
func spell(buffer []byte, path string) speller {
	return speller{spelling: append(buffer[:0], path...)}
}

// next goes on to the next spelling, over the last one's memory.
func (s *speller) next() bool {
	n := decodeInPlace(s.spelling)
	if n == len(s.spelling) {
		return false
	}
	s.spelling = s.spelling[:n]
	s.rounds++
	s.endless = s.rounds == maxSpellings
	return !s.endless
}

// decodeInPlace decodes every escape once and returns the new length.
func decodeInPlace(b []byte) int {
	n := 0
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c == '%' {
			if decoded, ok := unescape(b, i); ok {
				c = decoded
				i += 2
			}
		}
		b[n] = c
		n++
	}
	return n
}

// walker goes through the segments of a path as a server does that merges
// slashes and resolves dot segments.
type walker struct {
	rest    []byte
	segment []byte
	depth   int // of the segment, from 1; after the last, of the whole path
}

// next goes on to the next segment that is no dot segment.
func (w *walker) next() bool {
	for len(w.rest) > 0 {
		end := 1
		for end < len(w.rest) && w.rest[end] != '/' {
			end++
		}
		w.segment, w.rest = w.rest[1:end], w.rest[end:]
		switch string(w.segment) {
		case "", ".":
		case "..":
			w.depth = max(w.depth-1, 0)
		default:
			w.depth++
			return true
		}
	}
	return false
}

// resolved is the path that a walk comes to.
func resolved(path []byte) string {
	var segments []string
	w := walker{rest: path}
	for w.next() {
		segments = append(segments[:w.depth-1], string(w.segment))
	}
	return "/" + strings.Join(segments[:w.depth], "/")
}

// endsOpen reports whether a walk ends behind a slash, at a directory.
func endsOpen(path []byte) bool {
	switch string(path[bytes.LastIndexByte(path, '/')+1:]) {
	case "", ".", "..":
		return true
	}
	return false
}

// leaves reports whether a path that begins with a prefix leads out of it in
// some spelling. The prefix is spelt along, for it may hold escapes itself.
func leaves(path, prefix string) bool {
	p := spell(nil, prefix)
	for s, more := spell(nil, path), true; more; more = s.next() {
		clean, within := resolved(s.spelling), resolved(p.spelling)
		if clean != within && !strings.HasPrefix(clean, within+"/") {
			return true
		}
		p.next()
	}
	return false
}
