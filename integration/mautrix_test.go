//go:build integration

package integration

import (
	"bytes"
	"context"
	"image"
	"image/png"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
	"maunium.net/go/mautrix/pushrules"
)

// TestMautrix lives a day of two users with mautrix-go, and then asks of each
// request whether the right process answered it.
func TestMautrix(t *testing.T) {
	before := counters(t)
	day := newDay(t)
	for _, step := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"log in", day.logIn},
		{"first sync", day.firstSync},
		{"create rooms", day.createRooms},
		{"join and send", day.joinAndSend},
		{"long poll", day.longPoll},
		{"read the room", day.readRoom},
		{"sliding sync", day.slidingSync},
		{"media", day.media},
		{"user directory", day.userDirectory},
		{"typing", day.typing},
		{"receipts", day.receipts},
		{"presence", day.presence},
		{"push rules", day.pushRules},
		{"account data", day.accountData},
		{"keys and devices", day.keys},
		{"to device", day.toDevice},
		{"profile", day.profile},
		{"public rooms", day.publicRooms},
		{"log out", day.logOut},
	} {
		if !t.Run(step.name, step.do) {
			break
		}
	}
	requests := append(day.alice.client.sent(), day.bob.client.sent()...)
	result := compareWithExplain(t, requests)
	result.wantClasses(t, "main", "generic", "media", "user_dir", "stream:typing", "stream:to_device", "stream:account_data",
		"stream:receipts", "stream:presence", "stream:push_rules", "stream:device_lists")
	result.wantCounted(t, before)
}

// day is two users and what they made.
type day struct {
	alice, bob *member
	hall       id.RoomID // version 11, published
	attic      id.RoomID // version 12, whose ids have no server name
	message    id.EventID
}

func newDay(t *testing.T) *day {
	return &day{alice: register(t, "alice", "ALICE"), bob: register(t, "bob", "BOB")}
}

func (d *day) logIn(t *testing.T) {
	second := discover(t, d.alice.client, serverName)
	flows, err := second.GetLoginFlows(t.Context())
	if err != nil || !flows.HasFlow(mautrix.AuthTypePassword) {
		t.Fatalf("login flows: %v, %v", flows, err)
	}
	_, err = second.Login(t.Context(), &mautrix.ReqLogin{
		Type: mautrix.AuthTypePassword, Password: password, StoreCredentials: true,
		Identifier: mautrix.UserIdentifier{Type: mautrix.IdentifierTypeUser, User: "alice"},
	})
	if err != nil {
		t.Fatal(err)
	}
	who, err := second.Whoami(t.Context())
	if err != nil || who.UserID != d.alice.UserID {
		t.Fatalf("whoami: %v, %v", who, err)
	}
	if _, err := second.Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (d *day) firstSync(t *testing.T) {
	for _, m := range []*member{d.alice, d.bob} {
		if _, err := m.sync(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	}
}

func (d *day) createRooms(t *testing.T) {
	create := func(version id.RoomVersion, alias string) id.RoomID {
		room, err := d.alice.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{
			Preset: "public_chat", RoomVersion: version, RoomAliasName: alias, Name: "The " + alias, Visibility: "public",
		})
		if err != nil {
			t.Fatal(err)
		}
		return room.RoomID
	}
	d.hall, d.attic = create(id.RoomV11, "hall"), create(id.RoomV12, "attic")
	if strings.Contains(string(d.attic), ":") {
		t.Errorf("a version 12 room has the id %q", d.attic)
	}
}

func (d *day) joinAndSend(t *testing.T) {
	if _, err := d.bob.JoinRoom(t.Context(), "#hall:"+serverName, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := d.alice.InviteUser(t.Context(), d.attic, &mautrix.ReqInviteUser{UserID: d.bob.UserID}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.bob.JoinRoomByID(t.Context(), d.attic); err != nil {
		t.Fatal(err)
	}
	for _, room := range []id.RoomID{d.attic, d.hall} {
		sent, err := d.alice.SendText(t.Context(), room, "good morning")
		if err != nil {
			t.Fatal(err)
		}
		d.message = sent.EventID
	}
	if _, err := d.alice.SendStateEvent(t.Context(), d.hall, event.StateTopic, "", map[string]string{"topic": "weather"}); err != nil {
		t.Fatal(err)
	}
}

// longPoll has Bob wait before Alice speaks.
func (d *day) longPoll(t *testing.T) {
	if _, err := d.bob.sync(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	arrived := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		for {
			answer, err := d.bob.sync(ctx, 25*time.Second)
			if err != nil || (answer.Rooms.Join[d.hall] != nil && contains(answer.Rooms.Join[d.hall].Timeline.Events, event.EventMessage)) {
				arrived <- err
				return
			}
		}
	}()
	time.Sleep(500 * time.Millisecond)
	start := time.Now()
	if _, err := d.alice.SendText(t.Context(), d.hall, "are you there?"); err != nil {
		t.Fatal(err)
	}
	if err := <-arrived; err != nil {
		t.Fatal(err)
	}
	if waited := time.Since(start); waited > 5*time.Second {
		t.Errorf("the message took %v to a waiting sync", waited)
	}
}

func (d *day) readRoom(t *testing.T) {
	ctx := t.Context()
	if members, err := d.bob.JoinedMembers(ctx, d.hall); err != nil || len(members.Joined) != 2 {
		t.Errorf("joined members: %v, %v", members, err)
	}
	if history, err := d.bob.Messages(ctx, d.hall, "", "", mautrix.DirectionBackward, nil, 10); err != nil || len(history.Chunk) == 0 {
		t.Errorf("messages: %v, %v", history, err)
	}
	if _, err := d.bob.Context(ctx, d.hall, d.message, nil, 3); err != nil {
		t.Errorf("context: %v", err)
	}
	if _, err := d.bob.GetEvent(ctx, d.hall, d.message); err != nil {
		t.Errorf("event: %v", err)
	}
	if rooms, err := d.bob.JoinedRooms(ctx); err != nil || len(rooms.JoinedRooms) != 2 {
		t.Errorf("joined rooms: %v, %v", rooms, err)
	}
	if _, err := d.bob.Hierarchy(ctx, d.attic, nil); err != nil {
		t.Errorf("hierarchy: %v", err)
	}
	if err := d.bob.StateEvent(ctx, d.hall, event.StateTopic, "", &map[string]any{}); err != nil {
		t.Errorf("state: %v", err)
	}
	if _, err := d.bob.RedactEvent(ctx, d.attic, d.message); err == nil {
		t.Error("Bob redacted an event of Alice's in another room")
	}
	if _, err := d.alice.GetRelations(ctx, d.hall, d.message, &mautrix.ReqGetRelations{}); err != nil {
		t.Errorf("relations: %v", err)
	}
}

func (d *day) slidingSync(t *testing.T) {
	ask := func(query map[string]string) (position string, rooms int) {
		request := map[string]any{
			"conn_id": "day",
			"lists": map[string]any{"all": map[string]any{
				"ranges": [][]int{{0, 9}}, "required_state": [][]string{{"m.room.name", ""}}, "timeline_limit": 5,
			}},
			"extensions": map[string]any{"typing": map[string]any{"enabled": true}, "e2ee": map[string]any{"enabled": true}},
		}
		var answer struct {
			Pos   string         `json:"pos"`
			Rooms map[string]any `json:"rooms"`
		}
		address := d.bob.BuildURLWithQuery(mautrix.ClientURLPath{"unstable", "org.matrix.simplified_msc3575", "sync"}, query)
		if _, err := d.bob.MakeRequest(t.Context(), http.MethodPost, address, request, &answer); err != nil {
			t.Fatal(err)
		}
		return answer.Pos, len(answer.Rooms)
	}
	position, rooms := ask(map[string]string{"timeout": "0"})
	if rooms != 2 {
		t.Errorf("the first sliding sync has %d rooms, want 2", rooms)
	}
	if next, _ := ask(map[string]string{"timeout": "500", "pos": position}); next == "" {
		t.Error("the second sliding sync has no position")
	}
}

func (d *day) media(t *testing.T) {
	var picture bytes.Buffer
	if err := png.Encode(&picture, image.NewGray(image.Rect(0, 0, 200, 200))); err != nil {
		t.Fatal(err)
	}
	uploaded, err := d.alice.UploadBytesWithName(t.Context(), picture.Bytes(), "image/png", "grey.png")
	if err != nil {
		t.Fatal(err)
	}
	downloaded, err := d.bob.DownloadBytes(t.Context(), uploaded.ContentURI)
	if err != nil || !bytes.Equal(downloaded, picture.Bytes()) {
		t.Errorf("downloaded %d bytes of %d: %v", len(downloaded), picture.Len(), err)
	}
	thumbnail, err := d.bob.DownloadThumbnail(t.Context(), uploaded.ContentURI, 32, 32)
	if err != nil {
		t.Fatal(err)
	}
	defer thumbnail.Body.Close()
	if _, format, err := image.Decode(io.LimitReader(thumbnail.Body, 1<<20)); err != nil {
		t.Errorf("decoding the thumbnail (%s): %v", format, err)
	}
	if _, err := d.alice.GetMediaConfig(t.Context()); err != nil {
		t.Error(err)
	}
}

// userDirectory asks until the directory, filled in the background, has Bob.
func (d *day) userDirectory(t *testing.T) {
	deadline := time.Now().Add(20 * time.Second)
	for {
		found, err := d.alice.SearchUserDirectory(t.Context(), "bob", 5)
		if err != nil {
			t.Fatal(err)
		}
		if len(found.Results) == 1 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the directory has %v", found.Results)
		}
		time.Sleep(250 * time.Millisecond)
	}
}

func (d *day) typing(t *testing.T) {
	if _, err := d.alice.UserTyping(t.Context(), d.hall, true, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	d.bob.await(t, "typing", func(s *mautrix.RespSync) bool { return hears(s, d.hall, event.EphemeralEventTyping) })
}

func (d *day) receipts(t *testing.T) {
	if err := d.bob.SendReceipt(t.Context(), d.hall, d.message, event.ReceiptTypeRead, nil); err != nil {
		t.Fatal(err)
	}
	d.alice.await(t, "a receipt", func(s *mautrix.RespSync) bool { return hears(s, d.hall, event.EphemeralEventReceipt) })
	if err := d.bob.SetReadMarkers(t.Context(), d.hall, map[string]any{"m.fully_read": d.message}); err != nil {
		t.Fatal(err)
	}
	d.bob.await(t, "the read marker", func(s *mautrix.RespSync) bool {
		joined := s.Rooms.Join[d.hall]
		return joined != nil && contains(joined.AccountData.Events, event.AccountDataFullyRead)
	})
}

func (d *day) presence(t *testing.T) {
	if err := d.alice.SetPresence(t.Context(), mautrix.ReqPresence{Presence: event.PresenceUnavailable, StatusMsg: "tea"}); err != nil {
		t.Fatal(err)
	}
	d.bob.await(t, "presence", func(s *mautrix.RespSync) bool {
		for _, e := range s.Presence.Events {
			if e.Sender == d.alice.UserID && e.Content.Raw["status_msg"] == "tea" {
				return true
			}
		}
		return false
	})
	if status, err := d.bob.GetPresence(t.Context(), d.alice.UserID); err != nil || status.StatusMsg != "tea" {
		t.Errorf("presence: %v, %v", status, err)
	}
}

func (d *day) pushRules(t *testing.T) {
	rule := &mautrix.ReqPutPushRule{Pattern: "cake", Actions: []pushrules.PushActionType{pushrules.ActionNotify}}
	if err := d.alice.PutPushRule(t.Context(), "global", pushrules.ContentRule, "cake", rule); err != nil {
		t.Fatal(err)
	}
	if got, err := d.alice.GetPushRule(t.Context(), "global", pushrules.ContentRule, "cake"); err != nil || got.Pattern != "cake" {
		t.Errorf("push rule: %v, %v", got, err)
	}
	if err := d.alice.DeletePushRule(t.Context(), "global", pushrules.ContentRule, "cake"); err != nil {
		t.Error(err)
	}
}

func (d *day) accountData(t *testing.T) {
	want := map[string]any{"colour": "blue"}
	if err := d.alice.SetAccountData(t.Context(), "test.wall", want); err != nil {
		t.Fatal(err)
	}
	got := map[string]any{}
	if err := d.alice.GetAccountData(t.Context(), "test.wall", &got); err != nil || got["colour"] != "blue" {
		t.Errorf("account data: %v, %v", got, err)
	}
	if err := d.alice.SetRoomAccountData(t.Context(), d.attic, "test.wall", want); err != nil {
		t.Error(err)
	}
	if err := d.alice.AddTag(t.Context(), d.hall, event.RoomTagFavourite, 0.5); err != nil {
		t.Fatal(err)
	}
	if tags, err := d.alice.GetTags(t.Context(), d.hall); err != nil || len(tags.Tags) != 1 {
		t.Errorf("tags: %v, %v", tags, err)
	}
	if err := d.alice.RemoveTag(t.Context(), d.hall, event.RoomTagFavourite); err != nil {
		t.Error(err)
	}
}

// keys has Alice upload keys of the right shape, which Synapse takes without
// checking the signatures, and Bob notice, fetch and claim them.
func (d *day) keys(t *testing.T) {
	ctx := t.Context()
	if err := d.uploadKeys(ctx, d.alice); err != nil {
		t.Fatal(err)
	}
	d.bob.await(t, "a changed device list", func(s *mautrix.RespSync) bool {
		for _, changed := range s.DeviceLists.Changed {
			if changed == d.alice.UserID {
				return true
			}
		}
		return false
	})
	query := &mautrix.ReqQueryKeys{DeviceKeys: mautrix.DeviceKeysRequest{d.alice.UserID: {}}}
	if got, err := d.bob.QueryKeys(ctx, query); err != nil || len(got.DeviceKeys[d.alice.UserID]) != 1 {
		t.Errorf("querying keys: %v, %v", got, err)
	}
	claim := &mautrix.ReqClaimKeys{OneTimeKeys: mautrix.OneTimeKeysRequest{
		d.alice.UserID: {d.alice.DeviceID: id.KeyAlgorithmSignedCurve25519},
	}}
	if got, err := d.bob.ClaimKeys(ctx, claim); err != nil || len(got.OneTimeKeys[d.alice.UserID]) != 1 {
		t.Errorf("claiming keys: %v, %v", got, err)
	}
	if err := d.alice.SetDeviceInfo(ctx, d.alice.DeviceID, &mautrix.ReqDeviceInfo{DisplayName: "kitchen"}); err != nil {
		t.Error(err)
	}
	if devices, err := d.alice.GetDevicesInfo(ctx); err != nil || len(devices.Devices) != 1 || devices.Devices[0].DisplayName != "kitchen" {
		t.Errorf("devices: %v, %v", devices, err)
	}
}

func (d *day) uploadKeys(ctx context.Context, m *member) error {
	key, signature := strings.Repeat("k", 43), strings.Repeat("s", 86)
	signing := id.NewKeyID(id.KeyAlgorithmEd25519, m.DeviceID.String())
	signatures := map[id.UserID]map[id.KeyID]string{m.UserID: {signing: signature}}
	_, err := m.UploadKeys(ctx, &mautrix.ReqUploadKeys{
		DeviceKeys: &mautrix.DeviceKeys{
			UserID: m.UserID, DeviceID: m.DeviceID, Signatures: signatures,
			Algorithms: []id.Algorithm{id.AlgorithmOlmV1, id.AlgorithmMegolmV1},
			Keys: mautrix.KeyMap{
				id.NewDeviceKeyID(id.KeyAlgorithmCurve25519, m.DeviceID): key,
				id.NewDeviceKeyID(id.KeyAlgorithmEd25519, m.DeviceID):    key,
			},
		},
		OneTimeKeys: map[id.KeyID]mautrix.OneTimeKey{
			id.NewKeyID(id.KeyAlgorithmSignedCurve25519, "AAAAAQ"): {Key: id.Curve25519(key), IsSigned: true, Signatures: signatures},
		},
	})
	return err
}

func (d *day) toDevice(t *testing.T) {
	kind := event.Type{Type: "m.dummy", Class: event.ToDeviceEventType}
	_, err := d.alice.SendToDevice(t.Context(), kind, &mautrix.ReqSendToDevice{
		Messages: map[id.UserID]map[id.DeviceID]*event.Content{d.bob.UserID: {d.bob.DeviceID: {Raw: map[string]any{}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	d.bob.await(t, "a message to the device", func(s *mautrix.RespSync) bool { return contains(s.ToDevice.Events, kind) })
}

func (d *day) profile(t *testing.T) {
	if err := d.alice.SetDisplayName(t.Context(), "Alice ☕"); err != nil {
		t.Fatal(err)
	}
	if name, err := d.bob.GetDisplayName(t.Context(), d.alice.UserID); err != nil || name.DisplayName != "Alice ☕" {
		t.Errorf("display name: %v, %v", name, err)
	}
	if _, err := d.bob.GetProfile(t.Context(), d.alice.UserID); err != nil {
		t.Error(err)
	}
}

func (d *day) publicRooms(t *testing.T) {
	rooms, err := d.bob.PublicRooms(t.Context(), &mautrix.ReqPublicRooms{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	published := map[id.RoomID]bool{}
	for _, room := range rooms.Chunk {
		published[room.RoomID] = true
	}
	if !published[d.hall] || !published[d.attic] {
		t.Errorf("the room directory has neither or one of %s and %s: %v", d.hall, d.attic, published)
	}
	if _, err := d.bob.ResolveAlias(t.Context(), id.RoomAlias("#hall:"+serverName)); err != nil {
		t.Error(err)
	}
}

func (d *day) logOut(t *testing.T) {
	if _, err := d.bob.LeaveRoom(t.Context(), d.hall); err != nil {
		t.Error(err)
	}
	if _, err := d.bob.ForgetRoom(t.Context(), d.hall); err != nil {
		t.Error(err)
	}
	if _, err := d.bob.Logout(t.Context()); err != nil {
		t.Error(err)
	}
}
