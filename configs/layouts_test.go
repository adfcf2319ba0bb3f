package configs

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

const streamWriters = `
stream:account_data http://matrix-synapse-worker-stream-writer-3-account-data:20014
stream:presence http://matrix-synapse-worker-stream-writer-5-presence:20016
stream:push_rules http://matrix-synapse-worker-stream-writer-6-push-rules:20017
stream:receipts http://matrix-synapse-worker-stream-writer-4-receipts:20015
stream:to_device http://matrix-synapse-worker-stream-writer-2-to-device:20013
stream:typing http://matrix-synapse-worker-stream-writer-1-typing:20012
`

const (
	deviceLists      = "stream:device_lists http://matrix-synapse-worker-stream-writer-7-device-lists:20018\n"
	quarantinedMedia = "stream:quarantined_media_changes http://matrix-synapse-worker-stream-writer-8-quarantined-media-changes:20019\n"
	genericWorkers   = `
generic http://matrix-synapse-worker-generic-0:18111
media http://matrix-synapse-worker-media-repository-0:18551
user_dir http://matrix-synapse-worker-user-dir-0:18661
`
	specializedWorkers = `
client_reader http://matrix-synapse-worker-client-reader-0:28311
federation_reader http://matrix-synapse-worker-federation-reader-0:28411
media http://matrix-synapse-worker-media-repository-0:18551
room http://matrix-synapse-worker-room-0:28111
sync http://matrix-synapse-worker-sync-0:28211
user_dir http://matrix-synapse-worker-user-dir-0:18661
`
)

func TestLayouts(t *testing.T) {
	tests := map[string]string{
		"mdad/no-workers":                     "",
		"mdad/little-federation-helper":       "",
		"mdad/one-of-each":                    genericWorkers + streamWriters + deviceLists + quarantinedMedia,
		"mdad/one-of-each@2026-05-01":         genericWorkers + streamWriters + deviceLists + quarantinedMedia,
		"mdad/one-of-each@2026-04-03":         genericWorkers + streamWriters + deviceLists,
		"mdad/one-of-each@2025-06-30":         genericWorkers + streamWriters,
		"mdad/specialized-workers":            specializedWorkers + streamWriters + deviceLists + quarantinedMedia,
		"mdad/specialized-workers@2026-04-03": specializedWorkers + streamWriters + deviceLists,
	}
	for name, want := range tests {
		layout, ok := findLayout(name)
		if !ok {
			t.Errorf("%s is not known", name)
			continue
		}
		got := describe(layout.workers(Place{}))
		if want := slices.Sorted(strings.FieldsFuncSeq(want, isNewline)); !slices.Equal(got, want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	if got, want := len(mdadPresets), 4; got != want {
		t.Errorf("%d presets, but %d are tested", got, want)
	}
}

func isNewline(r rune) bool { return r == '\n' }

func describe(workers Workers) []string {
	var lines []string
	for _, class := range slices.Sorted(maps.Keys(workers)) {
		for _, upstream := range workers[class] {
			lines = append(lines, string(class)+" "+upstream.URL)
		}
	}
	slices.Sort(lines)
	return lines
}

// The preset all-classes has every class that does not replace another.
func TestPresetAllClasses(t *testing.T) {
	cfg := mustLoad(t, "presets/all-classes.yaml")
	twice := []Class{ClassSync, ClassClientReader, ClassEventCreator, ClassFederationInbound}
	for _, class := range WorkerClasses {
		want := 1
		switch {
		case slices.Contains([]Class{ClassGeneric, ClassRoom, ClassSSOLogin}, class):
			want = 0
		case slices.Contains(twice, class):
			want = 2
		}
		if got := len(cfg.Sites[0].Synapse.Workers[class]); got != want {
			t.Errorf("%s: %d processes, want %d", class, got, want)
		}
	}
}
