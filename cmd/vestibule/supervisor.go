package main

import (
	"context"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// supervisor is systemd, where it started this process and wants to hear how it goes
// (sd_notify(3), Type=notify). A nil supervisor wants to hear nothing.
type supervisor struct {
	socket   net.UnixAddr
	watchdog time.Duration // within which it wants a sign of life; 0 for none
	log      *slog.Logger
}

// newSupervisor reads who wants to hear from the environment, and removes it there.
func newSupervisor(log *slog.Logger) *supervisor {
	socket, interval, pid := os.Getenv("NOTIFY_SOCKET"), os.Getenv("WATCHDOG_USEC"), os.Getenv("WATCHDOG_PID")
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		os.Unsetenv(name)
	}
	if !strings.HasPrefix(socket, "/") && !strings.HasPrefix(socket, "@") {
		return nil // nobody, or who speaks another way
	}
	s := &supervisor{socket: net.UnixAddr{Name: socket, Net: "unixgram"}, log: log} // Go knows "@" for an abstract name, too
	if usec, err := strconv.ParseInt(interval, 10, 64); err == nil && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		s.watchdog = time.Duration(usec) * time.Microsecond
	}
	return s
}

// tell sends assignments such as "READY=1", one datagram for all.
func (s *supervisor) tell(assignments ...string) {
	if s == nil {
		return
	}
	c, err := net.DialUnix(s.socket.Net, nil, &s.socket)
	if err == nil {
		defer c.Close()
		_ = c.SetWriteDeadline(time.Now().Add(time.Second)) // a stop and a reload do not wait for one that hangs
		_, err = c.Write([]byte(strings.Join(assignments, "\n")))
	}
	if err != nil {
		s.log.Warn("systemd does not hear how it goes", "error", err)
	}
}

// reloading is what systemd is told before a reload; what it hears after that it
// compares with the time it asked at.
func (s *supervisor) reloading() {
	s.tell("RELOADING=1", "MONOTONIC_USEC="+strconv.FormatInt(monotonic().Microseconds(), 10), "STATUS=Reloading the configuration")
}

// stopping is what it is told before a stop that takes as long as limit at most.
func (s *supervisor) stopping(limit time.Duration, status string) {
	s.tell("STOPPING=1", "EXTEND_TIMEOUT_USEC="+strconv.FormatInt(limit.Microseconds(), 10), "STATUS="+status)
}

// mostSilence is how long the status that systemd shows may lag behind.
const mostSilence = 10 * time.Second

// follow tells the status when it has changed, and gives signs of life as long as
// alive says that there is life, until ctx ends.
func (s *supervisor) follow(ctx context.Context, status func() string, alive func(limit time.Duration) bool) {
	if s == nil {
		return
	}
	interval := mostSilence
	if s.watchdog > 0 {
		interval = min(interval, s.watchdog/2)
	}
	ticker := time.NewTicker(max(interval, time.Millisecond))
	defer ticker.Stop()
	for told := status(); ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		var news []string
		if s.watchdog > 0 && alive(s.watchdog/4) {
			news = append(news, "WATCHDOG=1")
		}
		if now := status(); now != told {
			told = now
			news = append(news, "STATUS="+now)
		}
		if len(news) > 0 {
			s.tell(news...)
		}
	}
}
