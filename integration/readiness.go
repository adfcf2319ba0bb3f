//go:build integration

package integration

import (
	"fmt"
	"net"
	"strings"
	"time"
)

// readiness counts the processes that say READY=1, as they would to systemd:
// the one sign that works for workers without a port, too.
type readiness struct {
	path   string
	socket net.PacketConn
	ready  map[string]bool // by the datagram, which holds the process id
}

func newReadiness(path string) (*readiness, error) {
	socket, err := net.ListenPacket("unixgram", path)
	if err != nil {
		return nil, fmt.Errorf("listening for readiness: %w", err)
	}
	return &readiness{path: path, socket: socket, ready: map[string]bool{}}, nil
}

// count returns nil when as many processes as wanted are ready.
func (r *readiness) count(wanted int) error {
	buffer := make([]byte, 256)
	for len(r.ready) < wanted {
		r.socket.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		n, _, err := r.socket.ReadFrom(buffer)
		if err != nil {
			return fmt.Errorf("%d of %d processes are ready", len(r.ready), wanted)
		}
		if message := string(buffer[:n]); strings.HasPrefix(message, "READY=1") {
			r.ready[message] = true
		}
	}
	return nil
}

func (r *readiness) close() error { return r.socket.Close() }
