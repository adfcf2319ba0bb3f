package configs

import (
	"maps"
	"time"
)

// Synapse says where a homeserver's processes listen.
type Synapse struct {
	// Layout names one of MDAD's worker layouts, such as "mdad/one-of-each", and
	// fills what is absent of Main, Federation and Workers with its container
	// names. A date picks the playbook of that day, whose Synapse may have had
	// fewer stream writers: "mdad/one-of-each@2026-04-03". Optional.
	Layout string `yaml:"layout"`

	// Main is the main process, such as "http://matrix-synapse:8008". It answers
	// whatever no worker is configured for. Required unless Layout names it.
	Main *Upstream `yaml:"main"`

	// Federation is the main process's federation listener, such as
	// "http://matrix-synapse:8048". Optional. Defaults to Main.
	Federation *Upstream `yaml:"federation"`

	// Workers lists the processes of each class; stream writers are under the
	// key streams. Given classes replace the layout's, and an empty list takes
	// the layout's away. Optional.
	Workers Workers `yaml:"workers"`

	// Hold is how long a request waits for a process that refuses connections,
	// as one does while it restarts. Optional. Defaults to 10s; 0 means not at
	// all.
	Hold Duration `yaml:"hold"`

	// MaxUpload is the largest body of an upload to the media repository, such as
	// "100MiB"; what is larger gets 413 M_TOO_LARGE before Synapse is asked. Give it
	// the value of Synapse's max_upload_size. Other requests to Synapse,
	// transactions of federation among them, may have 12.5 MiB in any case, which
	// is what Synapse takes of them however small its max_upload_size is. Optional.
	// Without it, Synapse decides.
	MaxUpload Size `yaml:"max_upload"`

	Place Place `yaml:"-"`
}

func (s *Synapse) check(at spot) {
	at.key("layout").valid(s.Layout, layoutMistake)
	if s.Main == nil && !at.key("main").written() && !at.key("layout").written() {
		at.key("main").fail("is required", `write the main process, such as "http://matrix-synapse:8008", or a layout`)
	}
	if s.Main != nil {
		s.Main.check(at.key("main"))
	}
	if s.Federation != nil {
		s.Federation.check(at.key("federation"))
	}
	s.Workers.check(at.key("workers"), s.Layout != "")
	at.key("hold").atMost(s.Hold, 10*time.Minute)
	if upload := at.key("max_upload"); upload.written() && (s.MaxUpload < 64<<10 || s.MaxUpload > 1<<40) {
		upload.fail(quote(s.MaxUpload.String())+" is out of range", `write a size from 64KiB to 1024GiB, such as "100MiB", or remove it`)
	}
}

// fill lets the layout say what the file does not. An empty list takes a class
// of the layout away.
func (s *Synapse) fill(at spot) {
	workers := Workers{}
	if l, ok := findLayout(s.Layout); ok {
		place := at.key("layout").place
		if s.Main == nil {
			s.Main = &Upstream{URL: mdadMain, Weight: 1, Place: place}
		}
		if s.Federation == nil {
			s.Federation = &Upstream{URL: mdadFederation, Weight: 1, Place: place}
		}
		workers = l.workers(place)
	}
	maps.Copy(workers, s.Workers)
	maps.DeleteFunc(workers, func(_ Class, upstreams []Upstream) bool { return len(upstreams) == 0 })
	s.Workers = workers
	if s.Federation == nil {
		s.Federation = s.Main
	}
}
