//go:build integration

package integration

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// vestibule is the front door under test, run as its users run it.
type vestibule struct {
	*process
	binary        string
	configuration string
	root          string // the file with the internal CA's certificate
	admin         string // host:port of its admin entrypoint
}

// frontDoor is where a vestibule listens.
type frontDoor struct {
	name    string // of its files
	address string // of its public entrypoints, without port
	admin   string // host:port
	synapse string // its section synapse, in YAML's flow style; "" for the layout
}

// oneOfEachLayout is how a configuration names the workers that run here.
const oneOfEachLayout = "layout: mdad/one-of-each"

const configurationText = `control: %[1]s/control.sock
entrypoints:
  http: { addresses: ["%[2]s:80"] }
  https: { addresses: ["%[2]s:443"] }
  federation: { addresses: ["%[2]s:8448"] }
  admin: { addresses: ["%[3]s"] }
certificates:
  issuer: internal
  storage: { directory: %[1]s/storage }
sites:
  - server_name: %[4]s
    base_domain: { serve: true }
    synapse: { %[5]s }
`

// buildVestibule compiles the program of this checkout.
func buildVestibule(directory string) (string, error) {
	binary := filepath.Join(directory, "bin", "vestibule")
	child := exec.Command("go", "build", "-buildvcs=false", "-o", binary, "./cmd/vestibule")
	child.Dir = root()
	child.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := child.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building vestibule: %w:\n%s", err, output)
	}
	return binary, nil
}

// startVestibule runs the program and returns when it is ready.
func startVestibule(binary, directory, logs string, door frontDoor) (*vestibule, error) {
	home := filepath.Join(directory, door.name)
	v := &vestibule{
		binary:        binary,
		configuration: filepath.Join(home, "vestibule.yaml"),
		root:          filepath.Join(home, "storage", "root.pem"),
		admin:         door.admin,
	}
	text := fmt.Sprintf(configurationText, home, door.address, door.admin, serverName, cmp.Or(door.synapse, oneOfEachLayout))
	if err := errors.Join(os.Mkdir(home, 0o755), os.WriteFile(v.configuration, []byte(text), 0o644)); err != nil {
		return nil, fmt.Errorf("configuring vestibule: %w", err)
	}
	child := exec.Command(binary, "serve", "--config", v.configuration)
	var err error
	if v.process, err = startProcess(logs, door.name, child); err != nil {
		return nil, err
	}
	return v, v.await(20*time.Second, v.ready)
}

// ready returns nil when /readyz says 200.
func (v *vestibule) ready() error {
	response, err := http.Get("http://" + v.admin + "/readyz")
	if err != nil {
		return err
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("/readyz answers %s", response.Status)
	}
	return nil
}

// roots is a pool of the internal CA alone.
func (v *vestibule) roots() (*x509.CertPool, error) {
	text, err := os.ReadFile(v.root)
	if err != nil {
		return nil, fmt.Errorf("reading the internal CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("reading the internal CA: no certificate in %s", v.root)
	}
	return pool, nil
}
