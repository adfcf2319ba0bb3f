package main

import (
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// TestFetchProfile: what the control socket gives is in the file, and a refusal
// is an error.
func TestFetchProfile(t *testing.T) {
	dir := shortDirectory(t)
	socket, file := filepath.Join(dir, "control.sock"), filepath.Join(dir, "cpu.pprof")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // ends with the listener
		if r.URL.RequestURI() != "/debug/pprof/profile?seconds=7" {
			http.Error(w, "another is being taken", http.StatusConflict)
			return
		}
		io.WriteString(w, "samples")
	}))
	if err := fetchProfile(t.Context(), socket, 7, file); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(file); string(text) != "samples" {
		t.Errorf("%q %v", text, err)
	}
	if err := fetchProfile(t.Context(), socket, 8, file); err == nil || err.Error() != "it answers 409 Conflict: another is being taken\n" {
		t.Errorf("a refusal: %v", err)
	}
}
