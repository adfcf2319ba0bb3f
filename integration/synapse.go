//go:build integration

package integration

import (
	"embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"
)

const (
	serverName = "hs1.test"
	idHeader   = "X-Lab-Id"
	mainName   = "matrix-synapse"
)

//go:embed synapse
var synapseFiles embed.FS

var synapseTemplates = template.Must(template.ParseFS(synapseFiles, "synapse/*.tmpl"))

// synapse is a homeserver: the main process and its workers.
//
// They are forked from one Python process that has imported everything
// (synapse.app.complement_fork_starter), which takes a third of the time that
// seventeen interpreters take on two cores.
type synapse struct {
	*process
	workers []worker
	logs    string
}

// synapseSettings is what the templates need to know.
type synapseSettings struct {
	ServerName, Address, IDHeader string
	Directory, Postgres, Redis    string
	PeerCA                        string // the file with the certificate of the other homeserver
	Workers                       []worker
}

// startSynapse starts the processes and returns when every one of them serves
// and is connected to the others. python is the virtual environment's.
func startSynapse(python, directory, logs string, db *postgres, cache *redis, other *peer) (*synapse, error) {
	settings := synapseSettings{
		ServerName: serverName, Address: synapseAddress, IDHeader: idHeader,
		Directory: directory, Postgres: db.sockets, Redis: cache.socket, PeerCA: other.certificate, Workers: oneOfEach,
	}
	s := &synapse{workers: oneOfEach, logs: logs}
	if err := s.configure(settings); err != nil {
		return nil, fmt.Errorf("configuring synapse: %w", err)
	}
	key := filepath.Join(filepath.Dir(python), "generate_signing_key")
	if err := command(key, "-o", filepath.Join(directory, "signing.key")); err != nil {
		return nil, err
	}
	ready, err := newReadiness(filepath.Join(directory, "notify.sock"))
	if err != nil {
		return nil, err
	}
	defer ready.close()
	child := exec.Command(python, s.arguments(directory)...)
	child.Dir = directory
	child.Env = append(os.Environ(), "NOTIFY_SOCKET="+ready.path, "PYTHONDONTWRITEBYTECODE=", "https_proxy=", "http_proxy=")
	if s.process, err = startProcess(logs, "synapse", child); err != nil {
		return nil, err
	}
	started := func() error { return errors.Join(ready.count(1+len(s.workers)), s.crashed()) }
	if err := s.await(2*time.Minute, started); err != nil {
		return s, errors.Join(err, s.complaints())
	}
	return s, s.await(20*time.Second, s.connected)
}

// crashed returns errHopeless when a process died: the fork starter goes on
// without it.
func (s *synapse) crashed() error {
	text, err := os.ReadFile(s.log)
	if err == nil && strings.Contains(string(text), "Traceback") {
		return fmt.Errorf("a process crashed: %w", errHopeless)
	}
	return nil
}

// arguments are the fork starter's: a group for each process, separated by "--".
// Of several files the later wins, key by key at the top.
func (s *synapse) arguments(directory string) []string {
	shared := filepath.Join(directory, "shared.yaml")
	common := []string{"-c", shared, "-c", filepath.Join(directory, "limits.yaml")}
	arguments := []string{"-m", "synapse.app.complement_fork_starter", shared, "synapse.app.homeserver"}
	arguments = append(arguments, common...)
	for _, w := range s.workers {
		arguments = append(arguments, "--", w.App)
		arguments = append(arguments, common...)
		arguments = append(arguments, "-c", filepath.Join(directory, w.Name+".yaml"))
	}
	return arguments
}

// configure writes every file the processes read.
func (s *synapse) configure(settings synapseSettings) error {
	write := func(name, template string, data any) error {
		file, err := os.Create(filepath.Join(settings.Directory, name))
		if err != nil {
			return err
		}
		defer file.Close()
		return synapseTemplates.ExecuteTemplate(file, template, data)
	}
	limits, err := synapseFiles.ReadFile("synapse/limits.yaml")
	problems := []error{err,
		os.WriteFile(filepath.Join(settings.Directory, "limits.yaml"), limits, 0o644),
		write("shared.yaml", "shared.yaml.tmpl", settings),
		write(mainName+".log.yaml", "log.yaml.tmpl", map[string]string{"Log": s.logOf(mainName)}),
	}
	for _, w := range s.workers {
		type workerSettings struct {
			synapseSettings
			worker
		}
		problems = append(problems,
			write(w.Name+".yaml", "worker.yaml.tmpl", workerSettings{settings, w}),
			write(w.Name+".log.yaml", "log.yaml.tmpl", map[string]string{"Log": s.logOf(w.Name)}))
	}
	return errors.Join(problems...)
}

// processes are the names of all processes, the main one first.
func (s *synapse) processes() []string {
	names := []string{mainName}
	for _, w := range s.workers {
		names = append(names, w.Name)
	}
	return names
}

func (s *synapse) logOf(name string) string { return filepath.Join(s.logs, name+".log") }

// connected returns nil when every process has joined the replication channel:
// before that a worker serves, but knows nothing of what others write.
func (s *synapse) connected() error {
	for _, name := range s.processes() {
		text, err := os.ReadFile(s.logOf(name))
		if err != nil || !strings.Contains(string(text), "REPLICATE successfully sent") {
			return fmt.Errorf("%s has not joined the replication channel", name)
		}
	}
	return nil
}

// complaints is the end of each log that has an error, as an error.
func (s *synapse) complaints() error {
	var found []error
	for _, name := range s.processes() {
		text, err := os.ReadFile(s.logOf(name))
		if err == nil && (strings.Contains(string(text), " ERROR ") || strings.Contains(string(text), " CRITICAL ")) {
			found = append(found, errors.New(tail(s.logOf(name), 15)))
		}
	}
	return errors.Join(found...)
}

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
