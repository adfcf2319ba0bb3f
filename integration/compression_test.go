//go:build integration

package integration

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
)

// TestCompression has a client read the same from Synapse in every coding, of
// which none is larger than what Synapse sent, and nothing small is coded. Synapse
// declares no length of its JSON, so that this is about when its bytes come, too.
func TestCompression(t *testing.T) {
	m := register(t, "compressed", "COMPRESSED")
	room, err := m.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{Name: "compression"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		if _, err := m.SendMessageEvent(t.Context(), room.RoomID, event.EventMessage,
			&event.MessageEventContent{MsgType: event.MsgText, Body: fmt.Sprintf("message %d of those that will be read again", i)}); err != nil {
			t.Fatal(err)
		}
	}
	c := newClient(lab.roots)
	rooms := "/_matrix/client/v3/rooms/" + room.RoomID.String()
	token := "Bearer " + m.AccessToken
	for path, large := range map[string]bool{
		"/_matrix/client/versions":          true,
		rooms + "/state":                    true,
		rooms + "/messages?dir=b&limit=40":  true,
		"/_matrix/client/v3/account/whoami": false,
		"/_matrix/client/v3/login":          false,
	} {
		plain := fetchIn(t, c, path, token, "identity", false)
		for _, coding := range []string{"zstd", "br", "gzip"} {
			for i := range 3 {
				sent := fetchIn(t, c, path, token, coding, large)
				if !bytes.Equal(ageless(decodeFrom(t, coding, large, sent)), ageless(plain)) {
					t.Errorf("%s in %s is not what it is without", path, coding)
				}
				if large && len(sent) > len(plain)*2/3 {
					t.Errorf("%s in %s: %d bytes of %d", path, coding, len(sent), len(plain))
				}
				if large && i == 0 {
					t.Logf("%s in %s: %d bytes of %d", path, coding, len(sent), len(plain))
				}
			}
		}
	}
	compareWithExplain(t, c.sent())
}

// ages are how long ago events were sent, in milliseconds.
var ages = regexp.MustCompile(`"age":\d+`)

func ageless(body []byte) []byte { return ages.ReplaceAll(body, nil) }

// fetchIn gets an answer as it is sent, and makes sure that it is coded or not.
func fetchIn(t *testing.T, c *client, path, token, coding string, coded bool) []byte {
	t.Helper()
	response, err := c.do(http.MethodGet, baseURL+path, "Authorization", token, "Accept-Encoding", coding)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s in %s: %s, %v", path, coding, response.Status, err)
	}
	if got := response.Header.Get("Content-Encoding"); got != "" != coded || coded && got != coding {
		t.Errorf("%s in %s: coded as %q, %d bytes", path, coding, got, len(body))
	}
	return body
}

func decodeFrom(t *testing.T, coding string, coded bool, body []byte) []byte {
	t.Helper()
	var from io.Reader = bytes.NewReader(body)
	var err error
	switch {
	case !coded:
	case coding == "zstd":
		from, err = zstd.NewReader(from)
	case coding == "br":
		from = brotli.NewReader(from)
	default:
		from, err = gzip.NewReader(from)
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(from)
	if err != nil {
		t.Errorf("%d bytes of %s: %v", len(body), coding, err)
	}
	return text
}
