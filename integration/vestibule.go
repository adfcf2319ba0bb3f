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
	"syscall"
	"time"
)

// vestibule is the front door under test, run as its users run it.
type vestibule struct {
	*process
	binary        string
	configuration string
	names         []string // that need certificates
	root          string   // the file with the CA of its certificates
	admin         string   // host:port of its admin entrypoint
}

// frontDoor is where a vestibule listens and before what. Sections are in YAML's
// flow style; what is left out is as for hs1.test.
type frontDoor struct {
	name         string // of its files
	serverName   string
	address      string   // of its public entrypoints, without port
	port         int      // of its federation entrypoint; 0 is 8448
	admin        string   // host:port
	certificates string   // its section certificates, without storage; "" for its own CA
	root         string   // the file with their CA; "" for its own
	synapse      string   // its section synapse; "" for the layout
	federation   string   // its section federation; "" for the defaults
	hosts        []string // it has besides the server name and matrix.
	sections     []string // further ones of its site
	mas          string   // its section mas; "" for none
	internal     string   // host:port of its internal entrypoint; "" for none
	etcHosts     string   // what it has for /etc/hosts; "" for the laboratory's
}

// oneOfEachLayout is how a configuration names the workers that run here.
const oneOfEachLayout = "layout: mdad/one-of-each"

const configurationText = `control: %[1]s/control.sock
engine: %[9]s
entrypoints:
  http: { addresses: ["%[2]s:80"] }
  https: { addresses: ["%[2]s:443"] }
  federation: { addresses: ["%[2]s:%[3]d"] }
  admin: { addresses: ["%[4]s"] }
certificates:
  storage: { directory: %[1]s/storage }
  %[5]s
sites:
  - server_name: %[6]s
    base_domain: { serve: true }
    synapse: { %[7]s }
    federation: { %[8]s }
`

// configuration is its vestibule.yaml; home is the directory of its files.
func (d frontDoor) configuration(home string) string {
	text := fmt.Sprintf(configurationText, home, d.address, d.federationPort(), d.admin,
		cmp.Or(d.certificates, "issuer: internal"), d.site(), cmp.Or(d.synapse, oneOfEachLayout), d.federation,
		cmp.Or(os.Getenv("ENGINE"), "own"))
	for _, section := range d.sections {
		text += "    " + section + "\n"
	}
	if d.mas != "" {
		text += fmt.Sprintf("    mas: { %s }\n", d.mas)
	}
	if d.internal != "" {
		text += fmt.Sprintf("    internal: { addresses: [%q] }\n", d.internal)
	}
	return text
}

func (d frontDoor) federationPort() int { return cmp.Or(d.port, 8448) }

func (d frontDoor) site() string { return cmp.Or(d.serverName, serverName) }

// buildVestibule compiles the program of this checkout, to be watched by the race
// detector, which needs gcc, and by our own invariants. "make laboratory-tools" has
// compiled the same.
func buildVestibule(directory string) (string, error) {
	binary := filepath.Join(directory, "bin", "vestibule")
	child := exec.Command("go", "build", "-buildvcs=false", "-race", "-tags", "invariants", "-o", binary, "./cmd/vestibule")
	child.Dir = root()
	child.Env = append(os.Environ(), "CGO_ENABLED=1")
	if output, err := child.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building vestibule: %w:\n%s", err, output)
	}
	return binary, nil
}

// startVestibule runs the program and returns when it is ready.
func startVestibule(binary, directory, logs string, door frontDoor) (*vestibule, error) {
	v, err := launchVestibule(binary, directory, logs, door)
	if err != nil {
		return nil, err
	}
	return v, v.awaitCertificates()
}

// launchVestibule runs the program and does not wait.
func launchVestibule(binary, directory, logs string, door frontDoor) (*vestibule, error) {
	home := filepath.Join(directory, door.name)
	v := &vestibule{
		binary:        binary,
		configuration: filepath.Join(home, "vestibule.yaml"),
		names:         append([]string{door.site(), "matrix." + door.site()}, door.hosts...),
		root:          cmp.Or(door.root, filepath.Join(home, "storage", "root.pem")),
		admin:         door.admin,
	}
	text := door.configuration(home)
	if err := errors.Join(os.MkdirAll(home, 0o755), os.WriteFile(v.configuration, []byte(text), 0o644)); err != nil {
		return nil, fmt.Errorf("configuring vestibule: %w", err)
	}
	child := exec.Command(binary, "serve", "--config", v.configuration)
	if door.etcHosts != "" {
		file := filepath.Join(home, "hosts")
		if err := os.WriteFile(file, []byte(door.etcHosts), 0o644); err != nil {
			return nil, fmt.Errorf("configuring vestibule: %w", err)
		}
		child = withHosts(file, child)
	}
	child.Env = append(withoutProxy(), "GORACE=halt_on_error=1")
	var err error
	v.process, err = startProcess(logs, door.name, child)
	return v, err
}

// withHosts runs a command with another /etc/hosts: two hosts of MDAD's give
// their containers the same names, and each front door must meet its own.
func withHosts(file string, child *exec.Cmd) *exec.Cmd {
	script := `mount --bind "$0" /etc/hosts && exec "$@"`
	alone := exec.Command("sh", append([]string{"-c", script, file}, child.Args...)...)
	alone.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return alone
}

// awaitCertificates returns when the program is ready and has a certificate for
// every name.
func (v *vestibule) awaitCertificates() error {
	return v.await(time.Minute, func() error { return errors.Join(v.ready(), v.certified()) })
}

// certified returns nil when every name has a certificate.
func (v *vestibule) certified() error {
	until, err := v.sample("vestibule_certificate_not_after_seconds", "name")
	if err != nil {
		return err
	}
	for _, name := range v.names {
		if until[name] == 0 {
			return fmt.Errorf("%s has no certificate", name)
		}
	}
	return nil
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

// roots is a pool of the CA alone.
func (v *vestibule) roots() (*x509.CertPool, error) {
	text, err := os.ReadFile(v.root)
	if err != nil {
		return nil, fmt.Errorf("reading the front door's CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("reading the front door's CA: no certificate in %s", v.root)
	}
	return pool, nil
}
