package routing

import (
	"fmt"
	"math"
	"testing"
)

func urlsOf(n int) []string {
	var urls []string
	for i := range n {
		urls = append(urls, fmt.Sprintf("http://matrix-synapse-worker-generic-%d:%d", i, 18111+i))
	}
	return urls
}

func keyOf(i int) []byte { return fmt.Appendf(nil, "!room%d:example.org", i) }

const manyKeys = 40000

// Removing one of n moves the keys it had, about 1/n, and no other.
func TestRendezvousMovesOnlyWhatWasThere(t *testing.T) {
	for _, weights := range [][]int{nil, {1, 2, 3, 4, 5, 6, 7}} {
		all := NewRendezvous(urlsOf(7), weights)
		gone := 3
		moved := 0
		for i := range manyKeys {
			before := all.Rank(keyOf(i), nil)
			after := all.Rank(keyOf(i), func(i int) bool { return i == gone })
			if before == gone {
				moved++
			}
			if before != gone && after != before || after == gone {
				t.Fatalf("weights %v: key %d moved from %d to %d", weights, i, before, after)
			}
		}
		share := 1.0 / 7
		if weights != nil {
			share = 4.0 / 28
		}
		if got := float64(moved) / manyKeys; math.Abs(got-share) > 0.01 {
			t.Errorf("weights %v: %.3f of the keys moved, want %.3f", weights, got, share)
		}
	}
}

func TestRendezvousHoldsWeights(t *testing.T) {
	weights := []int{1, 2, 5, 12}
	r := NewRendezvous(urlsOf(4), weights)
	counts := make([]int, 4)
	for i := range manyKeys {
		counts[r.Rank(keyOf(i), nil)]++
	}
	for i, weight := range weights {
		want := float64(weight) / 20
		if got := float64(counts[i]) / manyKeys; math.Abs(got-want) > 0.03*want+0.005 {
			t.Errorf("upstream %d has %.3f of the keys, want %.3f", i, got, want)
		}
	}
}

// Every host lists the same URLs, but not always in the same order.
func TestRendezvousIgnoresOrder(t *testing.T) {
	urls := urlsOf(5)
	for _, weights := range [][]int{{1, 1, 1, 1, 1}, {1, 2, 3, 4, 5}} {
		forward := NewRendezvous(urls, weights)
		var turned []string
		var turnedWeights []int
		for i := range urls {
			turned = append(turned, urls[len(urls)-1-i])
			turnedWeights = append(turnedWeights, weights[len(urls)-1-i])
		}
		backward := NewRendezvous(turned, turnedWeights)
		for i := range 1000 {
			if a, b := forward.Rank(keyOf(i), nil), backward.Rank(keyOf(i), nil); urls[a] != turned[b] {
				t.Fatalf("key %d: %s and %s", i, urls[a], turned[b])
			}
		}
	}
}

// Equal weights choose alike whatever their number, so that adding a weight to
// all changes nothing.
func TestRendezvousScalesWeights(t *testing.T) {
	one, ten := NewRendezvous(urlsOf(3), []int{1, 1, 1}), NewRendezvous(urlsOf(3), []int{10, 10, 10})
	for i := range 1000 {
		if one.Rank(keyOf(i), nil) != ten.Rank(keyOf(i), nil) {
			t.Fatalf("key %d differs", i)
		}
	}
}

func TestRendezvousWithoutChoice(t *testing.T) {
	if got := NewRendezvous(nil, nil).Rank([]byte("k"), nil); got != -1 {
		t.Errorf("of none: %d", got)
	}
	r := NewRendezvous(urlsOf(2), nil)
	if got := r.Rank([]byte("k"), func(int) bool { return true }); got != -1 {
		t.Errorf("all skipped: %d", got)
	}
	if got := r.Rank(nil, func(i int) bool { return i == 0 }); got != 1 {
		t.Errorf("one left: %d", got)
	}
}

// Hosts of different releases have to choose alike: these choices never change.
func TestRendezvousNeverChanges(t *testing.T) {
	equal := NewRendezvous(urlsOf(8), nil)
	weighted := NewRendezvous(urlsOf(8), []int{1, 2, 3, 4, 5, 6, 7, 8})
	for _, c := range []struct {
		key             string
		equal, weighted int
	}{
		{"alice", 1, 1},
		{"bob", 1, 5},
		{"!31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM", 2, 6},
		{"remote.example.net", 7, 7},
		{"", 1, 6},
	} {
		if got := equal.Rank([]byte(c.key), nil); got != c.equal {
			t.Errorf("equal weights, %q: %d, want %d", c.key, got, c.equal)
		}
		if got := weighted.Rank([]byte(c.key), nil); got != c.weighted {
			t.Errorf("weights 1 to 8, %q: %d, want %d", c.key, got, c.weighted)
		}
	}
}

func TestNegLog2(t *testing.T) {
	for _, h := range []uint64{1, 2, 3, 1 << 32, 1<<63 - 1, 1 << 63, 1<<63 + 1, math.MaxUint64, 0xdeadbeefcafebabe} {
		want := -math.Log2(float64(h|1) / (1 << 63) / 2)
		if got := float64(negLog2(h)) / (1 << 32); math.Abs(got-want) > 1e-9 {
			t.Errorf("negLog2(%#x) = %v, want %v", h, got, want)
		}
	}
	if negLog2(math.MaxUint64) == 0 {
		t.Error("a score must not be 0: it divides")
	}
}

func BenchmarkRank(b *testing.B) {
	key := []byte("!31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM")
	for _, weights := range [][]int{nil, {1, 2, 3, 4, 5, 6, 7, 8}} {
		r := NewRendezvous(urlsOf(8), weights)
		b.Run(fmt.Sprint(weights != nil), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.Rank(key, nil)
			}
		})
	}
}
