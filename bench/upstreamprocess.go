package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// upstreamProcess is the upstream, as seen from here.
type upstreamProcess struct {
	address string
	cmd     *exec.Cmd
	in      io.Writer
	out     *bufio.Reader
}

func startUpstream(ctx context.Context, cpu string) (*upstreamProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := pinned(ctx, cpu, self, asUpstream)
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	u := &upstreamProcess{cmd: c, in: in, out: bufio.NewReader(out)}
	if u.address, err = u.line(); err != nil {
		u.stop()
	}
	return u, err
}

func (u *upstreamProcess) line() (string, error) {
	line, err := u.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("listening to the upstream: %w", err)
	}
	return strings.TrimSpace(line), nil
}

// ask gives a command whose answer is a number.
func (u *upstreamProcess) ask(command string) (int, error) {
	if _, err := fmt.Fprintln(u.in, command); err != nil {
		return 0, fmt.Errorf("asking the upstream: %w", err)
	}
	line, err := u.line()
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(line)
}

func (u *upstreamProcess) stop() {
	u.cmd.Process.Kill() //nolint:errcheck // it may have ended
	u.cmd.Wait()         //nolint:errcheck // it was killed, which is an error here
}
