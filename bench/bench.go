package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// bench is a run.
type bench struct {
	*options
	cwd      string // in which the targets run, for the programs' relative names
	upstream *upstreamProcess
	progress io.Writer
	results  *results

	plain, logged map[string]*running // what runs for all the rounds, by name
}

// spare is how many connections a proxy takes beside the polls, and keeps to
// the upstream.
const spare = 2000

// openFiles is how many descriptors a proxy needs: two for each connection.
func (b *bench) openFiles() int { return 2*b.polls + 2*spare }

// measure makes a whole run. What was measured is returned also when the run
// fails or is interrupted.
func measure(ctx context.Context, o *options, progress io.Writer) (*results, error) {
	// Debian has the servers in a directory where not everybody looks.
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin"); err != nil {
		return nil, err
	}
	if err := missing(o.targets, o.works); err != nil {
		return nil, err
	}
	b := &bench{options: o, progress: progress, plain: map[string]*running{}, logged: map[string]*running{}}
	if err := b.prepare(ctx); err != nil {
		return nil, err
	}
	defer b.upstream.stop()
	defer b.stopAll()
	err := b.run(ctx)
	fmt.Fprintf(progress, "results: %s\n", b.results.file.Name())
	return b.results, errors.Join(err, b.results.close())
}

// prepare makes the directory of the run and starts the upstream.
func (b *bench) prepare(ctx context.Context) (err error) {
	if err := allowOpenFiles(uint64(b.openFiles())); err != nil {
		return err
	}
	if b.cwd, err = os.Getwd(); err != nil {
		return err
	}
	if b.dir == "" {
		b.dir, err = os.MkdirTemp("", "vestibule-bench-")
	} else if err = os.MkdirAll(b.dir, 0o755); err == nil {
		b.dir, err = filepath.Abs(b.dir)
	}
	if err != nil {
		return fmt.Errorf("making the directory of the run: %w", err)
	}
	if err := b.writeShared(); err != nil {
		return err
	}
	if b.results, err = newResults(filepath.Join(b.dir, "results.jsonl"), describeRun(b.options)); err != nil {
		return err
	}
	b.upstream, err = startUpstream(ctx, b.loadCPU)
	return err
}

// allowOpenFiles raises the limit that the proxies and the clients inherit.
func allowOpenFiles(n uint64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur, limit.Max = max(limit.Cur, n), max(limit.Max, n)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("allowing %d open files: %w (hint: run as root, after \"ulimit -Hn %d\", or park fewer with -polls)", n, err, n)
	}
	return nil
}

// run starts what all rounds need, warms it up and measures the rounds.
func (b *bench) run(ctx context.Context) error {
	if err := b.startAll(ctx); err != nil {
		return err
	}
	if err := b.warmUp(ctx); err != nil {
		return err
	}
	for round := range b.rounds {
		for _, w := range b.works {
			if err := b.everybody(ctx, w, round); err != nil {
				return err
			}
		}
	}
	if b.profile > 0 {
		return b.profiles(ctx)
	}
	return nil
}

func (b *bench) startAll(ctx context.Context) (err error) {
	for _, w := range b.works {
		if w.fresh {
			continue
		}
		kept := b.kept(w)
		for _, t := range b.targets {
			if kept[t.name] != nil {
				continue
			}
			if kept[t.name], err = b.start(ctx, t, w); err != nil {
				delete(kept, t.name)
				return err
			}
		}
	}
	return nil
}

// kept are the processes that do a work in all rounds.
func (b *bench) kept(w *work) map[string]*running {
	if w.logged {
		return b.logged
	}
	return b.plain
}

func (b *bench) stopAll() {
	for _, kept := range []map[string]*running{b.plain, b.logged} {
		for _, r := range kept {
			r.stop()
		}
	}
}

// warmUp makes each target answer every path some times before anything counts,
// which opens its connections to the upstream. A target that answers otherwise
// than expected is not worth measuring.
func (b *bench) warmUp(ctx context.Context) error {
	for _, w := range b.works {
		if w.over == nil {
			continue
		}
		for _, t := range b.targets {
			if _, err := b.ask(ctx, b.kept(w)[t.name], w.over, max(b.requests/5, 1)); err != nil {
				return fmt.Errorf("warming %s up for %s: %w", t.name, w.name, err)
			}
		}
	}
	return nil
}

// everybody lets all targets do a work, in each round beginning with the next.
func (b *bench) everybody(ctx context.Context, w *work, round int) error {
	first := round % len(b.targets)
	for _, t := range slices.Concat(b.targets[first:], b.targets[:first]) {
		v, err := b.once(ctx, w, t)
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		m := measurement{Target: t.name, Work: w.name, Round: round, Values: v}
		if err != nil {
			m.Problem = err.Error()
		}
		if err := b.results.add(m); err != nil {
			return err
		}
		fmt.Fprintf(b.progress, "round %d of %d  %s\n", round+1, b.rounds, m.describe(w))
	}
	return nil
}

// once measures a work of a target, in a process of its own if that is asked for.
func (b *bench) once(ctx context.Context, w *work, t *target) (values, error) {
	if !w.fresh {
		return w.do(ctx, b, b.kept(w)[t.name])
	}
	r, err := b.start(ctx, t, w)
	if err != nil {
		return nil, err
	}
	defer func() {
		r.stop()
		time.Sleep(200 * time.Millisecond) // for the kernel to close the connections
	}()
	return w.do(ctx, b, r)
}
