package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// defaultConfig is read when --config is not given.
const defaultConfig = "/etc/vestibule/vestibule.yaml"

// flags returns a flag set for the call's command.
func (c *call) flags() *flag.FlagSet {
	fs := flag.NewFlagSet(c.command.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard) // parse reports in our words
	return fs
}

// parse reads flags that stand before or after arguments and returns the
// arguments, of which there must be between least and most. When done is true
// the command ends with status.
func (c *call) parse(fs *flag.FlagSet, least, most int) (args []string, status int, done bool) {
	rest := c.args
	for {
		err := fs.Parse(rest)
		if errors.Is(err, flag.ErrHelp) {
			c.help(fs, c.stdout)
			return nil, exitOK, true
		}
		if err != nil {
			fmt.Fprintf(c.stderr, "vestibule %s: %v (hint: vestibule %s %s)\n", c.command.name, err, c.command.name, c.command.arguments)
			return nil, exitUsage, true
		}
		if rest = fs.Args(); len(rest) == 0 {
			break
		}
		args, rest = append(args, rest[0]), rest[1:]
	}
	if len(args) < least || len(args) > most {
		fmt.Fprintf(c.stderr, "vestibule %s: %d arguments are not what it takes (hint: vestibule %s %s)\n",
			c.command.name, len(args), c.command.name, c.command.arguments)
		return nil, exitUsage, true
	}
	return args, exitOK, false
}

func (c *call) help(fs *flag.FlagSet, w io.Writer) {
	fmt.Fprintf(w, "usage: %s\n\n%s\n\n", strings.TrimSpace("vestibule "+c.command.name+" "+c.command.arguments), c.command.does)
	fs.SetOutput(w)
	fs.PrintDefaults()
}

// list is a flag that may be given several times.
type list []string

// String implements flag.Value.
func (l *list) String() string { return strings.Join(*l, ", ") }

// Set implements flag.Value.
func (l *list) Set(s string) error {
	*l = append(*l, s)
	return nil
}
