package main

import (
	"strings"
	"testing"
)

// h2loadOutput is what h2load 1.52 prints at the end.
const h2loadOutput = `progress: 100% done
TLS Protocol: TLSv1.3
Application protocol: h2

finished in 1.73s, 23111.73 req/s, 9.13MB/s
requests: 40 total, 40 started, 40 done, 40 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 40 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 15.79KB (16167) total, 6.29KB (6444) headers (space savings 12.00%), 8.52KB (8720) data
                     min         max         mean         sd        +/- sd
time for request:      126us      4.01ms       542us       318us    79.53%
`

func TestH2loadReport(t *testing.T) {
	r, err := parseH2load(h2loadOutput)
	if err != nil || r.rate != 23111.73 || r.ok != 40 || r.body != 40*len(small) {
		t.Fatalf("%+v %v", r, err)
	}
	if err := r.check(40); err != nil {
		t.Error(err)
	}
	refused, err := parseH2load(strings.Replace(h2loadOutput, "40 2xx, 0 3xx, 0 4xx", "38 2xx, 0 3xx, 2 4xx", 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := refused.check(40); err == nil || err.Error() != "only 38 of 40 requests were answered with 200" {
		t.Error(err)
	}
	short, err := parseH2load(strings.Replace(h2loadOutput, "(8720) data", "(8000) data", 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := short.check(40); err == nil || err.Error() != "the bodies of 40 answers had 8000 bytes instead of 8720" {
		t.Error(err)
	}
	if _, err := parseH2load("cannot connect"); err == nil {
		t.Error("what is no report is understood")
	}
}
