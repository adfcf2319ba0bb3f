package proxy

import (
	"io"
	"runtime"
	"sync"
	"time"
)

// accessLog writes lines, in the order they come. Who has one does not wait until
// it is written: lines that come together are written together, and only when more
// than a moment's lie there does whoever has one more wait for the reader.
type accessLog struct {
	out io.Writer

	mu       sync.Mutex
	room     sync.Cond     // gathered was taken to be written; L is &mu
	gathered []byte        // lines that nobody writes yet
	spare    []byte        // takes its turn with gathered
	writing  chan struct{} // closed when all is written; nil when nobody writes
	torn     bool          // the last line in out is not whole; of who writes
}

// maxGathered is how many bytes of lines wait to be written, at most and but for one.
const maxGathered = 256 << 10

func newAccessLog(out io.Writer) *accessLog {
	l := &accessLog{out: out}
	l.room.L = &l.mu
	return l
}

// add writes a line, soon. It keeps nothing of it.
func (l *accessLog) add(line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.gathered) >= maxGathered {
		l.room.Wait()
	}
	l.gathered = append(l.gathered, line...)
	if l.writing == nil {
		l.writing = make(chan struct{})
		go l.write()
	}
}

// write writes until there is nothing more. Each time it lets those first who are
// about to add a line, so that a busy server makes one system call for many. A log
// that cannot be written, as on a full disk, stops no request: its lines are lost.
func (l *accessLog) write() {
	for {
		runtime.Gosched()
		lines := l.take()
		if lines == nil {
			return
		}
		if l.torn { // its rest would spoil the next line
			_, err := l.out.Write([]byte("\n"))
			l.torn = err != nil
		}
		if !l.torn {
			n, err := l.out.Write(lines)
			l.torn = err != nil && n > 0
		}
		l.mu.Lock()
		l.spare = lines[:0]
		l.mu.Unlock()
	}
}

// take is what there is to write. It is nil when there is nothing, and nobody
// writes from then on.
func (l *accessLog) take() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.gathered) == 0 {
		close(l.writing)
		l.writing = nil
		return nil
	}
	lines := l.gathered
	l.gathered, l.spare = l.spare, nil
	l.room.Broadcast()
	return lines
}

// flush waits until all is written that was added, but not for longer than limit.
func (l *accessLog) flush(limit time.Duration) {
	l.mu.Lock()
	writing := l.writing
	l.mu.Unlock()
	if writing == nil {
		return
	}
	select {
	case <-writing:
	case <-time.After(limit):
	}
}
