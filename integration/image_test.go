//go:build integration

package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestImage builds the Dockerfile and runs what it made as an engine would: its
// root, its user, its entrypoint, then its health check.
func TestImage(t *testing.T) {
	b := buildah{directory: t.TempDir()}
	if err := b.base("localhost/base", filepath.Join(root(), ".lab", "busybox", "bin", "busybox")); err != nil {
		t.Fatal(err)
	}
	if err := b.build("localhost/vestibule", "localhost/base"); err != nil {
		t.Fatal(err)
	}
	made, err := b.mount("localhost/vestibule")
	if err != nil {
		t.Fatal(err)
	}
	const address, admin = "127.1.0.4", "127.0.0.1:9182"
	if err := made.configure(address, admin); err != nil {
		t.Fatal(err)
	}
	if output, err := made.program(made.healthcheck...).CombinedOutput(); err == nil {
		t.Errorf("the health check passes before anything runs: %s", output)
	}
	// Docker lets every user of a container listen on low ports.
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := startProcess(lab.logs, "image", made.program(append(made.entrypoint, made.command...)...))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	}()
	v := &vestibule{process: p, admin: admin, root: filepath.Join(made.rootfs, "var/lib/vestibule/root.pem")}
	if err := p.await(20*time.Second, v.ready); err != nil {
		t.Fatal(err)
	}
	if output, err := made.program(made.healthcheck...).CombinedOutput(); err != nil {
		t.Errorf("the health check fails: %v: %s", err, output)
	}
	c := newClient(nil)
	c.through(address, doorRoots(t, v))
	wellKnown(t, c, baseURL+"/.well-known/matrix/client")
}

// configure writes the file the image's command reads.
func (c *container) configure(address, admin string) error {
	directory := filepath.Join(c.rootfs, "etc", "vestibule")
	text := fmt.Sprintf(`entrypoints:
  http: { addresses: ["%[1]s:80"] }
  https: { addresses: ["%[1]s:443"] }
  federation: { addresses: ["%[1]s:8448"] }
  admin: { addresses: ["%[2]s"] }
certificates: { issuer: internal }
sites:
  - { server_name: %[3]s, synapse: { layout: mdad/no-workers } }
`, address, admin, serverName)
	return errors.Join(os.MkdirAll(directory, 0o755), os.WriteFile(filepath.Join(directory, "vestibule.yaml"), []byte(text), 0o644))
}
