//go:build integration

package integration

import (
	"context"
	"fmt"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
)

// member is a user with a device, by way of mautrix-go.
type member struct {
	*mautrix.Client
	client *client
	since  string // of the next sync
}

const password = "correct horse battery staple"

// register makes an account at hs1.test, with a device.
func register(t *testing.T, name string, device id.DeviceID) *member {
	t.Helper()
	return registerAt(t, serverName, name, device)
}

// registerAt finds a homeserver by its server name alone and makes an account
// there, with a device.
func registerAt(t *testing.T, server, name string, device id.DeviceID) *member {
	t.Helper()
	m := &member{client: newClient(lab.roots)}
	m.Client = discover(t, m.client, server)
	answer, err := m.RegisterDummy(t.Context(), &mautrix.ReqRegister{Username: name, Password: password, DeviceID: device})
	if err != nil {
		t.Fatalf("registering %s: %v", name, err)
	}
	m.UserID, m.AccessToken, m.DeviceID = answer.UserID, answer.AccessToken, answer.DeviceID
	return m
}

// discover is a client of the homeserver that a server name delegates to.
func discover(t *testing.T, c *client, server string) *mautrix.Client {
	t.Helper()
	found, err := mautrix.DiscoverClientAPIWithClient(t.Context(), c.Client, server)
	if err != nil || found == nil {
		t.Fatalf("discovering the homeserver of %s: %v, %v", server, found, err)
	}
	homeserver, err := mautrix.NewClient(found.Homeserver.BaseURL, "", "")
	if err != nil {
		t.Fatal(err)
	}
	homeserver.Client = c.Client
	return homeserver
}

// sync asks once for what is new, and remembers where it was.
func (m *member) sync(ctx context.Context, timeout time.Duration) (*mautrix.RespSync, error) {
	answer, err := m.SyncRequest(ctx, int(timeout.Milliseconds()), m.since, "", false, event.PresenceOnline)
	if err != nil {
		return nil, fmt.Errorf("syncing: %w", err)
	}
	m.since = answer.NextBatch
	return answer, nil
}

// await syncs until an answer has what is asked for, at most twenty seconds.
func (m *member) await(t *testing.T, what string, has func(*mautrix.RespSync) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		answer, err := m.sync(ctx, 10*time.Second)
		if err != nil {
			t.Fatalf("waiting for %s: %v", what, err)
		}
		if has(answer) {
			return
		}
	}
}

// hears says whether an ephemeral event of a type is in a room's part of an
// answer.
func hears(answer *mautrix.RespSync, room id.RoomID, kind event.Type) bool {
	joined := answer.Rooms.Join[room]
	return joined != nil && contains(joined.Ephemeral.Events, kind)
}

func contains(events []*event.Event, kind event.Type) bool {
	for _, e := range events {
		if e.Type.Type == kind.Type {
			return true
		}
	}
	return false
}
