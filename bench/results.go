package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// results are the measurements of a run, also as lines of JSON in a file, the
// first of which is about the run.
type results struct {
	about        about
	measurements []measurement
	file         *os.File // nil for those of an earlier run
}

// about says what was measured, when and where.
type about struct {
	Date     string
	Machine  string
	Programs []program
	Rounds   int
	Amounts  []string `json:",omitempty"` // flags that change what a figure means
}

// program is a target, or what else takes part, and its version.
type program struct{ Name, Version string }

// measurement is a work that a target did in a round.
type measurement struct {
	Target, Work string
	Round        int
	Values       values `json:",omitempty"`
	Problem      string `json:",omitempty"` // why it does not count
}

// describe is a line about the measurement, for people who wait.
func (m *measurement) describe(w *work) string {
	if m.Problem != "" {
		return fmt.Sprintf("%-10s  %-10s  failed: %s", m.Work, m.Target, m.Problem)
	}
	line := fmt.Sprintf("%-10s  %-10s  %s %s", m.Work, m.Target, number(m.Values[figure]), w.unit)
	if r := m.Values[rate]; r > 0 {
		line += fmt.Sprintf(", %.0f per second, %.0f %% busy", r, 100*m.Values[busy])
	}
	return line
}

func newResults(file string, a about) (*results, error) {
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	return &results{about: a, file: f}, json.NewEncoder(f).Encode(a)
}

func (r *results) add(m measurement) error {
	r.measurements = append(r.measurements, m)
	return json.NewEncoder(r.file).Encode(m)
}

func (r *results) close() error {
	failed := 0
	for _, m := range r.measurements {
		if m.Problem != "" {
			failed++
		}
	}
	err := r.file.Close()
	if failed > 0 {
		return errors.Join(err, fmt.Errorf("%d measurements failed and do not count", failed))
	}
	return err
}

func readResults(file string) (*results, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := &results{}
	d := json.NewDecoder(bufio.NewReader(f))
	if err := d.Decode(&r.about); err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	for d.More() {
		var m measurement
		if err := d.Decode(&m); err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		r.measurements = append(r.measurements, m)
	}
	return r, nil
}

func describeRun(o *options) about {
	a := about{Date: time.Now().Format(time.DateOnly), Machine: machine(), Rounds: o.rounds, Amounts: o.amounts}
	for _, t := range o.targets {
		a.Programs = append(a.Programs, program{t.name, t.describe()})
	}
	if output, err := exec.Command("h2load", "--version").Output(); err == nil {
		a.Programs = append(a.Programs, program{"h2load", strings.TrimSpace(string(output))})
	}
	return a
}

// machine names the processor, the kernel and the distribution.
func machine() string {
	parts := []string{fmt.Sprintf("%d × %s", runtime.NumCPU(), valueIn("/proc/cpuinfo", "model name", ":"))}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		parts = append(parts, "Linux "+strings.TrimSpace(string(release)))
	}
	if name := valueIn("/etc/os-release", "PRETTY_NAME", "="); name != "" {
		parts = append(parts, strings.Trim(name, `"`))
	}
	return strings.Join(parts, ", ")
}

// valueIn finds the value of a key in a file of lines.
func valueIn(file, key, separator string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if k, v, ok := strings.Cut(line, separator); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
