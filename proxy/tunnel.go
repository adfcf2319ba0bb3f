package proxy

import (
	"io"
	"sync"
	"time"
)

// tunnel carries bytes both ways after an upgrade, until both sides have ended
// or one has failed.
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
	if !x.proxy.tunnels.add(client) {
		return nil
	}
	defer x.proxy.tunnels.remove(client)

	up := make(chan int64, 1)
	go func() {
		n, err := io.Copy(c.Conn, client)
		if err != nil || !closeWrite(c.Conn) {
			c.SetDeadline(time.Unix(1, 0))
		} else {
			c.SetReadDeadline(time.Now().Add(lingerTunnel))
		}
		up <- n
	}()
	n, err := io.Copy(client, c.r)
	x.record.Sent += n
	if err != nil || client.CloseWrite() != nil || client.SetReadDeadline(time.Now().Add(lingerTunnel)) != nil {
		client.Close()
	}
	x.record.received.Add(<-up)
	return nil
}

// lingerTunnel is how long one side may go on after the other has ended.
// WebSockets say goodbye before they end (RFC 6455, section 7), so little comes.
const lingerTunnel = 2 * time.Second

// closeWrite ends one direction of a connection where that is possible.
func closeWrite(w io.Writer) bool {
	cw, ok := w.(interface{ CloseWrite() error })
	return ok && cw.CloseWrite() == nil
}

// tunnels are the upgraded connections, which no server tracks any more.
type tunnels struct {
	mu     sync.Mutex
	open   map[Tunnel]struct{}
	closed bool
	wg     sync.WaitGroup
}

// add counts a tunnel until remove; it is false when there may be no new ones.
func (t *tunnels) add(c Tunnel) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	if t.open == nil {
		t.open = map[Tunnel]struct{}{}
	}
	t.open[c] = struct{}{}
	t.wg.Add(1)
	return true
}

func (t *tunnels) remove(c Tunnel) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, c)
	t.wg.Done()
}

// close ends all tunnels, and those to come, and waits until they have ended.
func (t *tunnels) close() {
	t.mu.Lock()
	t.closed = true
	for c := range t.open {
		c.Close()
	}
	t.mu.Unlock()
	t.wg.Wait()
}
