package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"
)

// parked measures how much resident memory a long poll takes that waits.
func parked(ctx context.Context, b *bench, r *running) (values, error) {
	time.Sleep(500 * time.Millisecond) // until what it does at the start is done
	idle, err := r.memory("VmRSS")
	if err != nil {
		return nil, err
	}
	p, err := b.park(ctx, r)
	if err != nil {
		return nil, err
	}
	full, err := r.memory("VmRSS")
	time.Sleep(3 * time.Second)
	later, err2 := r.memory("VmRSS")
	spent, err3 := spend(r, p.release)
	n := float64(b.polls)
	return values{
		figure: (full - idle) / n, settled: (later - idle) / n, idleMiB: idle / 1024,
		released: spent.Seconds() * 1e6 / n,
	}, errors.Join(err, err2, err3)
}

// polls are long polls that wait.
type polls struct {
	bench  *bench
	load   *exec.Cmd
	ended  chan error // of the clients
	output *bytes.Buffer
}

// park opens the polls and returns when all of them wait at the upstream.
func (b *bench) park(ctx context.Context, r *running) (*polls, error) {
	c, err := b.loadCommand(ctx, r, "parked", b.polls)
	if err != nil {
		return nil, err
	}
	p := &polls{bench: b, load: c, ended: make(chan error, 1), output: &bytes.Buffer{}}
	c.Stdout = p.output
	if err := c.Start(); err != nil {
		return nil, err
	}
	go func() { p.ended <- c.Wait() }()
	if err := p.await(ctx); err != nil {
		c.Process.Kill() //nolint:errcheck // it may have ended
		return nil, err
	}
	return p, nil
}

func (p *polls) await(ctx context.Context) error {
	n := 0
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); {
		var err error
		if n, err = p.bench.upstream.ask("parked"); err != nil {
			return err
		}
		if n == p.bench.polls {
			return sleep(ctx, 500*time.Millisecond)
		}
		select {
		case err := <-p.ended:
			_, err2 := parseLoad(p.output.Bytes(), p.bench.polls)
			return fmt.Errorf("the clients ended before all polls were parked: %w", errors.Join(err, err2))
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return fmt.Errorf("only %d of %d polls reached the upstream", n, p.bench.polls)
}

// release lets the upstream answer, and returns when all answers have arrived.
func (p *polls) release() error {
	if _, err := p.bench.upstream.ask("release"); err != nil {
		return err
	}
	if err := <-p.ended; err != nil {
		return fmt.Errorf("running the clients: %w", err)
	}
	_, err := parseLoad(p.output.Bytes(), p.bench.polls)
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
