// Command vestibule is the front door of self-hosted Matrix servers.
//
// main hands over at once to run, so that the same code runs from tests. Each
// subcommand has a file of its own; serve.go is where the packages are joined.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// The exit statuses of every command.
const (
	exitOK      = 0
	exitProblem = 1 // what was asked for cannot be done or is not well
	exitUsage   = 2 // the command line makes no sense
)

// command is a subcommand: its name, its arguments as usage shows them, what it
// does in a few words, and its code.
type command struct {
	name, arguments, does string
	run                   func(c *call) int
}

var commands = []command{
	{"serve", "[--config FILE]", "run the front door", serve},
	{"demo", "[--https ADDR] [--federation ADDR] [--http ADDR] [--admin ADDR]", "run a whole front door on loopback, with back ends that say who they are", demo},
	{"validate", "FILE", "report every mistake in a configuration", validate},
	{"explain", "METHOD URL [--config FILE] [-H 'Name: value'] [--from IP] [--entrypoint NAME] [--json] | --batch", "say who answers a request, and why", explain},
	{"diff", "OLD NEW [--all] [--json]", "say which decisions change between two configurations", diff},
	{"reload", "[--config FILE]", "make the running server read its configuration again", reload},
	{"status", "[--config FILE] [--json]", "show how the running server is", status},
	{"certificates", "list [--json] | obtain | renew NAME | export DIR, [--config FILE]",
		"show the certificates that are served; get what is missing; renew one now; write PEM files", certificates},
	{"healthcheck", "[--config FILE] [--ready]", "exit 0 when the running server is alive (or ready)", healthcheck},
	{"version", "", "print the version", version},
}

// call is one run of a subcommand.
type call struct {
	command        *command
	args           []string
	stdin          io.Reader
	stdout, stderr io.Writer
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		usage(stderr)
		return exitUsage
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		usage(stdout)
		return exitOK
	case "-version", "--version":
		args[0] = "version"
	}
	for i := range commands {
		if c := &commands[i]; c.name == args[0] {
			return c.run(&call{command: c, args: args[1:], stdin: stdin, stdout: stdout, stderr: stderr})
		}
	}
	fmt.Fprintf(stderr, "vestibule: there is no command %q (hint: `vestibule help` lists them)\n", args[0])
	return exitUsage
}

func usage(w io.Writer) {
	fmt.Fprint(w, "vestibule is the front door of self-hosted Matrix servers.\n\n")
	for _, c := range commands {
		fmt.Fprintf(w, "  %s\n        %s\n", strings.TrimSpace("vestibule "+c.name+" "+c.arguments), c.does)
	}
	fmt.Fprintf(w, "\nThe configuration is %s unless --config names another.\n", defaultConfig)
}

// fail prints why a command could not do its work.
func (c *call) fail(err error) int {
	fmt.Fprintf(c.stderr, "vestibule %s: %v\n", c.command.name, err)
	return exitProblem
}
