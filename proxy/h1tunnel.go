package proxy

import (
	"errors"
	"net"
)

// h1Tunnel is a client's connection after an upgrade; what was read ahead comes
// first.
type h1Tunnel struct {
	net.Conn
	in *h1Input
}

// Read implements io.Reader.
func (t *h1Tunnel) Read(p []byte) (int, error) {
	if !t.in.empty() {
		return t.in.take(p), nil
	}
	return t.Conn.Read(p)
}

// CloseWrite ends the direction to the client.
func (t *h1Tunnel) CloseWrite() error {
	if cw, ok := t.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return errors.ErrUnsupported
}
