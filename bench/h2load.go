package main

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// urlsFile lists what h2load asks for, in the directory of the run.
const urlsFile = "urls.txt"

func urls() string {
	var b strings.Builder
	for path := range strings.FieldsSeq(pathsText) {
		fmt.Fprintf(&b, "https://%s%s\n", host, path)
	}
	return b.String()
}

// The ways h2load asks: as many requests under way as the clients of a busy
// server have, over HTTP/1.1 on 64 connections, over HTTP/2 on 16 with 16
// streams each.
var (
	overH1 = []string{"--h1", "--clients=64", "--max-concurrent-streams=1"}
	overH2 = []string{"--clients=16", "--max-concurrent-streams=16"}
)

// h2load asks a target for the paths in turn, until n are answered.
func (b *bench) h2load(ctx context.Context, r *running, over []string, n int) (h2loadReport, error) {
	args := append([]string{"--threads=1", "--requests=" + strconv.Itoa(n), "--connect-to=" + r.Address,
		"--input-file=" + filepath.Join(b.dir, urlsFile),
		"--header=User-Agent: bench", "--header=Accept: application/json", "--header=Authorization: Bearer " + token}, over...)
	output, err := pinned(ctx, b.loadCPU, "h2load", args...).CombinedOutput()
	if err != nil {
		return h2loadReport{}, fmt.Errorf("h2load: %w: %s", err, output)
	}
	report, err := parseH2load(string(output))
	if err != nil {
		return report, err
	}
	return report, report.check(n)
}

// h2loadReport is what h2load prints at the end.
type h2loadReport struct {
	rate float64 // requests per second
	ok   int     // answered with 2xx
	body int     // bytes of all bodies
}

var (
	h2loadRate = regexp.MustCompile(`(?m)^finished in .*, ([0-9.]+) req/s`)
	h2loadOK   = regexp.MustCompile(`(?m)^status codes: ([0-9]+) 2xx`)
	h2loadBody = regexp.MustCompile(`(?m)^traffic: .*\(([0-9]+)\) data`)
)

func parseH2load(output string) (h2loadReport, error) {
	var report h2loadReport
	rate, ok, body := h2loadRate.FindStringSubmatch(output), h2loadOK.FindStringSubmatch(output), h2loadBody.FindStringSubmatch(output)
	if rate == nil || ok == nil || body == nil {
		return report, fmt.Errorf("h2load says what is not understood: %s", output)
	}
	// The expressions let nothing but numbers through.
	report.rate, _ = strconv.ParseFloat(rate[1], 64)
	report.ok, _ = strconv.Atoi(ok[1])
	report.body, _ = strconv.Atoi(body[1])
	return report, nil
}

// check expects n answers of 200, each with the small body.
func (r h2loadReport) check(n int) error {
	if r.ok != n {
		return fmt.Errorf("only %d of %d requests were answered with 200", r.ok, n)
	}
	if want := n * len(small); r.body != want {
		return fmt.Errorf("the bodies of %d answers had %d bytes instead of %d", n, r.body, want)
	}
	return nil
}
