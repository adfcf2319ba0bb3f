//go:build integration

package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// postgres is a PostgreSQL server on a Unix socket, which forgets everything at
// a crash and is fast in return.
type postgres struct {
	*process
	sockets string
}

// startPostgres initialises a cluster below directory, which must be readable
// by the user postgres (the server refuses to run as root), and returns when it
// takes statements.
func startPostgres(directory, logs string) (*postgres, error) {
	programs, err := postgresPrograms()
	if err != nil {
		return nil, err
	}
	credential, err := credentialOf("postgres")
	if err != nil {
		return nil, err
	}
	data := filepath.Join(directory, "postgres")
	if err := errors.Join(os.Mkdir(data, 0o700), os.Chown(data, int(credential.Uid), int(credential.Gid))); err != nil {
		return nil, fmt.Errorf("starting postgres: %w", err)
	}
	as := func(program string, arguments ...string) *exec.Cmd {
		child := exec.Command(filepath.Join(programs, program), arguments...)
		child.Dir = "/"
		child.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
		return child
	}
	initialise := as("initdb", "-D", data, "--locale=C", "--encoding=UTF8", "-A", "trust", "-U", "postgres", "--no-sync")
	if output, err := initialise.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initialising postgres: %w: %s", err, output)
	}
	server := as("postgres", "-D", data,
		"-c", "listen_addresses=", "-c", "unix_socket_directories="+data, "-c", "max_connections=300",
		"-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
	child, err := startProcess(logs, "postgres", server)
	if err != nil {
		return nil, err
	}
	child.end = syscall.SIGINT // SIGTERM would wait for clients to leave
	p := &postgres{process: child, sockets: data}
	return p, p.await(30*time.Second, func() error {
		return p.execute("SELECT 1")
	})
}

// create makes a database as Synapse wants it.
func (p *postgres) create(database string) error {
	return p.execute("CREATE DATABASE " + database + " ENCODING UTF8 LOCALE 'C' TEMPLATE template0")
}

// execute runs one statement as the superuser.
func (p *postgres) execute(statement string) error {
	return command("psql", "-h", p.sockets, "-U", "postgres", "-d", "postgres", "-qc", statement)
}

// postgresPrograms is the directory of the newest server installed; Debian
// keeps each version in its own and none in PATH.
func postgresPrograms() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("no PostgreSQL server is installed (hint: run integration/setup.sh)")
	}
	slices.Sort(found)
	return filepath.Dir(found[len(found)-1]), nil
}

func credentialOf(name string) (*syscall.Credential, error) {
	account, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("looking up the user %s: %w", name, err)
	}
	uid, uidErr := strconv.ParseUint(account.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(account.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(uidErr, gidErr)
}
