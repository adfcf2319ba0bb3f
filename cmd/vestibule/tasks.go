package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"vestibule/acme"
	"vestibule/configs"
	"vestibule/routing"
)

// say prints how far something has come.
func (c *call) say(text string) { fmt.Fprintln(c.stderr, text) }

// obtainCertificates gets what is missing, through the running server or, ahead
// of its first start, without one.
func (c *call) obtainCertificates(path string) int {
	return c.either(path, "certificates/obtain", func(cfg *configs.Config, certs *acme.Manager) ([]string, task) {
		return managed(cfg), obtaining(certs, managed(cfg))
	})
}

// renewCertificate replaces the certificate of a name now.
func (c *call) renewCertificate(path, name string) int {
	name = strings.ToLower(name)
	return c.either(path, "certificates/renew?name="+url.QueryEscape(name), func(cfg *configs.Config, certs *acme.Manager) ([]string, task) {
		if !slices.Contains(managed(cfg), name) {
			return nil, renewing(certs, name) // which says that it is not kept
		}
		return []string{name}, renewingAlone(certs, name)
	})
}

// either has the running server do something; when there is none, the task that
// alone gives does it, and the certificates of its names are shown.
func (c *call) either(path, what string, alone func(*configs.Config, *acme.Manager) ([]string, task)) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := follow(ctx, configs.Locate(path).Control, what, c.say)
	if err == nil {
		return c.listCertificates(path, false)
	}
	if !errors.Is(err, errNotRunning) {
		return c.fail(err)
	}
	cfg, _, err := load(path)
	if err == nil {
		err = mayWrite(cfg.Certificates.Storage.Directory)
	}
	if err == nil {
		err = c.withCertificates(cfg, func(certs *acme.Manager) error {
			names, do := alone(cfg, certs)
			return c.doAlone(ctx, cfg, certs, names, do)
		})
	}
	if err != nil {
		return c.fail(err)
	}
	return exitOK
}

// doAlone does a task as long as no server runs, and shows the certificates of the
// names.
func (c *call) doAlone(ctx context.Context, cfg *configs.Config, certs *acme.Manager, names []string, do task) error {
	if slices.ContainsFunc(names, func(name string) bool { c := cfg.Challenge(name); return c != nil && c.HTTP01 != nil }) {
		stop, err := answerChallenges(cfg, certs)
		if err != nil {
			return err
		}
		defer stop()
	}
	if err := do(ctx, c.say); err != nil {
		return err
	}
	certs.Manage(ctx, names)
	printCertificates(c.stdout, certs.Certificates())
	return nil
}

// withCertificates does something with the configuration's certificates, without
// a server.
func (c *call) withCertificates(cfg *configs.Config, do func(*acme.Manager) error) error {
	certs, err := acme.New(cfg, slog.New(warnings{slog.NewTextHandler(c.stderr, nil)}))
	if err != nil {
		return err
	}
	defer certs.Close()
	return do(certs)
}

// warnings hands on nothing but warnings: errors are returned, and printed then.
type warnings struct{ slog.Handler }

// Enabled implements slog.Handler.
func (w warnings) Enabled(_ context.Context, level slog.Level) bool { return level == slog.LevelWarn }

// WithAttrs implements slog.Handler.
func (w warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnings{w.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (w warnings) WithGroup(name string) slog.Handler { return warnings{w.Handler.WithGroup(name)} }

// mayWrite keeps root from leaving files in the storage that the user the server
// runs as could not read.
func mayWrite(directory string) error {
	info, err := os.Stat(directory)
	if err != nil || os.Geteuid() != 0 {
		return nil // what is wrong with it is found when it is used
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || stat.Uid == 0 {
		return nil
	}
	name := strconv.FormatUint(uint64(stat.Uid), 10)
	as := fmt.Sprintf("setpriv --reuid=%d --regid=%d --clear-groups", stat.Uid, stat.Gid)
	if owner, err := user.LookupId(name); err == nil {
		name = owner.Username
		as = "runuser -u " + name + " --"
	}
	return fmt.Errorf("%s belongs to user %s, who could not read what root writes there (hint: run: %s vestibule certificates …)",
		directory, name, as)
}

// obtaining gets what is missing of the names.
func obtaining(certs *acme.Manager, names []string) task {
	return func(ctx context.Context, say func(string)) error { return certs.Obtain(ctx, names, say) }
}

// renewingAlone is renewing where no server keeps the name: the certificate is
// first taken from storage. One that was not there, or was due, is new and left alone.
func renewingAlone(certs *acme.Manager, name string) task {
	return func(ctx context.Context, say func(string)) error {
		if err := certs.Obtain(ctx, []string{name}, say); err != nil {
			return err
		}
		if slices.ContainsFunc(certs.Stats(), func(s acme.Stats) bool { return s.Obtained+s.Renewed > 0 }) {
			return nil
		}
		certs.Manage(ctx, []string{name})
		return renewing(certs, name)(ctx, say)
	}
}

// renewing replaces the certificate of a name that is kept.
func renewing(certs *acme.Manager, name string) task {
	return func(ctx context.Context, say func(string)) error {
		done := make(chan error, 1)
		go func() { done <- certs.Renew(ctx, name) }()
		ticker := time.NewTicker(500 * time.Millisecond)
		defer ticker.Stop()
		for last := ""; ; {
			select {
			case err := <-done:
				return err
			case <-ticker.C:
				if now := progressOf(certs, name); now != last && now != "" {
					say(name + ": " + now)
					last = now
				}
			}
		}
	}
}

func progressOf(certs *acme.Manager, name string) string {
	for _, c := range certs.Certificates() {
		if strings.EqualFold(c.Name, name) {
			return c.Progress
		}
	}
	return ""
}

// answerChallenges answers on the http entrypoint, as a server would, when the
// configuration has an http01 challenge.
func answerChallenges(cfg *configs.Config, certs *acme.Manager) (stop func(), err error) {
	srv := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, path := routing.Host(r.Host), r.URL.EscapedPath()
		if proof, ok := certs.AnswerHTTP01(host, path); ok {
			w.Header().Set("Content-Type", "application/octet-stream")
			_, _ = io.WriteString(w, proof) // an authority that left asks again
			return
		}
		http.NotFound(w, r)
	})}
	stop = func() { srv.Close() }
	a := cfg.Certificates.ACME
	if a == nil || !slices.ContainsFunc(a.Challenges, func(c configs.Challenge) bool { return c.HTTP01 != nil }) {
		return stop, nil
	}
	for _, address := range cfg.Entrypoints.HTTP.Addresses {
		network, target := address.Network()
		if network == "fd" {
			stop()
			return nil, fmt.Errorf("opening entrypoints.http, to answer the authority: only systemd can open %s "+
				"(hint: start vestibule by its .socket units: it obtains what is missing by itself; or use dns01)", address)
		}
		l, err := net.Listen(network, target)
		if err != nil {
			stop()
			return nil, fmt.Errorf("opening entrypoints.http, to answer the authority: %w "+
				"(hint: http01 needs this address; stop what holds it, or use dns01)", err)
		}
		go srv.Serve(l) //nolint:errcheck // ends with Close
	}
	return stop, nil
}

// exportCertificates writes the PEM files of certificates.export, or of all names
// when it has none, to a directory. It reads the storage, whether a server runs or
// not: the directory need not be one that the server may write to.
func (c *call) exportCertificates(path, directory string) int {
	cfg, _, err := load(path)
	if err != nil {
		return c.fail(err)
	}
	config := configs.Export{Names: managed(cfg)}
	if cfg.Certificates.Export != nil {
		config = *cfg.Certificates.Export
	}
	config.Directory = directory
	var written []string
	err = c.withCertificates(cfg, func(certs *acme.Manager) error {
		written, err = certs.ExportTo(context.Background(), config)
		return err
	})
	for _, file := range written {
		fmt.Fprintln(c.stdout, file)
	}
	if err != nil {
		return c.fail(err)
	}
	if len(written) == 0 {
		c.say("nothing to write: " + directory + " holds these certificates already")
	}
	return exitOK
}
