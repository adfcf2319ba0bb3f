package configs

import "testing"

func TestNearest(t *testing.T) {
	words := []string{"element", "element_call", "mas", "host"}
	for word, want := range map[string]string{
		"elment":      "element",
		"elemetn":     "element", // two letters swapped
		"elementcall": "element_call",
		"Host":        "host",
		"hots":        "host",
		"zebra":       "",
		"x":           "",
	} {
		if got := nearest(word, words); got != want {
			t.Errorf("%s: got %q, want %q", word, got, want)
		}
	}
}
