package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"vestibule/configs"
)

// control answers on the control socket: what changes a running server goes
// through it, for whoever may open the file.
type control struct {
	path     string
	listener net.Listener
	server   *http.Server
}

// listenControl opens the socket, mode 0600. A socket that nobody answers on,
// as a killed process leaves, is replaced.
func listenControl(path string, s *service) (*control, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("opening the control socket: %w (hint: give `control:` a path in a directory vestibule may write to)", err)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return nil, fmt.Errorf("opening the control socket %s: another vestibule answers on it (hint: stop it, or give this one another path with `control:`)", path)
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		os.Remove(path)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("opening the control socket: %w (hint: give `control:` a path in a directory vestibule may write to)", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("opening the control socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /reload", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.reload()) })
	mux.Handle("GET /livez", s.admin)
	mux.Handle("GET /readyz", s.admin)
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.status()) })
	mux.HandleFunc("GET /certificates", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.certs.Certificates()) })
	mux.HandleFunc("POST /certificates/obtain", func(w http.ResponseWriter, r *http.Request) {
		serveSteps(w, r, obtaining(s.certs, s.managed(s.proxy.Config())))
	})
	mux.HandleFunc("POST /certificates/renew", func(w http.ResponseWriter, r *http.Request) {
		serveSteps(w, r, renewing(s.certs, r.URL.Query().Get("name")))
	})
	handleProfiles(mux)
	return &control{path: path, listener: l, server: &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}}, nil
}

func (c *control) start() {
	go c.server.Serve(c.listener) //nolint:errcheck // ends with close, which removes the socket
}

func (c *control) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if c.server.Shutdown(ctx) != nil {
		c.server.Close()
	}
	c.listener.Close()
}

func writeJSON(w http.ResponseWriter, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(body, '\n'))
}

// askServer asks the server of a configuration. When nobody answers, it says so
// together with the mistakes that may have hidden where to ask.
func askServer(path, method, what string, out any) error {
	err := ask(configs.Locate(path).Control, method, what, out)
	if !errors.Is(err, errNotRunning) {
		return err
	}
	if _, problems := configs.Load(path); problems.Failed() {
		return fmt.Errorf("%w (hint: correct the configuration, which may name another socket)\n%w", err, problems)
	}
	return err
}

// ask sends a request over the control socket and decodes the answer into out.
func ask(path, method, what string, out any) error {
	answer, err := open(context.Background(), path, method, what, time.Minute)
	if err != nil {
		return err
	}
	defer answer.Close()
	body, err := io.ReadAll(io.LimitReader(answer, 16<<20))
	if err != nil {
		return err
	}
	return json.Unmarshal(body, out)
}

// open sends a request over the control socket and gives the body of the answer.
// A timeout of 0 is none.
func open(ctx context.Context, path, method, what string, timeout time.Duration) (io.ReadCloser, error) {
	client := http.Client{Timeout: timeout, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, "unix", path)
		},
		DisableKeepAlives: true,
	}}
	req, err := http.NewRequestWithContext(ctx, method, "http://control/"+what, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: nobody answers on %s", errNotRunning, path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("opening %s: permission denied (hint: run this as the user vestibule runs as, or as root)", path)
	case err != nil:
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return nil, errors.Join(fmt.Errorf("the running vestibule answered %s: %s", resp.Status, bytes.TrimSpace(body)), err)
	}
	return resp.Body, nil
}
