package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain lets the tests' program start itself as upstream and clients, as the
// program does.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == asUpstream || os.Args[1] == asLoad) {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// TestRun measures a vestibule built from this checkout, by all that needs no
// program of others: the configuration written for it is served, and its
// figures arrive in the table and in the file.
func TestRun(t *testing.T) {
	needTwoCPUs(t)
	vestibule := filepath.Join(t.TempDir(), "vestibule")
	if output, err := exec.Command("go", "build", "-o", vestibule, "vestibule/cmd/vestibule").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	dir := shortDirectory(t)
	var table, progress strings.Builder
	args := []string{"-targets", "vestibule", "-vestibule", vestibule, "-also", "other=" + vestibule + ";limits: { head: 32KiB };GOGC=400", "-dir", dir,
		"-work", "handshakes,download,parked", "-rounds", "1", "-handshakes", "8", "-transfers", "1", "-polls", "16"}
	if status := run(t.Context(), args, nil, &table, &progress); status != 0 {
		t.Fatalf("status %d: %s", status, &progress)
	}
	if got := strings.Count(progress.String(), "round 1 of 1  "); got != 6 {
		t.Errorf("%d lines of progress, not 6: %s", got, &progress)
	}
	for _, part := range []string{"\nhandshakes: CPU µs per connection", "\ndownload: CPU s per GiB", "\nparked: KiB of memory per poll", "other: vestibule", "; GOGC=400; limits: { head: 32KiB }"} {
		if !strings.Contains(table.String(), part) {
			t.Errorf("the table lacks %q: %s", part, &table)
		}
	}
	var again strings.Builder
	if status := run(t.Context(), []string{"-from", filepath.Join(dir, "results.jsonl"), "-base", "vestibule"}, nil, &again, io.Discard); status != 0 || again.String() != table.String() {
		t.Errorf("from the file: status %d, %s\nwant %s", status, &again, &table)
	}
}

// TestRunFails: a target that does not run, or answers what it should not, has
// no figures.
func TestRunFails(t *testing.T) {
	needTwoCPUs(t)
	var progress strings.Builder
	status := run(t.Context(), []string{"-targets", "vestibule", "-vestibule", "false", "-work", "handshakes", "-dir", shortDirectory(t)}, nil, io.Discard, &progress)
	if status != 1 || !strings.Contains(progress.String(), "bench: vestibule ended as soon as it was started") {
		t.Errorf("status %d: %s", status, &progress)
	}
	progress.Reset()
	status = run(t.Context(), []string{"-targets", "caddy", "-caddy", "no-such-program", "-work", "handshakes"}, nil, io.Discard, &progress)
	if status != 1 || !strings.Contains(progress.String(), "bench: cannot find no-such-program (hint: run bench/setup.sh") {
		t.Errorf("status %d: %s", status, &progress)
	}
}

// needTwoCPUs skips where a process cannot be given a CPU of its own.
func needTwoCPUs(t *testing.T) {
	for _, cpu := range []string{"0", "1"} {
		if err := exec.Command("taskset", "-c", cpu, "true").Run(); err != nil {
			t.Skipf("measuring needs taskset and two CPUs: taskset -c %s: %v", cpu, err)
		}
	}
}

// shortDirectory is one that a Unix socket fits in.
func shortDirectory(t *testing.T) string {
	dir, err := os.MkdirTemp("", "b")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestOptions(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"-targets nginx,apache", `there is no target "apache" (hint: there are nginx, haproxy, caddy and vestibule; -also adds others)`},
		{"-work h3", `there is no work "h3"`},
		{"-also vestibule=a", `two targets are called "vestibule" (hint: give the one of -also another name)`},
		{"-also /usr/bin/vestibule", `"/usr/bin/vestibule" is not NAME=PROGRAM`},
		{"-rounds 0", "-rounds is 0 (hint: it takes 1 or more)"},
		{"-proxy-cpu 1", "proxy and load are both on CPU 1"},
		{"nginx", `"nginx" is not a flag`},
	} {
		if _, err := parseOptions(strings.Fields(tt.args), io.Discard); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, not %s", tt.args, err, tt.want)
		}
	}
	o, err := parseOptions([]string{"-targets", "haproxy", "-polls", "7", "-also", "own=v;engine: own;GOGC=400"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	own := o.targets[1]
	if o.base != "haproxy" || own.name != "own" || own.program != "v" || strings.Join(own.lines, "|") != "engine: own" || strings.Join(own.env, "|") != "GOGC=400" || strings.Join(o.amounts, "|") != "-polls 7" {
		t.Errorf("base %q, amounts %q, target %+v", o.base, o.amounts, own)
	}
	if _, err := parseOptions([]string{"-h"}, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-h: %v", err)
	}
}
