package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"vestibule/configs"
)

// TestVestibuleConfiguration: the template makes a configuration without
// mistakes, in which every class has a pool of its own.
func TestVestibuleConfiguration(t *testing.T) {
	b := &bench{options: &options{dir: t.TempDir(), polls: 1}, upstream: &upstreamProcess{address: "127.0.0.1:9"}}
	if err := b.writeShared(); err != nil {
		t.Fatal(err)
	}
	target := vestibuleTarget("own", "v")
	target.lines = []string{"limits: { head: 32KiB }"}
	s, err := b.newSetting(target, &work{logged: true})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.Dir, target.template)
	if err := s.write(target.template, file); err != nil {
		t.Fatal(err)
	}
	cfg, problems := configs.Load(file)
	if strict := problems.Strict(); strict.Failed() {
		t.Fatal(strict)
	}
	if site := cfg.Sites[0]; site.Host != host || len(site.Synapse.Workers) != len(configs.WorkerClasses) {
		t.Errorf("site %s with %d classes of workers", site.Host, len(site.Synapse.Workers))
	}
	if !cfg.Logging.Access || cfg.Limits.Head != 32<<10 {
		t.Errorf("logging %v, limits %v", cfg.Logging, cfg.Limits)
	}
}

// TestRoutes: every path that is asked for has a pattern, so that no proxy has
// less to do because it knows a path by none.
func TestRoutes(t *testing.T) {
	table, pools := routes()
	if len(table) != 107 || len(pools) != 22 {
		t.Errorf("%d patterns and %d pools", len(table), len(pools))
	}
	for path := range strings.FieldsSeq(pathsText) {
		path, _, _ := strings.Cut(path, "?")
		if !matches(table, path) {
			t.Errorf("no pattern matches %s", path)
		}
	}
}

func matches(table []route, path string) bool {
	for _, r := range table {
		if regexp.MustCompile(r.Pattern).MatchString(path) {
			return true
		}
	}
	return false
}
