package routing

import (
	"cmp"
	"fmt"
	"strings"
)

// pattern is what a path is compared with, segment by segment and raw.
type pattern struct {
	segments []segment
	// tail lets any number of further segments follow, none included.
	tail bool
}

// segment is a text to be equal to, or any one segment.
type segment struct {
	text string
	any  bool
	name string // of an any: "room" in {room}
}

// exactly is the pattern that only path fits.
func exactly(path string) pattern {
	var p pattern
	for text := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		p.segments = append(p.segments, segment{text: text})
	}
	return p
}

// under is the pattern that path and everything below it fits, by whole
// segments: "/element" and "/element/x", but not "/elementary".
func under(path string) pattern {
	path = strings.TrimRight(path, "/")
	if path == "" {
		return pattern{tail: true}
	}
	p := exactly(path)
	p.tail = true
	return p
}

// spellings are the pattern as it is and, if there are escapes in it, with all of
// them decoded.
func (p pattern) spellings() []pattern {
	decoded, escaped := pattern{tail: p.tail}, false
	for _, s := range p.segments {
		text := spell(nil, s.text)
		for text.next() {
			escaped = true
		}
		for part := range strings.SplitSeq(string(text.spelling), "/") {
			if part != "" || s.text == "" { // else beside a slash that was decoded
				decoded.segments = append(decoded.segments, segment{text: part, any: s.any, name: s.name})
			}
		}
	}
	if !escaped {
		return []pattern{p}
	}
	return []pattern{p, decoded}
}

// index is the position of the any called name, -1 without one.
func (p pattern) index(name string) int {
	for i, s := range p.segments {
		if s.any && s.name == name {
			return i
		}
	}
	return -1
}

// parsePatterns reads the catalogue's notation: alternatives, {}, /** and /?.
func parsePatterns(text string) ([]pattern, error) {
	if !strings.HasPrefix(text, "/") {
		return nil, fmt.Errorf("pattern %q does not begin with a slash", text)
	}
	texts, err := alternatives(text)
	if err != nil {
		return nil, err
	}
	var patterns []pattern
	for _, text := range texts {
		stem, optional := strings.CutSuffix(text, "/?")
		p, err := parsePattern(stem)
		if err != nil {
			return nil, err
		}
		patterns = append(patterns, p)
		if optional {
			p.segments = append(p.segments[:len(p.segments):len(p.segments)], segment{})
			patterns = append(patterns, p)
		}
	}
	return patterns, nil
}

// alternatives writes "/(a|b)/c" out as "/a/c" and "/b/c".
func alternatives(text string) ([]string, error) {
	before, rest, found := strings.Cut(text, "(")
	if !found {
		return []string{text}, nil
	}
	group, after, found := strings.Cut(rest, ")")
	if !found {
		return nil, fmt.Errorf("pattern %q opens a bracket and does not close it", text)
	}
	tails, err := alternatives(after)
	if err != nil {
		return nil, err
	}
	var texts []string
	for choice := range strings.SplitSeq(group, "|") {
		for _, tail := range tails {
			texts = append(texts, before+choice+tail)
		}
	}
	return texts, nil
}

func parsePattern(text string) (pattern, error) {
	text, tail := strings.CutSuffix(text, "/**")
	p := pattern{tail: tail}
	for part := range strings.SplitSeq(strings.TrimPrefix(text, "/"), "/") {
		s, err := parseSegment(part)
		if err != nil {
			return pattern{}, fmt.Errorf("pattern %q: %w", text, err)
		}
		p.segments = append(p.segments, s)
	}
	if tail {
		p.segments = append(p.segments, segment{any: true})
	}
	return p, nil
}

func parseSegment(part string) (segment, error) {
	if strings.HasPrefix(part, "{") && strings.HasSuffix(part, "}") {
		return segment{any: true, name: part[1 : len(part)-1]}, nil
	}
	if strings.ContainsAny(part, "{}()|*?") {
		return segment{}, fmt.Errorf("segment %q mixes text and signs", part)
	}
	return segment{text: part}, nil
}

// compareSpecificity puts the more specific pattern first: without a tail
// before with one, longer before shorter, text before any.
func compareSpecificity(a, b pattern) int {
	if a.tail != b.tail {
		if b.tail {
			return -1
		}
		return 1
	}
	if c := cmp.Compare(len(b.segments), len(a.segments)); c != 0 {
		return c
	}
	for i := range a.segments {
		if a.segments[i].any != b.segments[i].any {
			if b.segments[i].any {
				return -1
			}
			return 1
		}
	}
	return 0
}
