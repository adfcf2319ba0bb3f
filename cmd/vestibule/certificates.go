package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"vestibule/acme"
)

// certificates runs the command of that name, whose first argument says what is
// to be done.
func certificates(c *call) int {
	fs := c.flags()
	path := fs.String("config", defaultConfig, "the configuration file")
	asJSON := fs.Bool("json", false, "print JSON (list)")
	args, status, done := c.parse(fs, 1, 2)
	if done {
		return status
	}
	switch what := args[0]; {
	case what == "list" && len(args) == 1:
		return c.listCertificates(*path, *asJSON)
	case *asJSON:
	case what == "obtain" && len(args) == 1:
		return c.obtainCertificates(*path)
	case what == "renew" && len(args) == 2:
		return c.renewCertificate(*path, args[1])
	case what == "export" && len(args) == 2:
		return c.exportCertificates(*path, args[1])
	}
	fmt.Fprintf(c.stderr, "vestibule certificates: %q makes no sense here (hint: vestibule certificates %s)\n",
		strings.Join(args, " "), c.command.arguments)
	return exitUsage
}

// listCertificates shows what the running server serves. It fails when a name
// has no valid certificate, so that a cron job notices.
func (c *call) listCertificates(path string, asJSON bool) int {
	var list []acme.Certificate
	if err := askServer(path, "GET", "certificates", &list); err != nil {
		return c.fail(err)
	}
	if asJSON {
		e := json.NewEncoder(c.stdout)
		e.SetIndent("", "  ")
		if err := e.Encode(list); err != nil {
			return c.fail(err)
		}
	} else {
		printCertificates(c.stdout, list)
	}
	if slices.ContainsFunc(list, func(c acme.Certificate) bool { return c.State != acme.Valid }) {
		return exitProblem
	}
	return exitOK
}

// printCertificates writes a line for each name, for a terminal.
func printCertificates(w io.Writer, list []acme.Certificate) {
	for _, c := range list {
		text := certificateText(c)
		if !c.NextAttempt.IsZero() {
			text += "; next attempt " + c.NextAttempt.Local().Format(time.DateTime)
		}
		fmt.Fprintf(w, "  %-40s %s\n", c.Name, text)
	}
}

// certificateText says how a certificate is, without its name.
func certificateText(c acme.Certificate) string {
	text := string(c.State)
	if c.State == acme.Valid {
		text = fmt.Sprintf("%s, until %s", c.Issuer, c.NotAfter.Local().Format(time.DateTime))
	}
	if c.Progress != "" {
		text += ", " + c.Progress
	}
	if c.Error != "" {
		text += ": " + c.Error // also of a renewal that failed while the old one is valid
	}
	return text
}
