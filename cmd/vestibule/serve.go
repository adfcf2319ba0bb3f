package main

import (
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

func serve(c *call) int {
	fs := c.flags()
	path := fs.String("config", defaultConfig, "the configuration file")
	if _, status, done := c.parse(fs, 0, 0); done {
		return status
	}
	s, err := newService(*path, newLogs(func(o *slog.HandlerOptions) slog.Handler { return slog.NewJSONHandler(c.stderr, o) }, c.stderr))
	if err != nil {
		return c.fail(err)
	}
	signals := catch()
	s.start()
	s.obey(signals)
	return exitOK
}

// logs are where the service writes: messages from a level on, and requests, a line
// of JSON each, whatever that level is.
type logs struct {
	level    slog.LevelVar
	log      *slog.Logger
	requests io.Writer
}

func newLogs(messages func(*slog.HandlerOptions) slog.Handler, requests io.Writer) *logs {
	l := &logs{requests: requests}
	l.log = slog.New(messages(&slog.HandlerOptions{Level: &l.level}))
	return l
}

// catch takes the signals from the system that a service obeys.
func catch() chan os.Signal {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, os.Interrupt)
	return signals
}

// obey reloads on SIGHUP and stops on SIGTERM or an interrupt; a second one
// ends the process at once.
func (s *service) obey(signals chan os.Signal) {
	for sig := range signals {
		if sig == syscall.SIGHUP {
			s.reload()
			continue
		}
		signal.Reset(syscall.SIGTERM, os.Interrupt) // not SIGHUP, which would end the process
		s.stop()
		return
	}
}
