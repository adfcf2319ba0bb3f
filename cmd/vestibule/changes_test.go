package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vestibule/configs"
)

func mustLoad(t *testing.T, text string) *configs.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vestibule.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, problems := configs.Load(path)
	if cfg == nil {
		t.Fatalf("%s\n%s", text, problems)
	}
	return cfg
}

const changesBase = `
control: /run/a.sock
admins: [192.0.2.1]
entrypoints: { https: { public_port: 443 }, http: { addresses: [":80"] } }
certificates: { issuer: internal, storage: { directory: /a } }
timeouts: { idle: 3m, grace: 8s }
logging: { level: info }
sites:
  - server_name: example.com
    synapse: { main: "http://synapse:8008", workers: { sync: ["http://sync:1"] } }
    ketesa: { upstream: "http://ketesa:8080" }
    well_known: { client: { a: { b: [1, 2] } } }
    routes: [{ name: x, path: /x, status: 404 }]
  - server_name: example.org
    synapse: { main: "http://org:8008" }
    internal: { addresses: [":8008"] }
`

// Whatever is changed is told, once, or with what only a restart brings.
func TestChanges(t *testing.T) {
	base := mustLoad(t, changesBase)
	for _, c := range []struct{ old, new, want string }{
		{"\ncontrol", "\n# a comment moves every line\ncontrol", "nothing changed"},
		{"[192.0.2.1]", "[192.0.2.2]", "admins changed"},
		{"level: info", "level: debug", "logging.level changed"},
		{"grace: 8s", "grace: 9s", "timeouts.grace changed"},
		{"idle: 3m", "idle: 4m", "timeouts.idle changed: restart to apply it"},
		{"/run/a.sock", "/run/b.sock", "control changed: restart to apply it"},
		{"directory: /a", "directory: /b", "certificates.storage.directory changed: restart to apply it"},
		{`":80"`, `":81"`, "entrypoints.http.addresses changed: restart to apply it"},
		{`":8008"`, `":8009"`, "internal.addresses of example.org changed: restart to apply it"},
		{"public_port: 443", "public_port: 444",
			"entrypoints.https.public_port changed\nentrypoints.https.public_port in redirects from http changed: restart to apply it"},
		{`"http://sync:1"`, `{ url: "http://sync:1", weight: 2 }`, "synapse.workers of example.com changed"},
		{"http://ketesa:8080", "http://ketesa:8081",
			"pool example.com/ketesa changed: http://ketesa:8081, before http://ketesa:8080\nketesa.upstream.url of example.com changed"},
		{"[1, 2]", "[1, 3]", "well_known.client of example.com changed"},
		{"status: 404", "status: 410", "routes of example.com changed"},
		{changesBase[strings.Index(changesBase, "  - server_name: example.org"):], "",
			"site example.org removed\ncertificate for matrix.example.org no longer wanted\npool example.org/main removed\n" +
				"internal.addresses of example.org changed: restart to apply it"},
	} {
		now := mustLoad(t, strings.Replace(changesBase, c.old, c.new, 1))
		if got := strings.Join(changes(base, base, now), "\n"); got != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", c.new, got, c.want)
		}
	}
}

// What waits for a restart is told at every reload until then.
func TestChangesKeepWaiting(t *testing.T) {
	boot := mustLoad(t, changesBase)
	now := mustLoad(t, strings.Replace(changesBase, "idle: 3m", "idle: 4m", 1))
	if got := changes(boot, now, now); !slices.Equal(got, []string{"timeouts.idle changed: restart to apply it"}) {
		t.Errorf("got %q", got)
	}
}
