//go:build integration

package integration

import (
	"fmt"
	"slices"
)

// worker is one of MDAD's worker processes.
type worker struct {
	Name            string
	App             string
	Resources       string // of its listener, comma-separated
	Port            int    // 0 when it serves no requests from outside
	ReplicationPort int    // 0 when it writes no stream
	Stream          string // the stream it writes, as stream_writers spells it
	Duty            string // what every process is told of it besides, as a line of YAML
}

// tag is the listener's tag in the access log: host and port of the URL the
// front door knows the worker by.
func (w worker) tag() string { return fmt.Sprintf("%s:%d", w.Name, w.Port) }

const genericWorker = "synapse.app.generic_worker"

// The workers of MDAD's presets, with the names and ports of its
// roles/custom/matrix-synapse/tasks/synapse/workers/init.yml. They are written
// out, not taken from our configuration, so that the two are compared.

// oneOfEach is the preset of that name.
var oneOfEach = slices.Concat(
	[]worker{{Name: "matrix-synapse-worker-generic-0", App: genericWorker, Resources: "client, federation", Port: 18111}},
	streamWriters, mediaAndDirectory, portless)

// specializedWorkers is the preset specialized-workers with a second sync worker.
// Those without a port are left out: what they do is no matter of the front door,
// and the main process does it.
var specializedWorkers = slices.Concat(
	[]worker{
		{Name: "matrix-synapse-worker-room-0", App: genericWorker, Resources: "client, federation", Port: 28111},
		{Name: "matrix-synapse-worker-sync-0", App: genericWorker, Resources: "client", Port: 28211},
		{Name: "matrix-synapse-worker-sync-1", App: genericWorker, Resources: "client", Port: 28212},
		{Name: "matrix-synapse-worker-client-reader-0", App: genericWorker, Resources: "client", Port: 28311},
		{Name: "matrix-synapse-worker-federation-reader-0", App: genericWorker, Resources: "federation", Port: 28411},
	},
	streamWriters, mediaAndDirectory)

// What both presets have.
var (
	streamWriters = []worker{
		{Name: "matrix-synapse-worker-stream-writer-0-events", App: genericWorker, Stream: "events", ReplicationPort: 25011},
		streamWriter(1, "typing", "typing"),
		streamWriter(2, "to-device", "to_device"),
		streamWriter(3, "account-data", "account_data"),
		streamWriter(4, "receipts", "receipts"),
		streamWriter(5, "presence", "presence"),
		streamWriter(6, "push-rules", "push_rules"),
		streamWriter(7, "device-lists", "device_lists"),
		streamWriter(8, "quarantined-media-changes", "quarantined_media_changes"),
	}
	mediaAndDirectory = []worker{
		{Name: "matrix-synapse-worker-media-repository-0", App: "synapse.app.media_repository", Resources: "media, client, federation", Port: 18551,
			Duty: "media_instance_running_background_jobs: matrix-synapse-worker-media-repository-0"},
		{Name: "matrix-synapse-worker-user-dir-0", App: genericWorker, Resources: "client", Port: 18661,
			Duty: "update_user_directory_from_worker: matrix-synapse-worker-user-dir-0"},
	}
	portless = []worker{
		{Name: "matrix-synapse-worker-federation-sender-0", App: genericWorker,
			Duty: "federation_sender_instances: [matrix-synapse-worker-federation-sender-0]"},
		{Name: "matrix-synapse-worker-pusher-0", App: genericWorker, Duty: "pusher_instances: [matrix-synapse-worker-pusher-0]"},
		{Name: "matrix-synapse-worker-appservice-0", App: genericWorker, Duty: "notify_appservices_from_worker: matrix-synapse-worker-appservice-0"},
		{Name: "matrix-synapse-worker-background-0", App: genericWorker, Duty: "run_background_tasks_on: matrix-synapse-worker-background-0"},
	}
)

// streamWriter is the writer at an index of MDAD's list of streams.
func streamWriter(index int, name, stream string) worker {
	return worker{
		Name:            fmt.Sprintf("matrix-synapse-worker-stream-writer-%d-%s", index, name),
		App:             genericWorker,
		Resources:       "client",
		Port:            20011 + index,
		ReplicationPort: 25011 + index,
		Stream:          stream,
	}
}
