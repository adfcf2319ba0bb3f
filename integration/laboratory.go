//go:build integration

package integration

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"vestibule/acme/ovhtest"
)

// laboratory is everything that runs while the tests do.
type laboratory struct {
	*progress
	directory string         // of databases, sockets, keys; short, outside the checkout
	logs      string         // of every process
	roots     *x509.CertPool // the authority's alone
	names     *ovhtest.Server
	authority *authority
	vestibule *vestibule
	postgres  *postgres
	redis     *redis
	synapse   *synapse
	peer      *peer
	page      *page
	delegated *homeserver    // hs4.test, once a test has asked for it
	compared  int            // requests held against Synapse's logs so far
	stops     []func() error // in the order of starting
}

// lab is the laboratory of this run; TestMain makes it.
var lab *laboratory

// startLaboratory starts everything in directory. The front door obtains its
// certificates while Synapse starts. After an error what has started is still
// there, for stop to end.
func startLaboratory(directory string) (*laboratory, error) {
	l := &laboratory{progress: newProgress(), directory: directory, logs: filepath.Join(directory, "log")}
	for _, step := range []func() error{l.prepare, l.startWorld, l.startFrontDoor, l.startHomeserver, l.awaitCertificates} {
		if err := step(); err != nil {
			return l, err
		}
	}
	l.step("ready")
	return l, nil
}

// prepare makes the directories.
func (l *laboratory) prepare() error {
	if _, err := os.Stat(python()); err != nil {
		return fmt.Errorf("synapse is not installed (hint: run integration/setup.sh): %w", err)
	}
	return errors.Join(os.Mkdir(l.directory, 0o755), os.Mkdir(l.logs, 0o755))
}

// startWorld starts the DNS, the authority, the peer and the web page.
func (l *laboratory) startWorld() error {
	var err error
	if l.names, err = startNames(); err != nil {
		return err
	}
	l.stops = append(l.stops, l.names.Close)
	if l.authority, err = startAuthority(l.directory, l.logs); err != nil {
		return err
	}
	l.stops = append(l.stops, l.authority.stop)
	l.roots = l.authority.roots
	if l.peer, err = startPeer(l.directory); err != nil {
		return err
	}
	l.stops = append(l.stops, l.peer.stop)
	if l.page, err = startPage(l.directory); err != nil {
		return err
	}
	l.stops = append(l.stops, l.page.stop)
	return nil
}

func (l *laboratory) startFrontDoor() error {
	l.step("building vestibule")
	binary, err := buildVestibule(l.directory)
	if err != nil {
		return err
	}
	l.step("starting vestibule")
	door := frontDoor{name: "vestibule", address: frontDoorAddress, admin: "127.0.0.1:9180", hosts: []string{pageHost}, sections: pageSections()}
	l.vestibule, err = l.launch(binary, door, application)
	return err
}

// launch starts a front door that obtains its certificates from the authority.
func (l *laboratory) launch(binary string, door frontDoor, of account) (*vestibule, error) {
	proof, err := l.proof(door.site(), of, filepath.Join(l.directory, door.name, "secrets"))
	if err != nil {
		return nil, fmt.Errorf("writing the secrets of %s: %w", door.name, err)
	}
	door.certificates, door.root = l.authority.section(door.site(), proof), l.authority.root
	v, err := launchVestibule(binary, l.directory, l.logs, door)
	if err != nil {
		return nil, err
	}
	l.stops = append(l.stops, v.stop)
	return v, nil
}

func (l *laboratory) awaitCertificates() error {
	l.step("waiting for certificates")
	return l.vestibule.awaitCertificates()
}

func (l *laboratory) startHomeserver() error {
	l.step("starting PostgreSQL and Redis")
	var err error
	l.postgres, err = startPostgres(l.directory, l.logs)
	if l.postgres != nil {
		l.stops = append(l.stops, l.postgres.stop)
	}
	if err != nil {
		return err
	}
	l.redis, err = startRedis(l.directory, l.logs)
	if l.redis != nil {
		l.stops = append(l.stops, l.redis.stop)
	}
	if err != nil {
		return err
	}
	l.step("starting Synapse, %d processes", 1+len(oneOfEach))
	if err := l.postgres.create("hs1"); err != nil {
		return err
	}
	l.synapse, err = startSynapse(python(), l.logs, synapseSettings{
		ServerName: serverName, Address: synapseAddress, Main: mainName, Workers: oneOfEach, Directory: l.directory,
		Postgres: l.postgres.sockets, Database: "hs1", Redis: l.redis.socket,
		Authorities: []string{l.authority.root, l.peer.certificate},
	})
	if l.synapse != nil {
		l.stops = append(l.stops, l.synapse.stop)
	}
	return err
}

// stop ends everything, the last started first.
func (l *laboratory) stop() error {
	var problems []error
	for i := len(l.stops) - 1; i >= 0; i-- {
		problems = append(problems, l.stops[i]())
	}
	return errors.Join(problems...)
}

// python is the interpreter of the virtual environment setup.sh makes.
func python() string { return filepath.Join(root(), ".lab", "venv", "bin", "python") }

// root is the directory of the checkout; tests run in that of their package.
func root() string {
	directory, err := filepath.Abs("..")
	if err != nil {
		panic(err)
	}
	return directory
}
