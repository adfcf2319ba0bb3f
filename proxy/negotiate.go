package proxy

import "strings"

// coding is a content coding (RFC 9110, section 8.4.1); uncoded is the body as
// it is, "identity" in Accept-Encoding.
type coding uint8

// The order is ours among those that a client likes as much: zstd is by far the
// cheapest to make, and the first two are smaller than gzip.
const (
	uncoded coding = iota
	zstdCoding
	brotliCoding
	gzipCoding
	codings int = iota
)

var codingNames = [codings]string{"identity", "zstd", "br", "gzip"}

// String is the name in Content-Encoding.
func (c coding) String() string { return codingNames[c] }

// codingOf is the coding of a name in Accept-Encoding, if it is one of ours.
// x-gzip is another word for gzip (RFC 9110, section 8.4.1.3).
func codingOf(name string) (c coding, ours bool) {
	for c, known := range codingNames {
		if strings.EqualFold(name, known) {
			return coding(c), true
		}
	}
	return gzipCoding, strings.EqualFold(name, "x-gzip")
}

// maxAcceptable bounds the items of Accept-Encoding. Browsers send four.
const maxAcceptable = 32

// weights are what a client says of codings, in thousandths; -1 for those that it
// does not name.
type weights struct {
	of       [codings]int // of uncoded: of "identity"
	rest     int          // "*"
	items    int
	mistaken bool
}

// acceptedCoding is the coding that a client likes best (RFC 9110, section
// 12.5.3), of several the one that comes first with us. It is uncoded for a
// client that likes the body as it is better than any of them, and for one whose
// field breaks the grammar: it may mean anything.
func acceptedCoding(h Header) coding {
	var w weights
	for _, f := range h {
		if sameToken(f.Name, "Accept-Encoding") {
			if w.items == 0 {
				w.of, w.rest = [codings]int{-1, -1, -1, -1}, -1
			}
			w.read(f.Value)
		}
	}
	if w.items == 0 || w.mistaken {
		return uncoded
	}
	return w.best()
}

// read adds one field.
func (w *weights) read(list string) {
	for list != "" && !w.mistaken {
		var item string
		item, list, _ = strings.Cut(list, ",")
		w.items++
		if item = trimBlanks(item); item == "" && w.items <= maxAcceptable {
			continue // RFC 9110, section 5.6.1.2: a reasonable number of empty elements
		}
		name, parameter, weighted := strings.Cut(item, ";")
		name = trimBlanks(name)
		weight, ok := 1000, true
		if weighted {
			weight, ok = parseWeight(trimBlanks(parameter))
		}
		if !ok || !isToken(name) || w.items > maxAcceptable {
			w.mistaken = true
			return
		}
		w.set(name, weight)
	}
}

func (w *weights) set(name string, weight int) {
	if name == "*" {
		w.rest = max(w.rest, weight)
	} else if c, ours := codingOf(name); ours {
		w.of[c] = max(w.of[c], weight)
	}
}

// best chooses. "*" is taken for gzip, which everybody can read who lists
// nothing.
func (w *weights) best() coding {
	if w.of[gzipCoding] < 0 {
		w.of[gzipCoding] = w.rest
	}
	best, weight := uncoded, 0
	for c := zstdCoding; int(c) < codings; c++ {
		if w.of[c] > weight {
			best, weight = c, w.of[c]
		}
	}
	if w.of[uncoded] > weight {
		return uncoded
	}
	return best
}

// parseWeight reads "q=0.5", at most three digits after the point, as thousandths
// (RFC 9110, section 12.4.2).
func parseWeight(s string) (thousandths int, ok bool) {
	if len(s) < 3 || len(s) > len("q=0.000") || s[0] != 'q' && s[0] != 'Q' || s[1] != '=' || s[2] != '0' && s[2] != '1' {
		return 0, false
	}
	thousandths = int(s[2]-'0') * 1000
	if s = s[3:]; s == "" {
		return thousandths, true
	}
	for i, place := 1, 100; i < len(s); i, place = i+1, place/10 {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		thousandths += int(s[i]-'0') * place
	}
	return thousandths, s[0] == '.' && thousandths <= 1000
}
