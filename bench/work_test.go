package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLog: the log is emptied before a measurement, and one that lacks requests
// fails it.
func TestLog(t *testing.T) {
	r := &running{setting: setting{Log: filepath.Join(t.TempDir(), "access.log")}}
	if err := os.WriteFile(r.Log, []byte(strings.Repeat("a request\n", 3)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.checkLog(3); err != nil {
		t.Error(err)
	}
	if err := r.emptyLog(); err != nil {
		t.Fatal(err)
	}
	if err := r.checkLog(3); err == nil || !strings.HasPrefix(err.Error(), "only 0 of 3 requests are in the access log ") {
		t.Error(err)
	}
}
