package main

import (
	"fmt"
	"net/http"
	"runtime/pprof"
	"strconv"
	"time"
)

// A CPU profile takes this long if the question does not say, and at most.
const (
	profileSeconds    = 30
	maxProfileSeconds = 300
)

// handleProfiles adds what "go tool pprof" reads, under the paths of
// net/http/pprof. That package is not imported: it adds itself to
// http.DefaultServeMux, and these are for the control socket alone. Profiles hold
// stacks and counts, nothing of requests.
func handleProfiles(mux *http.ServeMux) {
	mux.HandleFunc("GET /debug/pprof/profile", serveCPUProfile)
	mux.HandleFunc("GET /debug/pprof/{name}", serveProfile)
}

// serveCPUProfile samples for ?seconds=N, or until the client leaves.
func serveCPUProfile(w http.ResponseWriter, r *http.Request) {
	seconds := profileSeconds
	if text := r.URL.Query().Get("seconds"); text != "" {
		var err error
		if seconds, err = strconv.Atoi(text); err != nil || seconds < 1 || seconds > maxProfileSeconds {
			http.Error(w, fmt.Sprintf("seconds is %q (hint: 1 to %d)", text, maxProfileSeconds), http.StatusBadRequest)
			return
		}
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := pprof.StartCPUProfile(w); err != nil {
		http.Error(w, err.Error()+" (hint: wait until the other has ended)", http.StatusConflict)
		return
	}
	defer pprof.StopCPUProfile() // which writes it
	select {
	case <-r.Context().Done():
	case <-time.After(time.Duration(seconds) * time.Second):
	}
}

// serveProfile gives one of runtime/pprof's, such as heap or goroutine; with
// ?debug=1, or for goroutines 2, as text.
func serveProfile(w http.ResponseWriter, r *http.Request) {
	profile := pprof.Lookup(r.PathValue("name"))
	if profile == nil {
		http.Error(w, "there is no such profile (hint: profile, heap, allocs, goroutine, block, mutex or threadcreate)", http.StatusNotFound)
		return
	}
	debug, err := strconv.Atoi(r.URL.Query().Get("debug"))
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err != nil || debug == 0 {
		debug = 0
		w.Header().Set("Content-Type", "application/octet-stream")
	}
	profile.WriteTo(w, debug) //nolint:errcheck // fails only when the client has left
}
