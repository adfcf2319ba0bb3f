// Bench measures vestibule against nginx, HAProxy and Caddy, which all do the
// same work in the same run.
//
// Each proxy ends TLS on one CPU and forwards what comes, by the same table of
// Matrix endpoints, to one upstream; the upstream and the clients share another
// CPU. The work is a fixed amount, and what counts is the CPU time the proxy
// spent on it, which the kernel accounts for in nanoseconds and which depends
// less on what else the machine does than a rate would. Rounds interleave: all
// proxies do a work one after the other, then the next work, then the next
// round; ratios are taken within a round. An answer that is not the one
// expected fails the measurement, so nobody wins by refusing.
//
// docs/performance.md says what the figures mean. What has to be installed,
// setup.sh installs; it is "make bench" that joins the two.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// run is the program. It starts itself again, pinned to the CPU of the load, as
// the upstream and as the clients.
func run(ctx context.Context, args []string, in io.Reader, out, progress io.Writer) int {
	var err error
	switch {
	case len(args) == 1 && args[0] == asUpstream:
		err = serveUpstream(in, out)
	case len(args) > 1 && args[0] == asLoad:
		err = runLoad(args[1:], out)
	default:
		err = compare(ctx, args, out, progress)
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(progress, "bench:", err)
		return 1
	}
	return 0
}

// compare measures, or takes the results of an earlier run, and prints the tables.
func compare(ctx context.Context, args []string, out, progress io.Writer) error {
	o, err := parseOptions(args, progress)
	if err != nil {
		return err
	}
	var r *results
	if o.from != "" {
		r, err = readResults(o.from)
	} else {
		r, err = measure(ctx, o, progress)
	}
	if r != nil {
		r.print(out, o)
	}
	return err
}
