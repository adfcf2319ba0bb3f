package main

import (
	"errors"
	"fmt"
)

func reload(c *call) int {
	fs := c.flags()
	path := fs.String("config", defaultConfig, "the configuration file")
	if _, status, done := c.parse(fs, 0, 0); done {
		return status
	}
	var a attempt
	if err := askServer(*path, "POST", "reload", &a); err != nil {
		return c.fail(err)
	}
	if !a.OK {
		return c.fail(errors.New("not applied, the configuration before stays in use:\n" + a.Error))
	}
	fmt.Fprintln(c.stdout, "applied:")
	for _, change := range a.Changes {
		fmt.Fprintln(c.stdout, "  "+change)
	}
	return exitOK
}
