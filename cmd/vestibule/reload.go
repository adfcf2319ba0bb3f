package main

import (
	"errors"
	"fmt"

	"vestibule/configs"
)

func reload(c *call) int {
	fs := c.flags()
	path := fs.String("config", defaultConfig, "the configuration file")
	if _, status, done := c.parse(fs, 0, 0); done {
		return status
	}
	var a attempt
	if err := ask(controlSocket(*path), "POST", "reload", &a); err != nil {
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

// controlSocket is where the server with this configuration listens. A file
// that cannot be read must not keep anyone from asking, so the default stands in.
func controlSocket(path string) string {
	cfg, _ := configs.Load(path)
	if cfg == nil {
		return configs.Default().Control
	}
	return cfg.Control
}
