package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// listenNotify is the end of NOTIFY_SOCKET that systemd reads.
func listenNotify(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// heard is the next message, as its assignments; those that begin with skip are
// passed over.
func heard(t *testing.T, c *net.UnixConn, skip string) map[string]string {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(30 * time.Second))
	for buf := make([]byte, 4096); ; {
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		text := string(buf[:n])
		if skip != "" && strings.HasPrefix(text, skip) {
			continue
		}
		message := map[string]string{}
		for _, line := range strings.Split(text, "\n") {
			key, value, _ := strings.Cut(line, "=")
			message[key] = value
		}
		return message
	}
}

// TestNotify listens as systemd does to a vestibule from its start to its end.
func TestNotify(t *testing.T) {
	main := httptest.NewServer(http.NotFoundHandler())
	defer main.Close()
	dir, err := os.MkdirTemp("", "v")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for _, socket := range []string{filepath.Join(dir, "notify"), fmt.Sprintf("@vestibule-test-%d", os.Getpid())} {
		c := listenNotify(t, socket)
		https, admin := freeAddress(t), freeAddress(t)
		config := writeConfig(t, https, admin, main.URL, "")
		p := startProcess(t, config, nil, nil, "NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=400000")
		m := heard(t, c, "")
		if m["READY"] != "1" || m["STATUS"] == "" {
			t.Errorf("at the start: %v", m)
		}
		if conn, err := net.Dial("tcp", https); err != nil {
			t.Errorf("READY, and nobody listens: %v", err)
		} else {
			conn.Close()
		}
		for signs, serving := 0, m["STATUS"] == "Serving 1 site"; signs < 3 || !serving; {
			m := heard(t, c, "")
			if _, sign := m["WATCHDOG"]; sign {
				signs++
			}
			serving = serving || m["STATUS"] == "Serving 1 site"
		}
		for _, mistake := range []string{"", "oops: 1\n"} {
			text, err := os.ReadFile(config)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(config, append(text, mistake...), 0o600); err != nil {
				t.Fatal(err)
			}
			asked := monotonic()
			p.signal(syscall.SIGHUP)
			m := heard(t, c, "WATCHDOG")
			at, err := strconv.ParseInt(m["MONOTONIC_USEC"], 10, 64)
			if told := time.Duration(at) * time.Microsecond; err != nil || m["RELOADING"] != "1" || told < asked || told > monotonic() {
				t.Errorf("before a reload, asked for at %v: %v", asked, m)
			}
			m = heard(t, c, "WATCHDOG")
			if m["READY"] != "1" || strings.Contains(m["STATUS"], "not applied") != (mistake != "") {
				t.Errorf("after a reload with %q: %v", mistake, m)
			}
		}
		p.signal(syscall.SIGTERM)
		m = heard(t, c, "WATCHDOG")
		if m["STOPPING"] != "1" || m["STATUS"] != "Stopping: requests under way have 8s to finish" || m["EXTEND_TIMEOUT_USEC"] != "18000000" {
			t.Errorf("at the stop: %v", m)
		}
		p.ends()
	}
}

// TestNobodyListens: outside systemd nothing is told, and what is meant for another
// process is not ours.
func TestNobodyListens(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for _, socket := range []string{"", "vsock:2:1234"} {
		t.Setenv("NOTIFY_SOCKET", socket)
		s := newSupervisor(log)
		if s != nil {
			t.Errorf("%q: %+v", socket, s)
		}
		s.tell("READY=1")
		s.reloading()
		s.follow(t.Context(), nil, nil) // returns
	}
	t.Setenv("NOTIFY_SOCKET", "/run/none")
	t.Setenv("WATCHDOG_USEC", "1000000")
	t.Setenv("WATCHDOG_PID", "1")
	if s := newSupervisor(log); s == nil || s.watchdog != 0 {
		t.Errorf("the watchdog of another process: %+v", s)
	}
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		if _, set := os.LookupEnv(name); set {
			t.Errorf("%s is still set", name)
		}
	}
}

// TestWatchdogWantsLife: a process that does not answer itself gives no sign of life.
func TestWatchdogWantsLife(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n")
	c := listenNotify(t, path)
	s := &supervisor{socket: net.UnixAddr{Name: path, Net: "unixgram"}, watchdog: 20 * time.Millisecond, log: slog.New(slog.DiscardHandler)}
	var asked atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go s.follow(ctx, func() string { return fmt.Sprint("asked ", asked.Load()) }, func(time.Duration) bool { return asked.Add(1) > 3 })
	for range 3 {
		if m := heard(t, c, ""); m["WATCHDOG"] != "" || m["STATUS"] == "" {
			t.Errorf("without life: %v", m)
		}
	}
	if m := heard(t, c, ""); m["WATCHDOG"] != "1" {
		t.Errorf("with life: %v", m)
	}
}

func TestAlive(t *testing.T) {
	s := newTestService(t, http.NotFoundHandler(), "")
	if !s.alive(20 * time.Second) {
		t.Error("not alive")
	}
	pages, asked, stuck := s.service.admin, make(chan bool), make(chan bool)
	s.service.admin = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- true
		<-stuck
		pages.ServeHTTP(w, r)
	})
	if s.alive(50 * time.Millisecond) {
		t.Error("alive without an answer")
	}
	<-asked
	close(stuck)
	s.service.admin = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	if s.alive(20 * time.Second) {
		t.Error("alive with another answer")
	}
}
