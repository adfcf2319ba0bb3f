package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// options are what the command line asks for.
type options struct {
	rounds      int
	works       []*work
	targets     []*target
	base        string
	requests    int
	connections int
	transfers   int
	polls       int
	proxyCPU    string
	loadCPU     string
	dir         string
	from        string
	markdown    bool
	profile     int      // seconds, 0 is none
	amounts     []string // the flags given that change what a figure means
}

const usage = `usage: bench [flags]

Measures vestibule against other proxies; "make bench BENCH='[flags]'" also
builds it and installs them. The work that -work chooses from:

%s
Examples:
  bench -rounds 9 -work h1,h2 -targets nginx,vestibule
  bench -work h1,h2 -targets vestibule -also before=/tmp/vestibule-before -base before
  bench -also 'lazy=bin/vestibule;GOGC=400' -also 'small=bin/vestibule;limits: { head: 16KiB }'
  bench -from /tmp/vestibule-bench-1/results.jsonl -markdown

Flags:
`

func parseOptions(args []string, help io.Writer) (*options, error) {
	o := &options{}
	var work, targets, vestibule, caddy string
	var also []*target
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(help)
	fs.Usage = func() {
		fmt.Fprintf(help, usage, describeWorks())
		fs.PrintDefaults()
	}
	fs.IntVar(&o.rounds, "rounds", 5, "`how many` times everything is measured")
	fs.StringVar(&work, "work", "all", "what to measure, by `names` with commas between them")
	fs.StringVar(&targets, "targets", "nginx,haproxy,caddy,vestibule", "whom to measure, by `names` with commas between them")
	fs.StringVar(&vestibule, "vestibule", "bin/vestibule", "the `program` measured as vestibule")
	fs.StringVar(&caddy, "caddy", "bin/caddy", "the `program` measured as caddy")
	fs.Func("also", "measure another vestibule, `NAME=PROGRAM[;…]`; after semicolons lines of configuration, or NAME=VALUE for its environment. May be repeated", func(s string) error {
		t, err := parseAlso(s)
		also = append(also, t)
		return err
	})
	fs.StringVar(&o.base, "base", "nginx", "the `target` that ratios are to; the first one if it is not measured")
	fs.IntVar(&o.requests, "requests", 40000, "`how many` requests in a measurement over h1 or h2")
	fs.IntVar(&o.connections, "handshakes", 2500, "`how many` connections in a measurement of handshakes")
	fs.IntVar(&o.transfers, "transfers", 6, "`how many` bodies of 64 MiB in a measurement of upload or download")
	fs.IntVar(&o.polls, "polls", 5000, "`how many` long polls are parked")
	fs.StringVar(&o.proxyCPU, "proxy-cpu", "0", "the `CPU` of the proxies")
	fs.StringVar(&o.loadCPU, "load-cpu", "1", "the `CPU` of upstream and clients")
	fs.StringVar(&o.dir, "dir", "", "the `directory` for configurations, logs and results; a new one in the directory for temporary files if not given")
	fs.StringVar(&o.from, "from", "", "measure nothing, print the tables of an earlier run's `results.jsonl`")
	fs.BoolVar(&o.markdown, "markdown", false, "print the tables in Markdown, as docs/performance.md has them")
	fs.IntVar(&o.profile, "profile", 0, "after the rounds, take a CPU profile of each vestibule for so many `seconds` of each work that h2load does")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("%q is not a flag (hint: -targets and -work take names with commas between them)", fs.Arg(0))
	}
	fs.Visit(func(f *flag.Flag) {
		if slices.Contains([]string{"requests", "handshakes", "transfers", "polls"}, f.Name) {
			o.amounts = append(o.amounts, fmt.Sprintf("-%s %s", f.Name, f.Value))
		}
	})
	var err, err2 error
	o.works, err = chooseWorks(work)
	o.targets, err2 = chooseTargets(targets, vestibule, caddy)
	o.targets = append(o.targets, also...)
	return o, errors.Join(err, err2, o.check())
}

// check finds what cannot be measured, and settles the base.
func (o *options) check() error {
	for flag, n := range map[string]int{"rounds": o.rounds, "requests": o.requests, "handshakes": o.connections, "transfers": o.transfers, "polls": o.polls} {
		if n < 1 {
			return fmt.Errorf("-%s is %d (hint: it takes 1 or more)", flag, n)
		}
	}
	if o.proxyCPU == o.loadCPU {
		return fmt.Errorf("proxy and load are both on CPU %s, so that neither could be told from the other (hint: give -proxy-cpu and -load-cpu two)", o.proxyCPU)
	}
	seen := map[string]bool{}
	for _, t := range o.targets {
		if seen[t.name] {
			return fmt.Errorf("two targets are called %q (hint: give the one of -also another name)", t.name)
		}
		seen[t.name] = true
	}
	if !seen[o.base] && len(o.targets) > 0 {
		o.base = o.targets[0].name
	}
	return nil
}

// parseAlso reads NAME=PROGRAM;LINE;ENVIRONMENT=VALUE.
func parseAlso(text string) (*target, error) {
	parts := strings.Split(text, ";")
	name, program, ok := strings.Cut(parts[0], "=")
	if !ok || name == "" || program == "" {
		return nil, fmt.Errorf("%q is not NAME=PROGRAM", parts[0])
	}
	t := vestibuleTarget(name, program)
	for _, part := range parts[1:] {
		if key, _, ok := strings.Cut(part, "="); ok && isVariable(key) {
			t.env = append(t.env, part)
		} else {
			t.lines = append(t.lines, part)
		}
	}
	return t, nil
}

// isVariable tells the name of an environment variable from YAML.
func isVariable(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r != '_' && (r < 'A' || r > 'Z') && (r < '0' || r > '9') })
}

func chooseWorks(names string) ([]*work, error) {
	if names == "all" {
		return works, nil
	}
	var chosen []*work
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(works, func(w *work) bool { return w.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no work %q; there are\n%s", name, describeWorks())
		}
		chosen = append(chosen, works[i])
	}
	return chosen, nil
}

func describeWorks() string {
	var b strings.Builder
	for _, w := range works {
		fmt.Fprintf(&b, "  %-12s %s\n", w.name, w.does)
	}
	return b.String()
}

func chooseTargets(names, vestibule, caddy string) ([]*target, error) {
	known := []*target{nginxTarget(), haproxyTarget(), caddyTarget(caddy), vestibuleTarget("vestibule", vestibule)}
	var chosen []*target
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(known, func(t *target) bool { return t.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no target %q (hint: there are nginx, haproxy, caddy and vestibule; -also adds others)", name)
		}
		chosen = append(chosen, known[i])
	}
	return chosen, nil
}
