package main

import (
	"fmt"

	"vestibule/configs"
	"vestibule/routing"
	"vestibule/wellknown"
)

func validate(c *call) int {
	args, status, done := c.parse(c.flags(), 1, 1)
	if done {
		return status
	}
	cfg := c.checked(args[0])
	if cfg == nil {
		return exitProblem
	}
	fmt.Fprintf(c.stdout, "%s: ok (%s)\n", args[0], summary(cfg))
	return exitOK
}

// checked reads a configuration and reports all that is wrong with it; it
// returns nil when that is too much.
func (c *call) checked(path string) *configs.Config {
	cfg, problems := configs.Load(path)
	for _, p := range problems {
		fmt.Fprintln(c.stderr, p)
	}
	if cfg == nil {
		return nil
	}
	if err := check(cfg); err != nil {
		fmt.Fprintf(c.stderr, "%s: %v\n", path, err)
		return nil
	}
	return cfg
}

// check builds what a configuration is for, without starting anything, so that
// validate, reload and serve refuse the same files.
func check(cfg *configs.Config) error {
	if _, err := routing.New(cfg); err != nil {
		return err
	}
	for _, site := range cfg.Sites {
		if _, err := wellknown.New(cfg, site); err != nil {
			return err
		}
	}
	return nil
}

func summary(cfg *configs.Config) string {
	return fmt.Sprintf("%s, %s", counted(len(cfg.Sites), "site"), counted(len(cfg.CertificateNames()), "name with a certificate"))
}

func counted(n int, what string) string {
	if n != 1 {
		if head, tail, ok := cutWord(what); ok {
			return fmt.Sprintf("%d %ss%s", n, head, tail)
		}
	}
	return fmt.Sprintf("%d %s", n, what)
}

// cutWord splits before the first blank.
func cutWord(s string) (head, tail string, ok bool) {
	for i := range s {
		if s[i] == ' ' {
			return s[:i], s[i:], true
		}
	}
	return s, "", true
}
