package proxy

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestH2Unread gives out what was put in, in whatever pieces, and holds no memory for
// what has gone.
func TestH2Unread(t *testing.T) {
	var u h2Unread
	var want bytes.Buffer
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 20000 {
		piece := make([]byte, r.IntN(1+r.IntN(40<<10)))
		if r.IntN(2) == 0 {
			for at := range piece {
				piece[at] = byte(r.Uint32())
			}
			u.add(piece)
			want.Write(piece)
		} else {
			n := u.take(piece)
			if got := want.Next(n); n < min(len(piece), len(got)) || !bytes.Equal(piece[:n], got) {
				t.Fatalf("step %d: %d bytes are others", i, n)
			}
		}
		if i%1000 == 999 {
			u.forget()
			want.Reset()
		}
		if u.size != want.Len() || len(u.pieces) > 2+u.size/copySize || u.size == 0 && len(u.pieces) > 0 {
			t.Fatalf("step %d: %d bytes in %d pieces, want %d", i, u.size, len(u.pieces), want.Len())
		}
	}
}
