package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// standardServer is net/http's server, and how it ends.
//
// It is not ended by http.Server.Shutdown: from that on net/http closes connections
// whose first request it has just read, so that whoever connected a moment before
// would get no answer. With keep-alives off, each connection ends after the answer
// under way or, where none was asked for, the first. HTTP/2 has a server of its
// own, whose Shutdown does nothing but say GOAWAY.
type standardServer struct {
	http1, http2 *http.Server
	intake       intake
	conns        atomic.Int64 // that are open, but for upgraded ones
}

// newStandardServer serves HTTP/1.1 by http1, and HTTP/2 by http2, which is
// configured alike.
func newStandardServer(http1, http2 *http.Server) *standardServer {
	s := &standardServer{http1: http1, http2: http2}
	http1.ConnState = s.count
	_ = http2.Serve(nowhere{}) // makes it ready
	if serve := http2.TLSNextProto["h2"]; serve != nil {
		http1.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){
			"h2": func(_ *http.Server, c *tls.Conn, h http.Handler) { serve(http2, c, h) },
		}
	}
	return s
}

// nowhere is a listener to which nobody connects.
type nowhere struct{ net.Listener }

// Accept implements net.Listener.
func (nowhere) Accept() (net.Conn, error) { return nil, io.EOF }

// Close implements net.Listener.
func (nowhere) Close() error { return nil }

// count implements http.Server.ConnState.
func (s *standardServer) count(c net.Conn, state http.ConnState) {
	noteState(c, state)
	switch state {
	case http.StateNew:
		s.conns.Add(1)
	case http.StateHijacked, http.StateClosed:
		s.conns.Add(-1)
	case http.StateActive, http.StateIdle:
	}
}

// Serve implements frontEnd.
func (s *standardServer) Serve(l net.Listener) error {
	if !s.intake.begin(l) {
		return http.ErrServerClosed
	}
	defer s.intake.end()
	var err error
	if s.http1.TLSConfig != nil {
		err = s.http1.ServeTLS(l, "", "")
	} else {
		err = s.http1.Serve(l)
	}
	if errors.Is(err, net.ErrClosed) {
		return http.ErrServerClosed
	}
	return err
}

// Shutdown implements frontEnd.
func (s *standardServer) Shutdown(ctx context.Context) error {
	s.intake.refuse()
	s.intake.wait()
	s.http2.SetKeepAlivesEnabled(false)
	for round := 0; s.conns.Load() > 0 && ctx.Err() == nil; round++ {
		if round%roundsOfGoAway == 0 {
			_ = s.http2.Shutdown(ctx) // says GOAWAY, also to those who shook hands since
		}
		s.http1.SetKeepAlivesEnabled(false) // and closes those that have become idle, or keep silent for 5 seconds
		select {
		case <-ctx.Done():
		case <-time.After(stopRound):
		}
	}
	if s.conns.Load() > 0 {
		return ctx.Err()
	}
	return nil
}

// stopRound is how often it is seen whether all connections have ended; every few of
// these rounds those hear GOAWAY that have not.
const (
	stopRound      = 20 * time.Millisecond
	roundsOfGoAway = 50
)

// Close implements frontEnd.
func (s *standardServer) Close() error { return errors.Join(s.http1.Close(), s.http2.Close()) }
