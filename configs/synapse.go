package configs

import (
	"maps"
	"time"
)

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
