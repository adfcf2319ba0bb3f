package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// work is something that all targets do, the same amount of it.
type work struct {
	name   string
	does   string // for people
	unit   string // of the figure
	logged bool   // with an access log
	fresh  bool   // each time with a process just started

	// How it is done: by h2load with these arguments, or else as measure does.
	over    []string
	measure func(context.Context, *bench, *running) (values, error)
}

// do makes a target do the work.
func (w *work) do(ctx context.Context, b *bench, r *running) (values, error) {
	if w.over != nil {
		return b.ask(ctx, r, w.over, b.requests)
	}
	return w.measure(ctx, b, r)
}

// values are what a measurement found: the figure, in the unit of the work, and
// others beside it.
type values map[string]float64

// The keys of values.
const (
	figure   = "figure"
	rate     = "rate"     // requests, connections or MiB per second
	busy     = "busy"     // the part of the time that the proxy's CPU was busy
	peakMiB  = "peak_mib" // of resident memory
	idleMiB  = "idle_mib" // resident before
	settled  = "settled"  // the figure three seconds later
	released = "released" // CPU µs to answer a poll and end its connection
)

var works = []*work{
	{name: "h1", does: "requests over HTTP/1.1, 64 connections that are kept", unit: "CPU µs per request", over: overH1},
	{name: "h2", does: "requests over HTTP/2, 16 connections of 16 streams", unit: "CPU µs per request", over: overH2},
	{name: "h1-logged", does: "as h1, each request written to a log", unit: "CPU µs per request", logged: true, over: overH1},
	{name: "h2-logged", does: "as h2, each request written to a log", unit: "CPU µs per request", logged: true, over: overH2},
	{name: "handshakes", does: "new connections, each with a full TLS handshake and a request", unit: "CPU µs per connection", measure: handshakes},
	{name: "upload", does: "uploads of 64 MiB, on one connection", unit: "CPU s per GiB", measure: transfer("upload")},
	{name: "download", does: "downloads of 64 MiB, on one connection", unit: "CPU s per GiB", measure: transfer("download")},
	{name: "parked", does: "long polls that wait, each on a connection of its own", unit: "KiB of memory per poll", fresh: true, measure: parked},
}

// spend measures the CPU time that the target spends on a load.
func spend(r *running, load func() error) (time.Duration, error) {
	before, err := r.cpu()
	if err != nil {
		return 0, err
	}
	if err := load(); err != nil {
		return 0, err
	}
	after, err := r.cpu()
	return after - before, err
}

// ask measures n requests made by h2load.
func (b *bench) ask(ctx context.Context, r *running, over []string, n int) (values, error) {
	if err := r.emptyLog(); err != nil {
		return nil, err
	}
	var report h2loadReport
	spent, err := spend(r, func() (err error) {
		report, err = b.h2load(ctx, r, over, n)
		return err
	})
	if err != nil {
		return nil, err
	}
	each := spent.Seconds() / float64(n)
	return values{figure: each * 1e6, rate: report.rate, busy: each * report.rate}, r.checkLog(n)
}

// emptyLog truncates the access log, to which the target appends.
func (r *running) emptyLog() error {
	if r.Log == "" {
		return nil
	}
	return os.Truncate(r.Log, 0)
}

// checkLog expects the access log to have n lines, after a while.
func (r *running) checkLog(n int) error {
	if r.Log == "" {
		return nil
	}
	lines := 0
	for range 20 {
		text, err := os.ReadFile(r.Log)
		if err != nil {
			return err
		}
		if lines = bytes.Count(text, []byte("\n")); lines >= n {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("only %d of %d requests are in the access log %s", lines, n, r.Log)
}

func handshakes(ctx context.Context, b *bench, r *running) (values, error) {
	var report loadReport
	spent, err := spend(r, func() (err error) {
		report, err = b.load(ctx, r, "handshakes", b.connections)
		return err
	})
	if err != nil {
		return nil, err
	}
	n := float64(b.connections)
	return values{figure: spent.Seconds() * 1e6 / n, rate: n / report.Seconds, busy: spent.Seconds() / report.Seconds}, nil
}

func transfer(kind string) func(context.Context, *bench, *running) (values, error) {
	return func(ctx context.Context, b *bench, r *running) (values, error) {
		if err := r.resetPeak(); err != nil {
			return nil, err
		}
		var report loadReport
		spent, err := spend(r, func() (err error) {
			report, err = b.load(ctx, r, kind, b.transfers)
			return err
		})
		if err != nil {
			return nil, err
		}
		peak, err := r.memory("VmHWM")
		mib := float64(b.transfers) * bulk / (1 << 20)
		return values{figure: spent.Seconds() * 1024 / mib, rate: mib / report.Seconds, busy: spent.Seconds() / report.Seconds, peakMiB: peak / 1024}, err
	}
}

// load runs the clients of load.go and expects all to succeed.
func (b *bench) load(ctx context.Context, r *running, kind string, count int) (loadReport, error) {
	c, err := b.loadCommand(ctx, r, kind, count)
	if err != nil {
		return loadReport{}, err
	}
	output, err := c.Output()
	if err != nil {
		return loadReport{}, fmt.Errorf("running the clients: %w", err)
	}
	return parseLoad(output, count)
}

func (b *bench) loadCommand(ctx context.Context, r *running, kind string, count int) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := pinned(ctx, b.loadCPU, self, asLoad, kind, "-address", r.Address, "-count", fmt.Sprint(count))
	c.Stderr = os.Stderr
	return c, nil
}

func parseLoad(output []byte, count int) (loadReport, error) {
	var report loadReport
	if err := json.Unmarshal(output, &report); err != nil {
		return report, fmt.Errorf("reading the report of the clients: %w", err)
	}
	if report.Done != count {
		return report, fmt.Errorf("only %d of %d were answered: %s", report.Done, count, report.Problem)
	}
	return report, nil
}
