//go:build integration

package integration

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
)

// TestHomeservers lets users of hs1.test meet those of two other homeservers:
// one found by its well-known, one by an SRV record. They know one another's
// names, and nothing else is told to anybody.
func TestHomeservers(t *testing.T) {
	others := []*homeserver{hs2(), hs3()}
	lab.step("starting %d more homeservers", len(others))
	if err := lab.found(others...); err != nil {
		t.Fatal(err)
	}
	lab.step("they are ready")
	for _, h := range others {
		t.Run("certificates of "+h.name, func(t *testing.T) { checkCertificates(t, h) })
	}
	for _, other := range others {
		t.Run(serverName+" and "+other.name, func(t *testing.T) {
			v := newVisit(t, hs1(), other)
			for _, step := range []struct {
				name string
				do   func(*testing.T)
			}{
				{"join", v.join},
				{"messages", v.messages},
				{"media", v.media},
				{"traffic", v.traffic},
			} {
				if !t.Run(step.name, step.do) {
					break
				}
			}
		})
	}
}

// visit is a user of one homeserver who comes into a room of another's.
type visit struct {
	here, there *homeserver
	host, guest *member
	alias       string
	room        id.RoomID
	arrivals    map[*homeserver][]arrival
	marks       map[*homeserver]int64 // how long the front doors' logs were before
}

// arrival is a request of another homeserver that a visit must cause.
type arrival struct {
	endpoint string
	method   string
	path     string // how it begins
}

func newVisit(t *testing.T, here, there *homeserver) *visit {
	name, _, _ := strings.Cut(there.name, ".")
	v := &visit{
		here: here, there: there, alias: "salon-d'été/" + name,
		arrivals: map[*homeserver][]arrival{}, marks: map[*homeserver]int64{},
	}
	for _, h := range []*homeserver{here, there} {
		mark, err := h.door.written()
		if err != nil {
			t.Fatal(err)
		}
		v.marks[h] = mark
	}
	v.host = registerAt(t, here.name, "judy-"+name, "JUDY")
	v.guest = registerAt(t, there.name, "mallory", "MALLORY")
	return v
}

// expect notes requests that come from the other homeserver.
func (v *visit) expect(at *homeserver, arrivals ...arrival) {
	v.arrivals[at] = append(v.arrivals[at], arrivals...)
}

// join has the guest come in by the room's alias.
func (v *visit) join(t *testing.T) {
	room, err := v.host.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{Preset: "public_chat", RoomAliasName: v.alias})
	if err != nil {
		t.Fatal(err)
	}
	v.room = room.RoomID
	joined, err := v.guest.JoinRoom(t.Context(), "#"+v.alias+":"+v.here.name, nil)
	if err != nil {
		t.Fatal(err)
	}
	if joined.RoomID != v.room {
		t.Errorf("joined %s, want %s", joined.RoomID, v.room)
	}
	v.expect(v.here,
		arrival{"main", http.MethodGet, "/_matrix/key/v2/server"},
		arrival{"federation_reader", http.MethodGet, "/_matrix/federation/v1/query/directory"},
		arrival{"federation_reader", http.MethodGet, "/_matrix/federation/v1/make_join/"},
		arrival{"federation_reader", http.MethodPut, "/_matrix/federation/v2/send_join/"})
	v.expect(v.there, arrival{"main", http.MethodGet, "/_matrix/key/v2/server"})
	v.host.await(t, "the guest", func(s *mautrix.RespSync) bool {
		return v.timelineHas(s, func(e *event.Event) bool {
			return e.Type.Type == event.StateMember.Type && e.GetStateKey() == v.guest.UserID.String()
		})
	})
}

// messages are said both ways.
func (v *visit) messages(t *testing.T) {
	for _, said := range []struct{ by, to *member }{{v.host, v.guest}, {v.guest, v.host}} {
		body := "good evening from " + said.by.UserID.String()
		if _, err := said.by.SendText(t.Context(), v.room, body); err != nil {
			t.Fatal(err)
		}
		said.to.await(t, "what "+said.by.UserID.String()+" says", func(s *mautrix.RespSync) bool {
			return v.timelineHas(s, func(e *event.Event) bool {
				return e.Sender == said.by.UserID && e.Content.Raw["body"] == body
			})
		})
	}
	transaction := arrival{"federation_inbound", http.MethodPut, "/_matrix/federation/v1/send/"}
	v.expect(v.here, transaction)
	v.expect(v.there, transaction)
}

// media go both ways, and only to who proves to be a user.
func (v *visit) media(t *testing.T) {
	for _, sent := range []struct {
		by, to *member
		at     *homeserver
	}{{v.host, v.guest, v.here}, {v.guest, v.host, v.there}} {
		picture := []byte("a picture by " + sent.by.UserID.String())
		uploaded, err := sent.by.UploadBytesWithName(t.Context(), picture, "image/png", "p.png")
		if err != nil {
			t.Fatal(err)
		}
		downloaded, err := sent.to.DownloadBytes(t.Context(), uploaded.ContentURI)
		if err != nil || !bytes.Equal(downloaded, picture) {
			t.Errorf("%s downloads %q: %v", sent.to.UserID, downloaded, err)
		}
		path := "/_matrix/client/v1/media/download/" + sent.at.name + "/" + uploaded.ContentURI.FileID
		response, err := newClient(lab.roots).do(http.MethodGet, sent.to.HomeserverURL.JoinPath(path).String())
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusUnauthorized {
			t.Errorf("without a token, the download answers %s", response.Status)
		}
		v.expect(sent.at, arrival{"media", http.MethodGet, "/_matrix/federation/v1/media/download/" + uploaded.ContentURI.FileID})
	}
}

// timelineHas looks for an event among those of the room in an answer.
func (v *visit) timelineHas(s *mautrix.RespSync, is func(*event.Event) bool) bool {
	joined := s.Rooms.Join[v.room]
	return joined != nil && slices.ContainsFunc(joined.Timeline.Events, is)
}

// traffic is what the front doors and the Synapses behind them logged of it.
func (v *visit) traffic(t *testing.T) {
	for _, h := range []*homeserver{v.here, v.there} {
		h.wantArrivals(t, v.marks[h], v.arrivals[h])
	}
}

// wantArrivals waits until a front door has logged the arrivals, at most ten
// seconds, and asks of each request of another homeserver: did it come to the
// right entrypoint, under the right name, and to a process that logged it?
func (h *homeserver) wantArrivals(t *testing.T, mark int64, wanted []arrival) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		passages, err := h.door.federated(mark)
		if err != nil {
			t.Fatal(err)
		}
		missing := slices.DeleteFunc(slices.Clone(wanted), func(a arrival) bool { return slices.ContainsFunc(passages, a.is) })
		if len(missing) == 0 {
			h.checkPassages(t, passages)
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing like %+v came to %s:\n%+v", missing, h.name, passages)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (a arrival) is(p passage) bool {
	return p.Endpoint == a.endpoint && p.Method == a.method && strings.HasPrefix(p.Path, a.path)
}

func (h *homeserver) checkPassages(t *testing.T, passages []passage) {
	t.Helper()
	var keys []string
	for _, p := range passages {
		keys = append(keys, p.key())
	}
	logged, err := h.synapse.awaitFederated(keys)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, p := range passages {
		counts[p.Class]++
		if p.Entrypoint != h.entrypoint || p.Host != h.addressee || p.Status != http.StatusOK {
			t.Errorf("%s %s came to %s for %s and got %d", p.Method, p.Path, p.Entrypoint, p.Host, p.Status)
		}
		if processes := logged[p.key()]; !slices.Contains(processes, strings.TrimPrefix(p.Upstream, "http://")) {
			t.Errorf("%s %s went to %s, but %q logged it", p.Method, p.Path, p.Upstream, processes)
		}
		if len(h.synapse.workers) > 0 && !slices.Contains(processesOf[p.Class], strings.TrimPrefix(p.Upstream, "http://")) {
			t.Errorf("%s %s of class %s went to %s", p.Method, p.Path, p.Class, p.Upstream)
		}
	}
	t.Logf("%d requests of other homeservers came to %s: %v", len(passages), h.name, counts)
}
