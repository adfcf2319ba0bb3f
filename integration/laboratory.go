//go:build integration

package integration

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// laboratory is everything that runs while the tests do.
type laboratory struct {
	*progress
	directory string         // of databases, sockets, keys; short, outside the checkout
	logs      string         // of every process
	roots     *x509.CertPool // the front door's CA alone
	vestibule *vestibule
	synapse   *synapse
	peer      *peer
	stops     []func() error // in the order of starting
}

// lab is the laboratory of this run; TestMain makes it.
var lab *laboratory

// startLaboratory starts everything in directory, the front door before Synapse:
// a process of Synapse that asks for a well-known too early remembers for an
// hour that there is none. On an error what has started
// is still there: stop ends it.
func startLaboratory(directory string) (*laboratory, error) {
	l := &laboratory{progress: newProgress(), directory: directory, logs: filepath.Join(directory, "log")}
	if err := errors.Join(os.Mkdir(directory, 0o755), os.Mkdir(l.logs, 0o755)); err != nil {
		return l, fmt.Errorf("making the laboratory's directory: %w", err)
	}
	names, err := startNameServer()
	if err != nil {
		return l, err
	}
	l.stops = append(l.stops, names.stop)

	if l.peer, err = startPeer(directory); err != nil {
		return l, err
	}
	l.stops = append(l.stops, l.peer.stop)

	l.step("building vestibule")
	binary, err := buildVestibule(directory)
	if err != nil {
		return l, err
	}
	l.step("starting vestibule")
	door := frontDoor{name: "vestibule", address: frontDoorAddress, admin: "127.0.0.1:9180"}
	if l.vestibule, err = startVestibule(binary, directory, l.logs, door); l.vestibule != nil {
		l.stops = append(l.stops, l.vestibule.stop)
	}
	if err != nil {
		return l, err
	}
	if l.roots, err = l.vestibule.roots(); err != nil {
		return l, err
	}
	l.step("starting PostgreSQL and Redis")
	db, err := startPostgres(directory, l.logs)
	if db != nil {
		l.stops = append(l.stops, db.stop)
	}
	if err != nil {
		return l, err
	}
	cache, err := startRedis(directory, l.logs)
	if cache != nil {
		l.stops = append(l.stops, cache.stop)
	}
	if err != nil {
		return l, err
	}

	l.step("starting Synapse, %d processes", 1+len(oneOfEach))
	if l.synapse, err = startSynapse(python(), directory, l.logs, db, cache, l.peer); l.synapse != nil {
		l.stops = append(l.stops, l.synapse.stop)
	}
	if err != nil {
		return l, err
	}
	l.step("ready")
	return l, nil
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
