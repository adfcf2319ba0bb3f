package proxy

import (
	"sync"
	"sync/atomic"
)

// buffers lends pieces of memory that are used again: of a length when they are
// lent, and of a size that they may be extended to without allocation, in bytes.
type buffers struct {
	length, size int
	pool         sync.Pool
}

func newBuffers(length, capacity int) *buffers {
	return &buffers{length, capacity, sync.Pool{New: func() any {
		b := make([]byte, length, capacity)
		if invariants {
			poison(b)
		}
		return &b
	}}}
}

func (p *buffers) lend() *[]byte {
	b := p.pool.Get().(*[]byte)
	if invariants {
		watchLent(b)
	}
	return b
}

// maxKept is the size of the largest piece that is used again, in bytes: one that
// grew with a huge message is left to the collector.
const maxKept = 128 << 10

// takeBack ends what lend began: nobody uses b any more.
func (p *buffers) takeBack(b *[]byte) {
	if invariants {
		watchReturned(b)
	}
	if cap(*b) > maxKept {
		return
	}
	*b = (*b)[:p.length]
	p.pool.Put(b)
}

// countDown takes one from a counter, which never falls below zero.
func countDown(n *atomic.Int64, what string) {
	if left := n.Add(-1); invariants && left < 0 {
		violated("%s: %d are counted", what, left)
	}
}
