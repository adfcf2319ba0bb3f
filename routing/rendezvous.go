package routing

import (
	"encoding/binary"
	"math/bits"
)

// Rendezvous chooses one of several upstreams by a key: the same key gives the
// same upstream on every host, whatever the order of the list, and when one
// goes away only its own keys move (Thaler and Ravishankar, "A Name-Based
// Mapping Scheme for Rendezvous", 1996). An upstream is its URL. It keeps no
// state and counts in integers alone, so that all machines agree to the bit.
type Rendezvous struct {
	seeds    []uint64
	weights  []uint64
	weighted bool // the weights differ
}

// maxWeight keeps the products of compare within 64 bits.
const maxWeight = 1 << 20

// NewRendezvous prepares the choice among urls. Weights below 1, and those that
// are missing, count as 1.
func NewRendezvous(urls []string, weights []int) *Rendezvous {
	r := &Rendezvous{seeds: make([]uint64, len(urls)), weights: make([]uint64, len(urls))}
	for i, url := range urls {
		r.seeds[i] = hash([]byte(url))
		weight := 1
		if i < len(weights) {
			weight = min(max(weights[i], 1), maxWeight)
		}
		r.weights[i] = uint64(weight)
		r.weighted = r.weighted || r.weights[i] != r.weights[0]
	}
	return r
}

// Rank returns the index of the upstream that key prefers among those not
// skipped, or -1 if all are. A nil skip skips none.
func (r *Rendezvous) Rank(key []byte, skip func(i int) bool) int {
	h := hash(key)
	best, score := -1, uint64(0)
	for i, seed := range r.seeds {
		if skip != nil && skip(i) {
			continue
		}
		s := mix(h ^ seed)
		if r.weighted {
			s = negLog2(s)
		}
		if best < 0 || r.better(i, s, best, score) {
			best, score = i, s
		}
	}
	return best
}

// better compares two scores; equal ones go by the seed, so that the order of
// the list never matters.
func (r *Rendezvous) better(i int, score uint64, than int, least uint64) bool {
	if r.weighted {
		// The highest weight / -log2(u) wins; both sides multiplied out.
		left, right := r.weights[i]*least, r.weights[than]*score
		if left != right {
			return left > right
		}
		return r.seeds[i] > r.seeds[than]
	}
	if score != least {
		return score > least
	}
	return r.seeds[i] > r.seeds[than]
}

// negLog2 is -log2(h / 2^64) in units of 2^-32, at least 1, found bit by bit by
// squaring.
func negLog2(h uint64) uint64 {
	h |= 1
	zeros := bits.LeadingZeros64(h)
	x := h << zeros
	var fraction uint64
	for range 32 {
		high, low := bits.Mul64(x, x)
		fraction <<= 1
		if high>>63 == 1 {
			fraction |= 1
			x = high
		} else {
			x = high<<1 | low>>63
		}
	}
	return uint64(zeros+1)<<32 - fraction
}

// hash reads eight bytes at a time. Its constants must never change: every host
// of an installation has to choose alike, during an upgrade too.
func hash(b []byte) uint64 {
	h := uint64(len(b)) * 0x9e3779b97f4a7c15
	for ; len(b) >= 8; b = b[8:] {
		h = mix(h ^ binary.LittleEndian.Uint64(b))
	}
	var rest [8]byte
	copy(rest[:], b)
	return mix(h ^ binary.LittleEndian.Uint64(rest[:]))
}

// mix is the finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
func mix(h uint64) uint64 {
	h += 0x9e3779b97f4a7c15
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}
