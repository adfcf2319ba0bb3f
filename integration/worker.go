//go:build integration

package integration

import "fmt"

// worker is one of MDAD's worker processes.
type worker struct {
	Name            string
	App             string
	Resources       string // of its listener, comma-separated
	Port            int    // 0 when it serves no requests from outside
	ReplicationPort int    // 0 when it writes no stream
	Stream          string // the stream it writes, as stream_writers spells it
}

// tag is the listener's tag in the access log: host and port of the URL the
// front door knows the worker by.
func (w worker) tag() string { return fmt.Sprintf("%s:%d", w.Name, w.Port) }

const genericWorker = "synapse.app.generic_worker"

// oneOfEach are the workers of MDAD's preset one-of-each, with the names and
// ports of its roles/custom/matrix-synapse/tasks/synapse/workers/init.yml. They
// are written out, not taken from our configuration, so that the two are
// compared.
var oneOfEach = []worker{
	{Name: "matrix-synapse-worker-generic-0", App: genericWorker, Resources: "client, federation", Port: 18111},
	{Name: "matrix-synapse-worker-stream-writer-0-events", App: genericWorker, Stream: "events", ReplicationPort: 25011},
	streamWriter(1, "typing", "typing"),
	streamWriter(2, "to-device", "to_device"),
	streamWriter(3, "account-data", "account_data"),
	streamWriter(4, "receipts", "receipts"),
	streamWriter(5, "presence", "presence"),
	streamWriter(6, "push-rules", "push_rules"),
	streamWriter(7, "device-lists", "device_lists"),
	streamWriter(8, "quarantined-media-changes", "quarantined_media_changes"),
	{Name: "matrix-synapse-worker-media-repository-0", App: "synapse.app.media_repository", Resources: "media, client, federation", Port: 18551},
	{Name: "matrix-synapse-worker-user-dir-0", App: genericWorker, Resources: "client", Port: 18661},
	{Name: "matrix-synapse-worker-federation-sender-0", App: genericWorker},
	{Name: "matrix-synapse-worker-pusher-0", App: genericWorker},
	{Name: "matrix-synapse-worker-appservice-0", App: genericWorker},
	{Name: "matrix-synapse-worker-background-0", App: genericWorker},
}

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
