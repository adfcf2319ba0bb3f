package proxy

// h2Unread is what has come of a body and nobody has taken. It lies in pieces that are
// given back as soon as they are empty: what bursts of many bodies took would not be
// bounded by any window as long as their requests last.
type h2Unread struct {
	pieces []*[]byte
	from   int // where the first piece's bytes begin
	to     int // where the last piece's end
	size   int // bytes in all of them
}

// add stores a copy of b.
func (u *h2Unread) add(b []byte) {
	u.size += len(b)
	for len(b) > 0 {
		last := len(u.pieces) - 1
		if last < 0 || u.to == len(*u.pieces[last]) {
			u.pieces, u.to = append(u.pieces, newPiece(last >= 0)), 0
			last++
		}
		n := copy((*u.pieces[last])[u.to:], b)
		u.to += n
		b = b[n:]
	}
}

// take moves up to len(p) bytes into p.
func (u *h2Unread) take(p []byte) (n int) {
	for n < len(p) && u.size > 0 {
		end := u.to
		if len(u.pieces) > 1 {
			end = len(*u.pieces[0])
		}
		m := copy(p[n:], (*u.pieces[0])[u.from:end])
		n += m
		u.size -= m
		if u.from += m; u.from == end {
			u.drop()
		}
	}
	return n
}

// drop gives the first piece back.
func (u *h2Unread) drop() {
	putPiece(u.pieces[0])
	last := len(u.pieces) - 1
	copy(u.pieces, u.pieces[1:])
	u.pieces[last] = nil
	u.pieces, u.from = u.pieces[:last], 0
}

// forget gives everything back.
func (u *h2Unread) forget() {
	for len(u.pieces) > 0 {
		u.drop()
	}
	u.size = 0
}

// newPiece is a small piece, as most bodies need one, or a large one for what comes
// behind it.
func newPiece(more bool) *[]byte {
	if more {
		return copyBuffers.lend()
	}
	return socketBuffers.lend()
}

func putPiece(b *[]byte) {
	if len(*b) == copySize {
		copyBuffers.takeBack(b)
	} else {
		socketBuffers.takeBack(b)
	}
}
