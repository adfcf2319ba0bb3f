package main

import (
	"bufio"
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The site that all proxies serve.
const (
	serverName = "example.org"
	host       = "matrix.example.org"
)

// target is a proxy to measure.
type target struct {
	name     string
	program  string
	template string   // of its configuration, in templates
	args     []string // CONFIG stands for the file of the configuration
	version  []string // the arguments that make it say its version
	lines    []string // of configuration, further ones
	env      []string
	stdout   bool // its access log goes to standard output or error
	control  bool // it has a control socket
}

func nginxTarget() *target {
	return &target{name: "nginx", program: "nginx", template: "nginx.conf", args: []string{"-c", "CONFIG"}, version: []string{"-v"}}
}

func haproxyTarget() *target {
	return &target{name: "haproxy", program: "haproxy", template: "haproxy.cfg", args: []string{"-db", "-f", "CONFIG"}, version: []string{"-v"}, stdout: true}
}

func caddyTarget(program string) *target {
	return &target{name: "caddy", program: program, template: "Caddyfile", args: []string{"run", "--adapter", "caddyfile", "--config", "CONFIG"}, version: []string{"version"}}
}

func vestibuleTarget(name, program string) *target {
	return &target{name: name, program: program, template: "vestibule.yaml", args: []string{"serve", "--config", "CONFIG"}, version: []string{"version"}, stdout: true, control: true}
}

// describe asks the program for its version.
func (t *target) describe() string {
	output, err := exec.Command(t.program, t.version...).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s, whose version is unknown: %v", t.program, err)
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(output)), "\n")
	line = strings.TrimPrefix(line, "nginx version: ")
	if line == "unknown" { // a Caddy that "go install" built, which go knows about
		line = builtBy(t.program)
	}
	for _, extra := range append(t.env, t.lines...) {
		line += "; " + extra
	}
	return line
}

func builtBy(program string) string {
	file, err := exec.LookPath(program)
	if err != nil {
		return err.Error()
	}
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s %s (%s)", info.Main.Path, info.Main.Version, info.GoVersion)
}

// running is a target that has been started.
type running struct {
	*target
	*process
	setting
}

// start writes the configuration of a target for a work, runs it on the CPU of
// the proxies and waits until it answers.
func (b *bench) start(ctx context.Context, t *target, w *work) (*running, error) {
	s, err := b.newSetting(t, w)
	if err != nil {
		return nil, fmt.Errorf("preparing %s: %w", t.name, err)
	}
	config := filepath.Join(s.Dir, t.template)
	if err := s.write(t.template, config); err != nil {
		return nil, fmt.Errorf("preparing %s: %w", t.name, err)
	}
	var args []string
	for _, arg := range t.args {
		args = append(args, strings.Replace(arg, "CONFIG", config, 1))
	}
	c := pinned(ctx, b.proxyCPU, t.program, args...)
	c.Dir = b.cwd
	c.Env = append(append(c.Env, "HOME="+s.Dir, "XDG_DATA_HOME="+s.Dir, "XDG_CONFIG_HOME="+s.Dir), t.env...)
	output := filepath.Join(s.Dir, "output.log")
	if w.logged && t.stdout {
		output = s.Log
	}
	p, err := startProcess(c, output)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", t.name, err)
	}
	r := &running{target: t, process: p, setting: *s}
	if err := r.await(ctx, output); err != nil {
		p.stop()
		return nil, err
	}
	return r, nil
}

// await waits until the target answers as expected.
func (r *running) await(ctx context.Context, output string) error {
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if err = r.answers(); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.ended:
			return fmt.Errorf("%s ended as soon as it was started (hint: %s)", r.name, lastLine(output))
		case <-time.After(50 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s does not answer: %w (hint: read %s)", r.name, err, output)
}

func (r *running) answers() error {
	c, err := dial(r.Address)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := c.Write([]byte(getRequest("/_matrix/client/versions"))); err != nil {
		return err
	}
	return readAnswer(bufio.NewReader(c), int64(len(small)))
}

func lastLine(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}

// missing says which of the programs that a run needs cannot be found.
func missing(targets []*target, works []*work) error {
	programs := []string{"taskset"}
	for _, t := range targets {
		programs = append(programs, t.program)
	}
	if slices.ContainsFunc(works, func(w *work) bool { return w.over != nil }) {
		programs = append(programs, "h2load")
	}
	var absent []string
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			absent = append(absent, program)
		}
	}
	if len(absent) == 0 {
		return nil
	}
	return fmt.Errorf("cannot find %s (hint: run bench/setup.sh as root on Debian and make build, or leave targets out with -targets)", strings.Join(absent, ", "))
}
