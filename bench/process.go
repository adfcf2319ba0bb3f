package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// pinned prepares a program that runs on one CPU alone, and ends with this one.
func pinned(ctx context.Context, cpu string, program string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "taskset", append([]string{"-c", cpu, program}, args...)...)
	c.Env = append(os.Environ(), "GOMAXPROCS=1")
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

// process is a program under measurement.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// startProcess starts a program; what it writes is appended to a file.
func startProcess(c *exec.Cmd, output string) (*process, error) {
	f, err := os.OpenFile(output, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c.Stdout, c.Stderr = f, f
	if err := c.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: c, ended: make(chan struct{})}
	go func() {
		c.Wait() //nolint:errcheck // it is stopped by a signal, which is an error here
		close(p.ended)
	}()
	return p, nil
}

// stop asks the process to end, and then makes it.
func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have ended
	select {
	case <-p.ended:
	case <-time.After(3 * time.Second):
		p.cmd.Process.Kill() //nolint:errcheck // it may have ended
		<-p.ended
	}
}

// cpu is the CPU time that the process has used so far.
func (p *process) cpu() (time.Duration, error) { return cpuTime(p.cmd.Process.Pid) }

// cpuTime is what all threads of a process have used of CPUs, in user and
// kernel, those that have ended too. The kernel has a clock of it, whose id is
// made of the process's (clock_getcpuclockid(3); Linux,
// include/linux/posix-timers_types.h, CPUCLOCK_SCHED).
func cpuTime(pid int) (time.Duration, error) {
	const cpuclockSched = 2
	var t syscall.Timespec
	clock := ^pid<<3 | cpuclockSched
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&t)), 0); errno != 0 {
		return 0, fmt.Errorf("reading the CPU time of process %d: %w", pid, errno)
	}
	return time.Duration(t.Nano()), nil
}

// memory reads a value such as VmRSS from /proc/PID/status, in KiB.
func (p *process) memory(key string) (float64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if value, ok := strings.CutPrefix(s.Text(), key+":"); ok {
			return strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
		}
	}
	return 0, fmt.Errorf("%s has no %s", f.Name(), key)
}

// resetPeak makes the process's peak of memory, VmHWM, start anew (proc(5), clear_refs).
func (p *process) resetPeak() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte("5"), 0)
}
