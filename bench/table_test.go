package main

import (
	"strings"
	"testing"
)

// sample is a run in which the machine was busy in the second round.
func sample() *results {
	r := &results{about: about{Date: "2026-01-02", Machine: "2 × CPU", Rounds: 3, Amounts: []string{"-requests 10"}, Programs: []program{{"nginx", "nginx/1"}, {"vestibule", "vestibule 1"}, {"h2load", "h2load 1"}}}}
	add := func(target, work string, round int, v values) {
		r.measurements = append(r.measurements, measurement{Target: target, Work: work, Round: round, Values: v})
	}
	for round, us := range []float64{40, 80, 44} {
		add("nginx", "h1", round, values{figure: us, rate: 20000, busy: 0.9})
		add("vestibule", "h1", round, values{figure: us * 1.5, rate: 15000, busy: 0.95})
	}
	add("vestibule", "parked", 0, values{figure: 40, settled: 41, idleMiB: 17, released: 90})
	r.measurements = append(r.measurements, measurement{Target: "vestibule", Work: "h1", Round: 3, Values: values{figure: 1}, Problem: "refused"})
	return r
}

const wantText = `
2026-01-02, 2 × CPU, 3 rounds, -requests 10
nginx: nginx/1
vestibule: vestibule 1
h2load: h2load 1

h1: CPU µs per request (requests over HTTP/1.1, 64 connections that are kept)
             median  least to most  / nginx  least to most  per second  busy
  nginx      44.0    40.0 to 80.0   1                       20000       0.90
  vestibule  66.0    60.0 to 120    1.50     1.50 to 1.50   15000       0.95

parked: KiB of memory per poll (long polls that wait, each on a connection of its own)
             median  least to most  / nginx  least to most  3 s later  MiB before  CPU µs to end
  vestibule  40.0    40.0 to 40.0                           41.0       17          90

goals
                     at most       median  least to most  
  vestibule  h1      0.80 × nginx  1.50    1.50 to 1.50   missed
  vestibule  parked  20.0 KiB      40.0    40.0 to 40.0   missed
`

const wantMarkdown = `
- 2026-01-02, 2 × CPU, 3 rounds, -requests 10
- nginx: nginx/1
- vestibule: vestibule 1
- h2load: h2load 1

**h1: CPU µs per request (requests over HTTP/1.1, 64 connections that are kept)**

|  | median | least to most | / vestibule | least to most | per second | busy |
|---|---|---|---|---|---|---|
| nginx | 44.0 | 40.0 to 80.0 | 0.67 | 0.67 to 0.67 | 20000 | 0.90 |
| vestibule | 66.0 | 60.0 to 120 | 1 |  | 15000 | 0.95 |
`

// TestTables: ratios are those within a round, so that a round in which all was
// slow changes none; a measurement that failed has no part in it.
func TestTables(t *testing.T) {
	var text, markdown strings.Builder
	sample().print(&text, &options{base: "nginx"})
	if text.String() != wantText {
		t.Errorf("got %s\nwant %s", &text, wantText)
	}
	sample().print(&markdown, &options{base: "vestibule", markdown: true})
	if !strings.HasPrefix(markdown.String(), wantMarkdown) {
		t.Errorf("got %s\nwant %s", &markdown, wantMarkdown)
	}
}

func TestStatistic(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   statistic
	}{
		{nil, statistic{}},
		{[]float64{3}, statistic{3, 3, 3}},
		{[]float64{9, 1, 5}, statistic{5, 1, 9}},
		{[]float64{9, 1, 5, 7}, statistic{6, 1, 9}},
	} {
		if got := statisticOf(tt.values); got != tt.want {
			t.Errorf("%v: %v, not %v", tt.values, got, tt.want)
		}
	}
}
