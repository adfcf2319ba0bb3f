package routing

import (
	"slices"
	"strings"
	"testing"

	"vestibule/configs"
)

// Neither Synapse nor the corpus tells when a row lacks a class, a mark or a key
// that its neighbours have. These rules are those of docs/routing.md.

// nextClass is what follows a class in every row, but for room.
var nextClass = map[configs.Class]configs.Class{
	configs.ClassInitialSync: configs.ClassSync, configs.ClassSync: configs.ClassGeneric,
	configs.ClassEventCreator: configs.ClassClientReader, configs.ClassClientReader: configs.ClassGeneric,
	configs.ClassFederationInbound: configs.ClassFederationReader, configs.ClassFederationReader: configs.ClassGeneric,
}

func TestCatalogueRows(t *testing.T) {
	c, err := synapse()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range c.rows {
		for _, mistake := range r.mistakes() {
			t.Errorf("%s: %s %s", r.rule.Place, r.rule.Pattern, mistake)
		}
	}
}

func (r *row) mistakes() (found []string) {
	if r.endpoint == configs.ClassMain {
		return nil
	}
	if slices.ContainsFunc(r.classes, func(p preference) bool { return p.alone != r.shouldStandAlone(p.class) }) {
		found = append(found, "marks the wrong classes as those that stand alone")
	}
	var chain []configs.Class
	for _, p := range r.classes {
		if !p.ifRoom {
			chain = append(chain, p.class)
		}
	}
	for i, class := range chain {
		if next := nextClass[class]; next != "" && (i+1 == len(chain) || chain[i+1] != next) {
			found = append(found, "names "+string(class)+" without "+string(next)+" behind it")
		}
	}
	if byRoom := len(chain) < len(r.classes); byRoom != r.shouldAskForRoom() {
		found = append(found, "asks for a room id and should not, or the other way round")
	}
	if r.area == areaFederation && r.endpoint != configs.ClassMedia && !r.rule.Remote {
		found = append(found, "waits for other servers and is not marked remote")
	}
	if key, want := r.keyText(), r.shouldStickTo(); key != want {
		found = append(found, "has the key "+key+", not "+want)
	}
	return found
}

// shouldStandAlone tells whether Synapse fails off a process of the class: of
// streams that take writes from their writer only, reading is free.
func (r *row) shouldStandAlone(class configs.Class) bool {
	switch class {
	case configs.ClassMedia, configs.ClassSSOLogin, configs.ClassStreamQuarantinedMediaChanges,
		configs.ClassStreamTyping, configs.ClassStreamToDevice, configs.ClassStreamReceipts:
		return true
	case configs.ClassStreamPushRules, configs.ClassStreamThreadSubscriptions:
		return !slices.Equal(r.methods.list, []string{"GET"})
	}
	return false
}

// shouldAskForRoom tells whether MDAD's room workers serve the row: all that is
// about one room, but syncs and streams; of federation two endpoints.
func (r *row) shouldAskForRoom() bool {
	if r.area == areaFederation {
		return strings.Contains(r.rule.Pattern, "/state_ids/") || strings.Contains(r.rule.Pattern, "/get_missing_events/")
	}
	reads := slices.ContainsFunc(r.classes, func(p preference) bool { return p.class == configs.ClassClientReader })
	return reads && (strings.Contains(r.rule.Pattern, "{room}") || strings.Contains(r.rule.Pattern, "/_matrix/client/v1/rooms/"))
}

// keyText is the key as the catalogue writes it.
func (r *row) keyText() string {
	switch r.key {
	case sourceUser:
		return "user"
	case sourceOrigin:
		return "origin"
	case sourceURI:
		return "uri"
	case sourceSegments:
		return "{" + strings.Join(r.keyNames, "}/{") + "}"
	}
	return "-"
}

// shouldStickTo is the key that docs/routing.md gives for the endpoint.
func (r *row) shouldStickTo() string {
	has := func(text string) bool { return strings.Contains(r.rule.Pattern, text) }
	switch r.endpoint {
	case configs.ClassSync, configs.ClassInitialSync, configs.ClassStreamDeviceLists:
		return "user"
	case configs.ClassEventCreator, configs.ClassStreamReceipts:
		switch {
		case has("{room}"):
			return "{room}"
		case has("{user}"):
			return "{user}"
		}
		return "user"
	case configs.ClassFederationInbound:
		return "origin"
	case configs.ClassFederationReader:
		if has("/state/") || has("/state_ids/") || has("/event_auth/") || has("/get_missing_events/") {
			return "uri"
		}
	case configs.ClassMedia:
		switch {
		case has("{server}/{media}"):
			return "{server}/{media}"
		case has("{media}"):
			return "{media}"
		}
	case configs.ClassClientReader:
		if has("/messages") {
			return "{room}"
		}
	}
	return "-"
}
