//go:build integration

package integration

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// process is a program the laboratory runs until the end. What it writes goes
// to a file.
type process struct {
	name  string
	log   string
	child *exec.Cmd
	end   syscall.Signal // what stop sends; SIGTERM unless set otherwise
	ended chan struct{}  // closed when it has ended
	err   error          // how; read only after ended
}

// startProcess starts child, whose output goes to DIRECTORY/NAME.log.
func startProcess(directory, name string, child *exec.Cmd) (*process, error) {
	p := &process{name: name, log: filepath.Join(directory, name+".log"), child: child, end: syscall.SIGTERM, ended: make(chan struct{})}
	output, err := os.Create(p.log)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	defer output.Close()
	child.Stdout, child.Stderr = output, output
	if err := child.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		p.err = child.Wait()
		close(p.ended)
	}()
	return p, nil
}

// errHopeless in what ready returns makes await give up at once.
var errHopeless = errors.New("no use waiting")

// errEnded stands for the error of a process that ended as if all were well.
var errEnded = errors.New("exit status 0")

// await calls ready until it returns nil, for as long as the process lives, at
// most the given time. Its error holds the end of the process's log.
func (p *process) await(limit time.Duration, ready func() error) error {
	deadline := time.After(limit)
	for {
		problem := ready()
		if problem == nil {
			return nil
		}
		if errors.Is(problem, errHopeless) {
			return fmt.Errorf("%s: %w:\n%s", p.name, problem, tail(p.log, 30))
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended while it started: %w:\n%s", p.name, cmp.Or(p.err, errEnded), tail(p.log, 30))
		case <-deadline:
			return fmt.Errorf("%s is not ready after %v: %w:\n%s", p.name, limit, problem, tail(p.log, 30))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// stop asks the process to end, and kills it when it does not within 10 s.
func (p *process) stop() error {
	p.child.Process.Signal(p.end) // in vain when it has ended already
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		p.child.Process.Kill()
		<-p.ended
		return fmt.Errorf("%s did not end within 10s of %v:\n%s", p.name, p.end, tail(p.log, 30))
	}
	if exit, ok := errors.AsType[*exec.ExitError](p.err); ok && exit.ExitCode() > 0 {
		return fmt.Errorf("%s ended with status %d:\n%s", p.name, exit.ExitCode(), tail(p.log, 30))
	}
	return nil
}

// tail is the last lines of a file, or why it cannot be read.
func tail(path string, lines int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	split := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return fmt.Sprintf("--- end of %s\n%s\n---", path, bytes.Join(split[max(0, len(split)-lines):], []byte("\n")))
}
