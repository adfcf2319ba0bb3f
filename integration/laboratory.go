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
	roots     *x509.CertPool // the front door's CA alone
	names     *ovhtest.Server
	vestibule *vestibule
	postgres  *postgres
	synapse   *synapse
	peer      *peer
	compared  int            // requests held against Synapse's logs so far
	stops     []func() error // in the order of starting
}

// lab is the laboratory of this run; TestMain makes it.
var lab *laboratory

// startLaboratory starts everything in directory, the front door before Synapse:
// a process of Synapse that asks for a well-known too early remembers for an
// hour that there is none. After an error what has started is still there, for
// stop to end.
func startLaboratory(directory string) (*laboratory, error) {
	l := &laboratory{progress: newProgress(), directory: directory, logs: filepath.Join(directory, "log")}
	for _, step := range []func() error{l.prepare, l.startWorld, l.startFrontDoor, l.startHomeserver} {
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

// startWorld starts the DNS and the other homeserver.
func (l *laboratory) startWorld() error {
	var err error
	if l.names, err = startNames(); err != nil {
		return err
	}
	l.stops = append(l.stops, l.names.Close)
	if l.peer, err = startPeer(l.directory); err != nil {
		return err
	}
	l.stops = append(l.stops, l.peer.stop)
	return nil
}

func (l *laboratory) startFrontDoor() error {
	l.step("building vestibule")
	binary, err := buildVestibule(l.directory)
	if err != nil {
		return err
	}
	l.step("starting vestibule")
	door := frontDoor{name: "vestibule", address: frontDoorAddress, admin: "127.0.0.1:9180"}
	l.vestibule, err = startVestibule(binary, l.directory, l.logs, door)
	if l.vestibule != nil {
		l.stops = append(l.stops, l.vestibule.stop)
	}
	if err != nil {
		return err
	}
	l.roots, err = l.vestibule.roots()
	return err
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
	cache, err := startRedis(l.directory, l.logs)
	if cache != nil {
		l.stops = append(l.stops, cache.stop)
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
		Postgres: l.postgres.sockets, Database: "hs1", Redis: cache.socket,
		Authorities: []string{l.vestibule.root, l.peer.certificate},
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
