//go:build integration

package integration

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// The page is a web client, in the place of Element Web's container: same name,
// same port (MDAD, roles/custom/matrix-client-element).
const (
	pageName     = "matrix-client-element"
	pageUpstream = "http://" + pageName + ":8080"
	pageHost     = "element." + serverName
)

// brokenPath is on Synapse's host and leads to a process that hangs up.
const brokenPath = "/_matrix/client/unstable/test.vestibule/broken"

// page serves the web client's files and remembers what it was asked for.
type page struct {
	directory string
	server    *http.Server

	mu    sync.Mutex
	asked map[string]int // how often, by target
}

// startPage serves a directory that is empty until bundle has filled it.
func startPage(directory string) (*page, error) {
	p := &page{directory: filepath.Join(directory, "page"), asked: map[string]int{}}
	if err := os.Mkdir(p.directory, 0o755); err != nil {
		return nil, fmt.Errorf("starting the web page: %w", err)
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(synapseAddress, "8080"))
	if err != nil {
		return nil, fmt.Errorf("starting the web page: %w", err)
	}
	files := http.FileServer(http.Dir(p.directory))
	p.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.RequestURI == brokenPath {
			panic(http.ErrAbortHandler)
		}
		p.mu.Lock()
		p.asked[r.RequestURI]++
		p.mu.Unlock()
		files.ServeHTTP(w, r)
	})}
	go p.server.Serve(listener)
	return p, nil
}

func (p *page) stop() error { return p.server.Close() }

// bundle puts the web client into the directory, its scripts and the SDK in one
// file.
func (p *page) bundle() error {
	bundler := exec.Command("node_modules/.bin/esbuild", "page/app.js", "--bundle", "--minify", "--format=esm",
		"--define:global=window", "--log-level=warning", "--log-limit=10", "--outfile="+filepath.Join(p.directory, "app.js"))
	bundler.Dir = "clients"
	if output, err := bundler.CombinedOutput(); err != nil {
		return fmt.Errorf("bundling the web page: %w (hint: run integration/setup.sh): %s", err, output)
	}
	for _, name := range []string{"index.html", "style.css"} {
		text, err := os.ReadFile(filepath.Join("clients", "page", name))
		if err != nil {
			return fmt.Errorf("bundling the web page: %w", err)
		}
		if err := os.WriteFile(filepath.Join(p.directory, name), text, 0o644); err != nil {
			return fmt.Errorf("bundling the web page: %w", err)
		}
	}
	return nil
}

// targets are those it was asked for.
func (p *page) targets() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	copied := map[string]int{}
	for target, times := range p.asked {
		copied[target] = times
	}
	return copied
}

// pageSections publish the page twice: under a path of Synapse's host, and on a
// host of its own, from which everything Synapse has is of another origin. The
// second route is for what a browser makes of a process that fails.
func pageSections() []string {
	return []string{
		fmt.Sprintf("element: { path: /element, upstream: %q }", pageUpstream),
		fmt.Sprintf("routes: [{ name: page, hosts: [%s], path_prefix: /, upstreams: [%q] },", pageHost, pageUpstream),
		fmt.Sprintf("  { name: broken, path: %s, upstreams: [%q] }]", brokenPath, pageUpstream),
	}
}
