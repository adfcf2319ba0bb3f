package proxy

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// stallConn is a connection that fails when the other side takes nothing of what
// is written to it for timeouts.stall. However slowly it takes it, it may.
type stallConn struct {
	net.Conn
	stall func() time.Duration

	of        *connections // among which it counts; nil for none
	idleSince atomic.Int64 // without a request, Unix nanoseconds; 0 while one is under way, or evicted

	armed atomic.Int64 // when the deadline was set, Unix nanoseconds; 0 when it is none of ours
	mu    sync.Mutex   // held while a deadline for writing is set
	other bool         // somebody else's holds
}

// stallParts is in how many waits stall is divided: after each it is seen whether
// something was taken meanwhile.
const stallParts = 4

// Write implements net.Conn.
func (c *stallConn) Write(p []byte) (n int, err error) {
	part := c.stall() / stallParts
	if part <= 0 {
		return c.Conn.Write(p)
	}
	ours := c.arm(part, false)
	for idle := 0; ; {
		var m int
		m, err = c.Conn.Write(p[n:])
		n += m
		if idle++; m > 0 {
			idle = 0
		}
		if err == nil || !ours || idle == stallParts || !timedOut(err) {
			return n, err
		}
		if ours = c.arm(part, true); !ours {
			return n, err
		}
	}
}

// arm has writing end after about part, unless somebody else set a deadline. A
// deadline set a moment ago stands: most writes are over at once, and setting one
// costs more than they do.
func (c *stallConn) arm(part time.Duration, anew bool) (ours bool) {
	now := time.Now()
	armed := c.armed.Load()
	if !anew && armed != 0 && now.UnixNano()-armed < int64(part/2) {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	until := now.Add(part)
	if !anew {
		until = until.Add(part / 2)
	}
	if c.other || c.Conn.SetWriteDeadline(until) != nil {
		return false
	}
	c.armed.Store(now.UnixNano())
	return true
}

// SetWriteDeadline implements net.Conn.
func (c *stallConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.other = !t.IsZero()
	c.armed.Store(0)
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline implements net.Conn.
func (c *stallConn) SetDeadline(t time.Time) error {
	if err := c.SetWriteDeadline(t); err != nil {
		return err
	}
	return c.SetReadDeadline(t)
}

// Close implements net.Conn.
func (c *stallConn) Close() error {
	if c.of != nil {
		c.of.leave(c)
	}
	return c.Conn.Close()
}

// CloseWrite ends the direction to the other side.
func (c *stallConn) CloseWrite() error {
	if cw, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return errors.ErrUnsupported
}

// SyscallConn implements syscall.Conn.
func (c *stallConn) SyscallConn() (syscall.RawConn, error) {
	if sc, ok := c.Conn.(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// stallListener accepts stallConns, which count among those of clients unless
// clients is nil.
type stallListener struct {
	net.Listener
	stall   func() time.Duration
	clients *connections
}

// Accept implements net.Listener.
func (l stallListener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			if passes(err) {
				err = passing{err}
			}
			return nil, err
		}
		c := &stallConn{Conn: nc, stall: l.stall}
		if l.clients == nil || l.clients.admit(c) {
			return c, nil
		}
		nc.Close()
	}
}

// passing is an error of a listener that says so: others may yet be accepted.
type passing struct{ error }

// Timeout implements net.Error.
func (passing) Timeout() bool { return false }

// Temporary implements net.Error.
func (passing) Temporary() bool { return true }

func (p passing) Unwrap() error { return p.error }

// passes says whether a listener's error is about memory or the one connection
// (accept(2), "Error handling"); Go takes these for its end.
func passes(err error) bool {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return false
	}
	switch errno {
	case syscall.ENOMEM, syscall.ENOBUFS, syscall.EPERM, syscall.EPROTO, syscall.ENOPROTOOPT, syscall.ENETDOWN,
		syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.EHOSTUNREACH:
		return true
	}
	return false
}

// stall is how long a body may stand still.
func (p *Proxy) stall() time.Duration {
	if st := p.state.Load(); st != nil {
		return st.cfg.Timeouts.Stall.Std()
	}
	return 0
}
