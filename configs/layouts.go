package configs

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Where matrix-docker-ansible-deploy (MDAD) runs Synapse's main process: the
// client listener and the federation listener of the container matrix-synapse
// (roles/custom/matrix-synapse/defaults/main.yml).
const (
	mdadMain       = "http://matrix-synapse:8008"
	mdadFederation = "http://matrix-synapse:8048"
)

// mdadPresets are the values of matrix_synapse_workers_preset, and no-workers
// for matrix_synapse_workers_enabled: false. A preset has one process of each
// class it lists, and the stream writers or not. Processes that answer no
// request (federation senders, pushers, background) are left out.
var mdadPresets = map[string]struct {
	classes []Class
	streams bool
}{
	"mdad/no-workers":               {},
	"mdad/little-federation-helper": {},
	"mdad/one-of-each":              {classes: []Class{ClassGeneric, ClassMedia, ClassUserDir}, streams: true},
	"mdad/specialized-workers":      {classes: []Class{ClassRoom, ClassSync, ClassClientReader, ClassFederationReader, ClassMedia, ClassUserDir}, streams: true},
}

// mdadWorkers gives the container and the port of a class's first process
// (tasks/synapse/workers/init.yml and the port ranges of defaults/main.yml).
var mdadWorkers = map[Class]string{
	ClassGeneric:          "http://matrix-synapse-worker-generic-0:18111",
	ClassRoom:             "http://matrix-synapse-worker-room-0:28111",
	ClassSync:             "http://matrix-synapse-worker-sync-0:28211",
	ClassClientReader:     "http://matrix-synapse-worker-client-reader-0:28311",
	ClassFederationReader: "http://matrix-synapse-worker-federation-reader-0:28411",
	ClassMedia:            "http://matrix-synapse-worker-media-repository-0:18551",
	ClassUserDir:          "http://matrix-synapse-worker-user-dir-0:18661",
}

// mdadFirstStreamPort is the port of the stream writer with index 0.
const mdadFirstStreamPort = 20011

// mdadStreams are the stream writers in MDAD's order. A writer's position among
// those that exist is part of its container's name and of its port, whatever
// its stream, so one writer more shifts all that follow.
var mdadStreams = []struct {
	stream  string
	writers int
	since   string // from when a playbook installs a Synapse that has the stream
}{
	{"events", 1, ""}, // speaks to Synapse's processes alone, but counts
	{"typing", 1, ""},
	{"to_device", 1, ""},
	{"account_data", 1, ""},
	{"receipts", 1, ""},
	{"presence", 1, ""},
	{"push_rules", 1, ""},
	{"device_lists", 1, "2025-07-01"}, // Synapse 1.135, element-hq/synapse#18581
	{"thread_subscriptions", 0, ""},
	{"quarantined_media_changes", 1, "2026-05-01"}, // Synapse 1.152, element-hq/synapse#19558
}

// layout is a preset as a playbook of some day deploys it.
type layout struct {
	preset string
	date   string // "2026-04-03"; empty for the newest
}

// layoutMistake says what is wrong with a layout's name.
func layoutMistake(text string) (message, hint string) {
	name, date, dated := strings.Cut(text, "@")
	if _, known := mdadPresets[name]; !known {
		names := slices.Sorted(maps.Keys(mdadPresets))
		if meant := nearest(name, names); meant != "" {
			return "unknown layout " + quote(name), "did you mean " + quote(meant) + "?"
		}
		return "unknown layout " + quote(name), "known are " + strings.Join(names, ", ")
	}
	if _, err := time.Parse(time.DateOnly, date); dated && err != nil {
		return quote(date) + " is not a date", "write the playbook's date as in " + quote(name+"@2026-04-03")
	}
	return "", ""
}

// findLayout gives the layout of that name; false when it names none.
func findLayout(text string) (layout, bool) {
	if message, _ := layoutMistake(text); message != "" {
		return layout{}, false
	}
	preset, date, _ := strings.Cut(text, "@")
	return layout{preset: preset, date: date}, true
}

// workers gives the layout's processes, each as if it were written at place.
func (l layout) workers(place Place) Workers {
	workers := Workers{}
	preset := mdadPresets[l.preset]
	for _, class := range preset.classes {
		workers[class] = []Upstream{{URL: mdadWorkers[class], Weight: 1, Place: place}}
	}
	if preset.streams {
		l.addStreams(workers, place)
	}
	return workers
}

func (l layout) addStreams(workers Workers, place Place) {
	index := 0
	for _, s := range mdadStreams {
		if l.date != "" && l.date < s.since {
			continue
		}
		for range s.writers {
			class := Class(streamPrefix + s.stream)
			if slices.Contains(WorkerClasses, class) {
				url := fmt.Sprintf("http://matrix-synapse-worker-stream-writer-%d-%s:%d",
					index, strings.ReplaceAll(s.stream, "_", "-"), mdadFirstStreamPort+index)
				workers[class] = append(workers[class], Upstream{URL: url, Weight: 1, Place: place})
			}
			index++
		}
	}
}
