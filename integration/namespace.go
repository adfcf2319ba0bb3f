//go:build integration

package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// namespaceEnv names the namespace a process runs in; it is unset outside.
const namespaceEnv = "VESTIBULE_LABORATORY"

const namespacePrefix = "vestibule-lab-"

// namespace is a network namespace with nothing but loopback, so that ports 53,
// 80, 443 and 8448 are free and names mean what the laboratory's name server
// says. Processes in it have a process namespace too: when the first of them
// ends, however it ends, the kernel ends all others.
type namespace struct {
	name string
}

// directory is where the laboratory keeps its databases, sockets and logs. It
// is short, because the path of a Unix socket must fit in 108 bytes.
func (n namespace) directory() string { return filepath.Join(os.TempDir(), n.name) }

// files is the directory whose contents "ip netns exec" lays over /etc.
func (n namespace) files() string { return filepath.Join("/etc/netns", n.name) }

// newNamespace makes a namespace named after this process, and removes what
// earlier runs left that were killed before they could tidy up.
func newNamespace() (namespace, error) {
	if err := removeStaleNamespaces(); err != nil {
		return namespace{}, err
	}
	n := namespace{name: namespacePrefix + strconv.Itoa(os.Getpid())}
	if err := os.MkdirAll(n.files(), 0o755); err != nil {
		return namespace{}, fmt.Errorf("making the namespace's files: %w", err)
	}
	for name, text := range map[string]string{
		"resolv.conf": "nameserver " + resolverAddress + "\noptions timeout:1 attempts:2\n",
		"hosts":       hostsFile(synapseAddress, oneOfEach, synapseAddress+" "+pageName),
	} {
		if err := os.WriteFile(filepath.Join(n.files(), name), []byte(text), 0o644); err != nil {
			return namespace{}, fmt.Errorf("writing the namespace's %s: %w", name, err)
		}
	}
	if err := command("ip", "netns", "add", n.name); err != nil {
		return namespace{}, err
	}
	if err := command("ip", "-netns", n.name, "link", "set", "lo", "up"); err != nil {
		return namespace{}, errors.Join(err, n.remove())
	}
	return n, nil
}

// remove deletes the namespace and its files, not the laboratory's directory.
func (n namespace) remove() error {
	return errors.Join(command("ip", "netns", "delete", n.name), os.RemoveAll(n.files()))
}

// run runs this same program again, inside, and returns its exit status.
func (n namespace) run() (int, error) {
	arguments := []string{"netns", "exec", n.name, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc"}
	child := exec.Command("ip", append(append(arguments, os.Args[0]), os.Args[1:]...)...)
	child.Env = append(os.Environ(), namespaceEnv+"="+n.name)
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}

	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(interrupts)
	if err := child.Start(); err != nil {
		return 0, fmt.Errorf("entering the namespace: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- child.Wait() }()
	select {
	case <-interrupts:
		child.Process.Kill() // and with it, the kernel kills all inside
		<-done
		return 130, nil
	case err := <-done:
		if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
			return 0, fmt.Errorf("running inside the namespace: %w", err)
		}
		return child.ProcessState.ExitCode(), nil
	}
}

// removeStaleNamespaces removes the namespaces, and the directories, of runs
// whose process is gone.
func removeStaleNamespaces() error {
	var problems []error
	for _, pattern := range []string{"/run/netns/", "/etc/netns/", os.TempDir() + "/"} {
		found, err := filepath.Glob(pattern + namespacePrefix + "*")
		problems = append(problems, err)
		for _, path := range found {
			if !stale(filepath.Base(path)) {
				continue
			}
			if pattern == "/run/netns/" {
				problems = append(problems, command("ip", "netns", "delete", filepath.Base(path)))
			}
			problems = append(problems, os.RemoveAll(path))
		}
	}
	return errors.Join(problems...)
}

// stale says whether the process a namespace is named after is gone.
func stale(name string) bool {
	pid, err := strconv.Atoi(strings.TrimPrefix(name, namespacePrefix))
	return err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

// command runs a program to its end; its error holds what it wrote.
func command(name string, arguments ...string) error {
	output, err := exec.Command(name, arguments...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(arguments, " "), err, strings.TrimSpace(string(output)))
	}
	return nil
}
