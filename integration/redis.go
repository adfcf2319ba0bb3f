//go:build integration

package integration

import (
	"net"
	"os/exec"
	"path/filepath"
	"time"
)

// redis is a Redis server on a Unix socket; Synapse's processes talk through it.
type redis struct {
	*process
	socket string
}

func startRedis(directory, logs string) (*redis, error) {
	socket := filepath.Join(directory, "redis.sock")
	server := exec.Command("redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no")
	server.Dir = directory
	child, err := startProcess(logs, "redis", server)
	if err != nil {
		return nil, err
	}
	r := &redis{process: child, socket: socket}
	return r, r.await(10*time.Second, func() error {
		connection, err := net.Dial("unix", socket)
		if err == nil {
			connection.Close()
		}
		return err
	})
}
