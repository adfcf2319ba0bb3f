// Package configs reads vestibule.yaml into checked values.
//
// Load reads the file and what it includes, refuses unknown keys, fills the
// defaults of Default, resolves MDAD's worker layouts, checks everything that
// can be checked without the network, and reports every mistake in one run,
// each with its place and, where it is known, the remedy. The rest of the
// program only ever sees a Config without mistakes.
//
// Hosts come out in lower case, paths without a slash at the end, and relative
// paths of files joined to the directory of the file that names them.
//
// It never dials, never listens and never changes a file.
package configs

import (
	"net/netip"
)

// Config is a whole configuration: what one vestibule process serves.
type Config struct {
	// Include lists further files, such as "local.yaml" or "generated/*.yaml",
	// relative to the file that names them; a name without wildcard must exist.
	// They are merged: lists grow, sites meet by server_name, and a value can be
	// set in one file only. Optional.
	Include []string `yaml:"include"`

	// Admins are the addresses that may use what is closed to others: Ketesa,
	// /_synapse/admin and MAS's admin API, such as "192.0.2.0/28" or a single
	// address. Optional. Defaults to nobody.
	Admins []netip.Prefix `yaml:"admins"`

	// TrustedProxies are the addresses whose X-Forwarded-For is believed.
	// Optional. Defaults to none.
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`

	// Fallback answers for hosts and paths nobody claims, such as
	// "http://matrix-traefik:8080" during a move; no process of Synapse,
	// of which nothing would be closed there. Optional. Defaults to a 404 of our own.
	Fallback *Upstream `yaml:"fallback"`

	// Control is the Unix socket through which reload, status and explain reach
	// the running process. Optional. Defaults to /run/vestibule/control.sock.
	Control string `yaml:"control"`

	// Entrypoints are the addresses vestibule listens on.
	Entrypoints Entrypoints `yaml:"entrypoints"`

	// Certificates says where certificates come from.
	Certificates Certificates `yaml:"certificates"`

	// Sites are the homeservers served. At least one is required.
	Sites []*Site `yaml:"sites"`

	// TCP lists ports where TLS ends here and plain bytes go onward, such as
	// LiveKit's TURN. Not supported yet.
	TCP []TCPForward `yaml:"tcp"`

	// Timeouts bound every wait.
	Timeouts Timeouts `yaml:"timeouts"`

	// Limits bound sizes and counts.
	Limits Limits `yaml:"limits"`

	// Compression has answers that are text compressed for clients that ask for it,
	// with zstd, brotli or gzip. Optional. Defaults to true.
	Compression bool `yaml:"compression"`

	// Engine is the HTTP server in front: "own", which is vestibule's, or "standard",
	// which is Go's and needs more processor time and memory. It is read when the
	// server starts. Optional. Defaults to own.
	Engine string `yaml:"engine"`

	// Logging says what is written to standard error.
	Logging Logging `yaml:"logging"`

	// Files are the files this configuration was read from, the main one first.
	Files []string `yaml:"-"`
}

// Place is where in the configuration something was said. The zero Place means
// that it was not said in a file (a default, or built in).
type Place struct {
	File   string
	Line   int // from 1
	Column int // from 1
}

// Logging says what is written to standard error, as JSON lines.
type Logging struct {
	Level     string `yaml:"level"`     // debug, info (default), warn or error
	Access    bool   `yaml:"access"`    // one line a request. Defaults to true
	Addresses string `yaml:"addresses"` // full (default), or masked to /24 and /48
}
