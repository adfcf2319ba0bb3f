package proxy

import (
	"slices"
	"sync"
	"time"

	"vestibule/routing"
)

// stream is an exchange that has no end of its own: a WebSocket, or an answer that
// tells of events as they happen. When we stop, or when a reload has taken its
// route away, somebody has to end it.
type stream struct {
	match    routing.Request // that began it
	upstream string          // who answers

	// leave has it end in order, before limit at the latest; why is for the log. It
	// does not wait.
	leave func(limit time.Time, why string)
	// cut ends it at once.
	cut func()

	left *time.Timer // cuts it at the limit; nil as long as nobody left it
}

// streams are those that are open.
type streams struct {
	mu     sync.Mutex
	open   map[*stream]struct{}
	limit  time.Time // of all, those to come too; zero until all are left
	closed bool
}

func newStreams() *streams {
	return &streams{open: map[*stream]struct{}{}}
}

// whyStopping and whyGone are why a stream was left, whyCut why another exchange ended.
const (
	whyCut      = "cut by vestibule: it is stopping, and timeouts.grace is over"
	whyStopping = "ended by vestibule: it is stopping"
	whyGone     = "ended by vestibule: a reload has taken its route or its upstream away"
)

// add counts a stream until remove; it is false when there may be no new ones.
func (s *streams) add(st *stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.open[st] = struct{}{}
	if !s.limit.IsZero() {
		s.leave(st, s.limit, whyStopping)
	}
	return true
}

func (s *streams) remove(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.left != nil {
		st.left.Stop()
	}
	delete(s.open, st)
}

// leave has a stream end, once; the caller holds mu.
func (s *streams) leave(st *stream, limit time.Time, why string) {
	if st.left == nil {
		st.left = time.AfterFunc(time.Until(limit), st.cut)
		st.leave(limit, why)
	}
}

// leaveAll has all streams end, and those to come.
func (s *streams) leaveAll(limit time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = limit
	for st := range s.open {
		s.leave(st, limit, whyStopping)
	}
}

// over says whether all were to have ended.
func (s *streams) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.limit.IsZero() && !time.Now().Before(s.limit)
}

// leaveSome has those end that are not kept, and returns how many that are.
func (s *streams) leaveSome(limit time.Time, kept func(*stream) bool) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for st := range s.open {
		if st.left == nil && !kept(st) {
			s.leave(st, limit, whyGone)
			n++
		}
	}
	return n
}

// close ends all streams at once, and those to come.
func (s *streams) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for st := range s.open {
		go st.cut() // to say goodbye over TLS may block
	}
}

// asStream is the exchange as one without an end.
func (x *exchange) asStream(leave func(limit time.Time, why string), cut func()) *stream {
	return &stream{match: x.match, upstream: x.record.Upstream, leave: leave, cut: cut}
}

// join counts a stream of the exchange among those of the proxy until streams.remove.
// It is false when there may be no new ones.
func (x *exchange) join(st *stream) bool {
	if !x.proxy.streams.add(st) {
		return false
	}
	if current := x.proxy.state.Load(); current != x.state { // it was begun before a reload, and may come too late for its end
		x.proxy.drainAfter(current.cfg.Timeouts.Grace.Std())
	}
	return true
}

// drainAfter has the streams end that the table in use then does not carry.
func (p *Proxy) drainAfter(grace time.Duration) {
	time.AfterFunc(grace, func() {
		st := p.state.Load()
		limit := time.Now().Add(max(st.cfg.Timeouts.Grace.Std(), lingerTunnel))
		if n := p.streams.leaveSome(limit, st.carries); n > 0 {
			p.log.Info("ended WebSockets and event streams whose route or upstream a reload took away", "count", n)
		}
	})
}

// carries says whether a stream could begin again where it is.
func (st *state) carries(s *stream) bool {
	var d routing.Decision
	st.table.Match(&s.match, &d)
	return d.Action == routing.Proxy &&
		slices.ContainsFunc(st.pools[d.Pool.Index].upstreams, func(u *Upstream) bool { return u.Name == s.upstream })
}
