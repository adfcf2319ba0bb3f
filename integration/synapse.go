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
	"strconv"
	"strings"
	"syscall"
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

// synapse is a homeserver: the main process and its workers, if any.
//
// They are forked from one Python process that has imported everything
// (synapse.app.complement_fork_starter), which takes a third of the time that
// seventeen interpreters take on two cores.
type synapse struct {
	*process
	python    string // of the virtual environment
	address   string
	directory string
	logs      string
	general   []string // the files that every process reads
	workers   []worker
}

// synapseSettings is what the templates need to know.
type synapseSettings struct {
	ServerName, Address string
	Main                string   // the host by which the front door knows the main process
	Directory           string   // of its files, made by startSynapse if need be
	Postgres, Database  string   // the directory of the server's socket, and the name
	Redis               string   // its socket; "" without workers
	RedisDatabase       int      // one for each homeserver
	MAS, MASSecret      string   // the URL of what login is delegated to; "" for nothing
	Authorities         []string // the files with the CAs it trusts in federation
	Workers             []worker
	IDHeader            string // set by startSynapse
}

// startSynapse starts the processes, whose logs go to the directory logs, and
// returns when every one of them serves and is connected to the others. python
// is the virtual environment's.
func startSynapse(python, logs string, settings synapseSettings) (*synapse, error) {
	settings.IDHeader = idHeader
	s := &synapse{python: python, address: settings.Address, directory: settings.Directory, logs: logs, workers: settings.Workers}
	s.general = []string{"shared.yaml", "limits.yaml", "registration.yaml"}
	if settings.MAS != "" {
		s.general = s.general[:2]
	}
	if err := s.configure(settings); err != nil {
		return nil, fmt.Errorf("configuring synapse: %w", err)
	}
	key := filepath.Join(filepath.Dir(python), "generate_signing_key")
	if err := command(key, "-o", filepath.Join(s.directory, "signing.key")); err != nil {
		return nil, err
	}
	ready, err := newReadiness(filepath.Join(s.directory, "notify.sock"))
	if err != nil {
		return nil, err
	}
	defer ready.close()
	child := exec.Command(python, s.arguments()...)
	child.Dir = s.directory
	child.Env = append(withoutProxy(), "NOTIFY_SOCKET="+ready.path)
	if s.process, err = startProcess(s.logs, "synapse", child); err != nil {
		return nil, err
	}
	started := func() error { return errors.Join(ready.count(1+len(s.workers)), s.crashed()) }
	if err := s.await(2*time.Minute, started); err != nil {
		return s, errors.Join(err, s.complaints())
	}
	if len(s.workers) == 0 {
		return s, nil
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
func (s *synapse) arguments() []string {
	arguments := []string{"-m", "synapse.app.complement_fork_starter", filepath.Join(s.directory, "shared.yaml")}
	arguments = append(append(arguments, "synapse.app.homeserver"), s.configurations(worker{})...)
	for _, w := range s.workers {
		arguments = append(append(arguments, "--", w.App), s.configurations(w)...)
	}
	return arguments
}

// configurations are the files a process reads; those of the zero worker are
// the main process's. The later file wins, key by key at the top.
func (s *synapse) configurations(w worker) []string {
	var files []string
	for _, name := range s.general {
		files = append(files, "-c", filepath.Join(s.directory, name))
	}
	if w.Name != "" {
		files = append(files, "-c", filepath.Join(s.directory, w.Name+".yaml"))
	}
	return files
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
	if err := errors.Join(os.MkdirAll(s.directory, 0o755), os.MkdirAll(s.logs, 0o755)); err != nil {
		return err
	}
	problems := []error{
		s.copyPlain("limits.yaml"), s.copyPlain("registration.yaml"),
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

// copyPlain copies a file that is the same for all.
func (s *synapse) copyPlain(name string) error {
	text, err := synapseFiles.ReadFile("synapse/" + name)
	return errors.Join(err, os.WriteFile(filepath.Join(s.directory, name), text, 0o644))
}

// withoutProxy is the environment of a program that finds all it needs on
// loopback.
func withoutProxy() []string {
	return append(os.Environ(), "http_proxy=", "https_proxy=", "HTTP_PROXY=", "HTTPS_PROXY=")
}

// halt ends one process, as an administrator who restarts it would.
func (s *synapse) halt(name string) error {
	pid, err := s.pid(name)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("ending %s: %w", name, err)
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if _, err := s.pid(name); err != nil {
			return nil
		}
	}
	return fmt.Errorf("%s (process %d) does not end", name, pid)
}

// pid is the process that writes the log of that name. What the fork starter
// started has the same command line everywhere.
func (s *synapse) pid(name string) (int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		if target, err := os.Readlink(file); err == nil && target == s.logOf(name) {
			return strconv.Atoi(strings.Split(file, "/")[2])
		}
	}
	return 0, fmt.Errorf("%s does not run", name)
}

// revive starts a worker that was halted and returns when it listens. It has a
// Python of its own now, which the caller stops.
func (s *synapse) revive(w worker) (*process, error) {
	child := exec.Command(s.python, append([]string{"-m", w.App}, s.configurations(w)...)...)
	child.Dir = s.directory
	child.Env = withoutProxy()
	p, err := startProcess(s.logs, w.Name+"-revived", child)
	if err != nil {
		return nil, err
	}
	return p, p.await(time.Minute, func() error {
		connection, err := net.Dial("tcp", net.JoinHostPort(s.address, strconv.Itoa(w.Port)))
		if err == nil {
			connection.Close()
		}
		return err
	})
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
