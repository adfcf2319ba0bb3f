package proxy

import (
	"crypto/rand"
	"errors"
	"io"
	"sync/atomic"
	"time"
)

// tunnel carries a WebSocket: bytes both ways as they come, until both sides have
// ended or one has failed. It follows the frames, so that it can say goodbye
// between two of them when it has to end itself.
type tunnel struct {
	client Tunnel
	c      *conn
	down   frames // from the upstream to the client, whom only carryDown writes to
	up     frames // from the client to the upstream, whom only carryUp writes to

	sent     int64 // to the client, in bytes
	received int64 // from the client, in bytes

	leaving  atomic.Bool // it has to end, and limit and why are known
	limit    time.Time
	why      string
	farewell atomic.Bool // the client was told
	answered atomic.Bool // the client has sent its close frame
}

// tunnelBuffer is the size of what a direction is copied through. Most WebSockets
// are idle most of the time, and each holds two.
const tunnelBuffer = 8 << 10

// lingerTunnel is how long one side may go on after the other has ended, and how
// long a goodbye is waited for. WebSockets say goodbye before they end (RFC 6455,
// section 7), so little comes.
const lingerTunnel = 2 * time.Second

// goingAway is a close frame with the status 1001, of an endpoint that goes away,
// such as a server (RFC 6455, sections 5.5.1 and 7.4.1).
var goingAway = []byte{0x88, 2, 0x03, 0xe9}

// maskedGoingAway is the same as a client sends it (section 5.3).
func maskedGoingAway() []byte {
	var key [4]byte
	rand.Read(key[:])
	return []byte{0x88, 0x82, key[0], key[1], key[2], key[3], 0x03 ^ key[0], 0xe9 ^ key[1]}
}

// tunnel answers an upgrade and carries what follows.
func (x *exchange) tunnel(c *conn, resp *response) error {
	c.SetDeadline(time.Time{})
	x.record.Status = resp.status
	h := x.responseHeader(resp, nil)
	h = append(h, Field{"Connection", "Upgrade"}, Field{"Upgrade", "websocket"})
	client, err := x.w.Switch(h)
	if err != nil {
		x.record.Error = "the client left before its connection was upgraded"
		x.w.Abort()
		return nil
	}
	defer client.Close()
	t := &tunnel{client: client, c: c}
	st := x.asStream(t.leave, t.cut)
	if !x.join(st) {
		return nil
	}
	defer x.proxy.streams.remove(st)

	done := make(chan struct{})
	go func() {
		t.carryUp()
		close(done)
	}()
	t.carryDown()
	<-done
	x.record.Sent += t.sent
	x.record.received.Add(t.received)
	if t.leaving.Load() {
		x.record.Error = t.why
	}
	return nil
}

// leave implements stream.
func (t *tunnel) leave(limit time.Time, why string) {
	t.limit, t.why = limit, why
	t.leaving.Store(true)
	t.c.setReadDeadline(time.Unix(1, 0)) // wakes carryDown
}

// cut implements stream.
func (t *tunnel) cut() {
	t.c.cut()
	t.client.Close()
}

// carryDown carries what the upstream sends, until it ends or the tunnel is left.
func (t *tunnel) carryDown() {
	err := t.relayDown()
	if t.farewell.Load() {
		return // carryUp sees to the rest
	}
	if err != nil || t.client.CloseWrite() != nil || t.client.SetReadDeadline(time.Now().Add(lingerTunnel)) != nil {
		t.client.Close()
	}
}

// relayDown returns nil when the upstream has ended its side, or when nothing of it
// is wanted any more.
func (t *tunnel) relayDown() error {
	buf := make([]byte, tunnelBuffer)
	for {
		if t.leaving.Load() {
			if t.down.between() {
				return t.bidFarewell()
			}
			t.c.setReadDeadline(t.limit)
		}
		n, err := t.c.r.Read(buf)
		part := buf[:n]
		if t.leaving.Load() {
			part = part[:t.down.rest(part)]
		} else {
			t.down.pass(part)
		}
		if len(part) > 0 {
			m, err := t.client.Write(part)
			t.sent += int64(m)
			if err != nil {
				return err
			}
		}
		switch {
		case err == nil || t.woken(err):
		case errors.Is(err, io.EOF):
			return nil
		default:
			return err
		}
	}
}

// woken says whether a read ended because the tunnel is to be left.
func (t *tunnel) woken(err error) bool {
	return timedOut(err) && t.leaving.Load() && !t.c.isCut.Load() && time.Now().Before(t.limit)
}

// bidFarewell tells the client that we go away. What the upstream still has to say
// is thrown away, and what the client has goes up, until its own goodbye.
func (t *tunnel) bidFarewell() error {
	if !t.down.closed {
		if _, err := t.client.Write(goingAway); err != nil {
			return err
		}
	}
	until := time.Now().Add(lingerTunnel)
	if t.limit.Before(until) {
		until = t.limit
	}
	t.farewell.Store(true)
	t.c.setReadDeadline(until)
	if t.answered.Load() { // before carryUp could know that this is the answer
		until = time.Unix(1, 0)
	}
	if err := t.client.SetReadDeadline(until); err != nil {
		t.client.Close()
	}
	_, _ = io.Copy(io.Discard, &t.c.r) // until it ends, too
	return nil
}

// carryUp carries what the client sends, until it ends or has said goodbye.
func (t *tunnel) carryUp() {
	err := t.relayUp()
	switch {
	case t.farewell.Load():
		// Whoever was asked to go and has answered waits for our end (RFC 6455, section 7.1.1).
		t.client.Close()
		if t.up.between() && !t.up.closed {
			_, _ = t.c.Write(maskedGoingAway()) // in place of the client's, which has not come
		}
		closeWrite(t.c.Conn)
	case err != nil || !closeWrite(t.c.Conn):
		t.c.cut()
	default:
		t.c.setReadDeadline(time.Now().Add(lingerTunnel))
	}
}

// relayUp returns nil when the client has ended its side or both have said goodbye.
func (t *tunnel) relayUp() error {
	buf := make([]byte, tunnelBuffer)
	for {
		n, err := t.client.Read(buf)
		t.received += int64(n)
		t.up.pass(buf[:n])
		if n > 0 {
			if _, err := t.c.Write(buf[:n]); err != nil {
				return err
			}
		}
		if t.up.closed {
			t.answered.Store(true)
		}
		switch {
		case t.up.closed && t.farewell.Load():
			return nil
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// closeWrite ends one direction of a connection where that is possible.
func closeWrite(w io.Writer) bool {
	cw, ok := w.(interface{ CloseWrite() error })
	return ok && cw.CloseWrite() == nil
}
