package proxy

import (
	"io"
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
		return err
	}
	defer client.Close()
	untrack := x.proxy.tunnels.track(client)
	defer untrack()

	up := make(chan int64, 1)
	go func() {
		n, err := io.Copy(c.Conn, client)
		if err != nil || !closeWrite(c.Conn) {
			c.SetDeadline(time.Unix(1, 0))
		}
		up <- n
	}()
	n, err := io.Copy(client, c.r)
	x.record.Sent += n
	if err != nil || client.CloseWrite() != nil {
		client.Close()
	}
	x.record.received.Add(<-up)
	return nil
}

// closeWrite ends one direction of a connection where that is possible.
func closeWrite(w io.Writer) bool {
	cw, ok := w.(interface{ CloseWrite() error })
	return ok && cw.CloseWrite() == nil
}
