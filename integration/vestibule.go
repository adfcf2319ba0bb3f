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

// frontDoor is where a vestibule listens and before what. Sections are in YAML's
// flow style; what is left out is as for hs1.test.
type frontDoor struct {
	name         string // of its files
	serverName   string
	address      string // of its public entrypoints, without port
	port         int    // of its federation entrypoint; 0 is 8448
	admin        string // host:port
	certificates string // its section certificates, without storage; "" for its own CA
	storage      string // the directory with its certificates; "" for one of its own
	synapse      string // its section synapse; "" for the layout
	federation   string // its section federation; "" for the defaults
}

// oneOfEachLayout is how a configuration names the workers that run here.
const oneOfEachLayout = "layout: mdad/one-of-each"

const configurationText = `control: %[1]s/control.sock
entrypoints:
  http: { addresses: ["%[2]s:80"] }
  https: { addresses: ["%[2]s:443"] }
  federation: { addresses: ["%[2]s:%[3]d"] }
  admin: { addresses: ["%[4]s"] }
certificates:
  storage: { directory: %[5]s }
  %[6]s
sites:
  - server_name: %[7]s
    base_domain: { serve: true }
    synapse: { %[8]s }
    federation: { %[9]s }
`

// configuration is its vestibule.yaml; home is the directory of its files.
func (d frontDoor) configuration(home string) string {
	return fmt.Sprintf(configurationText, home, d.address, cmp.Or(d.port, 8448), d.admin, d.storageOr(home),
		cmp.Or(d.certificates, "issuer: internal"), cmp.Or(d.serverName, serverName), cmp.Or(d.synapse, oneOfEachLayout), d.federation)
}

func (d frontDoor) storageOr(home string) string {
	return cmp.Or(d.storage, filepath.Join(home, "storage"))
}

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
		root:          filepath.Join(door.storageOr(home), "root.pem"),
		admin:         door.admin,
	}
	text := door.configuration(home)
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
