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
	log, level := jsonLog(c.stderr)
	s, err := newService(*path, log, level)
	if err != nil {
		return c.fail(err)
	}
	s.start()
	s.obey()
	return exitOK
}

// jsonLog writes JSON lines to w, from the level the second value holds.
func jsonLog(w io.Writer) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})), level
}

// obey reloads on SIGHUP and stops on SIGTERM or an interrupt; a second one
// ends the process at once.
func (s *service) obey() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, os.Interrupt)
	for sig := range signals {
		if sig == syscall.SIGHUP {
			s.reload()
			continue
		}
		signal.Stop(signals)
		s.stop()
		return
	}
}
