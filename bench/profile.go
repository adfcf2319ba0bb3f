package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
)

// profiles takes a CPU profile of each vestibule while it does each work of
// h2load, after the rounds: taking it costs time too.
func (b *bench) profiles(ctx context.Context) error {
	var failed error
	for _, w := range b.works {
		if w.over == nil {
			continue
		}
		for _, t := range b.targets {
			if !t.control {
				continue
			}
			file := filepath.Join(b.dir, t.name+"-"+w.name+".pprof")
			if err := b.profileOne(ctx, w, b.kept(w)[t.name], file); err != nil {
				failed = errors.Join(failed, fmt.Errorf("profiling %s: %w", t.name, err))
				continue
			}
			fmt.Fprintf(b.progress, "profile: %s (hint: go tool pprof -top %s)\n", file, file)
		}
	}
	return failed
}

// profileOne repeats the work until the profile is there.
func (b *bench) profileOne(ctx context.Context, w *work, r *running, file string) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- fetchProfile(ctx, r.Control, b.profile, file) }()
	for {
		if _, err := w.do(ctx, b, r); err != nil {
			return err
		}
		select {
		case err := <-done:
			return err
		default:
		}
	}
}

// fetchProfile asks a vestibule for a CPU profile over its control socket.
func fetchProfile(ctx context.Context, socket string, seconds int, file string) error {
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("http://control/debug/pprof/profile?seconds=%d", seconds), http.NoBody)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s: %.200s", resp.Status, text)
	}
	return os.WriteFile(file, text, 0o600)
}
