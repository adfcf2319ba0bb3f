package configs

import "slices"

// Location is where a running server can be asked how it is.
type Location struct {
	Control string    // its control socket
	Admin   []Address // its admin entrypoint; empty when that is off
}

// Locate reads where the server of a configuration can be asked, whatever
// mistakes there are in the rest: whoever just made one wants to know how the
// server is that runs on, and a health check must not take it for dead. What
// cannot be read has its default.
func Locate(path string) Location {
	cfg := Default()
	location := Location{Control: cfg.Control, Admin: cfg.Entrypoints.Admin.Addresses}
	l := &loader{included: map[string]Place{}}
	root := l.read(path, Place{}, nil)
	if root == nil {
		return location
	}
	at := spot{node: root, problems: &l.problems}
	decodeStruct(at, cfg)
	if mistake, _ := socketPathMistake(cfg.Control); mistake == "" {
		location.Control = cfg.Control
	}
	addresses := cfg.Entrypoints.Admin.Addresses
	usable := slices.DeleteFunc(slices.Clone(addresses), func(a Address) bool {
		mistake, _ := a.mistake()
		return mistake != ""
	})
	if len(usable) > 0 || len(addresses) == 0 {
		location.Admin = usable
	}
	return location
}
