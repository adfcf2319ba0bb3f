package configs

import (
	"maps"
	"slices"
	"strings"
)

// WellKnownDocuments are merged over what is generated, key by key, objects
// recursively; these win. Values are what JSON can hold.
type WellKnownDocuments struct {
	Client  map[string]any `yaml:"client"`  // /.well-known/matrix/client
	Server  map[string]any `yaml:"server"`  // /.well-known/matrix/server
	Support map[string]any `yaml:"support"` // /.well-known/matrix/support
}

// check looks for the values that clients and servers would stumble over.
func (w *WellKnownDocuments) check(at spot) {
	checkURLs(at.key("client"), w.Client)
	checkURLs(at.key("support"), w.Support)
	w.checkClient(at.key("client"))
	w.checkServer(at.key("server"))
	w.checkSupport(at.key("support"))
}

// checkClient checks the properties the specification gives a shape (Matrix
// v1.16, client-server API, GET /.well-known/matrix/client).
func (w *WellKnownDocuments) checkClient(at spot) {
	for _, name := range []string{"m.homeserver", "m.identity_server"} {
		value, written := w.Client[name]
		object, isObject := value.(map[string]any)
		if written && !isObject {
			at.key(name).fail("expected a mapping", `write { base_url: "https://…" }`)
		}
		if base, written := object["base_url"]; written && base == nil {
			at.key(name).key("base_url").fail("is required", "remove the key: what is generated then stays")
		}
	}
}

// checkServer checks where other servers are sent (server-server API, GET
// /.well-known/matrix/server).
func (w *WellKnownDocuments) checkServer(at spot) {
	value, written := w.Server["m.server"]
	if !written {
		return
	}
	key := at.key("m.server")
	text, isText := value.(string)
	if !isText {
		key.fail("expected text", `write "matrix.example.com:8448"`)
		return
	}
	if scheme, rest, found := strings.Cut(text, "://"); found {
		host, _, _ := cutAny(rest, "/?#")
		key.fail(quote(text)+" has a scheme: "+scheme, "write "+quote(host))
		return
	}
	key.failIf(serverNameMistake(text))
}

// checkSupport checks what the specification requires of a contact
// (client-server API, GET /.well-known/matrix/support).
func (w *WellKnownDocuments) checkSupport(at spot) {
	if len(w.Support) == 0 {
		return
	}
	if w.Support["contacts"] == nil && w.Support["support_page"] == nil {
		at.fail("has neither contacts nor support_page", "write one of them")
	}
	contacts, isList := w.Support["contacts"].([]any)
	if w.Support["contacts"] != nil && !isList {
		at.key("contacts").fail("expected a list", `begin each contact with "- "`)
	}
	for i, contact := range contacts {
		item := at.key("contacts").index(i)
		fields, isObject := contact.(map[string]any)
		switch {
		case !isObject:
			item.fail("expected a mapping", `write { role: m.role.admin, matrix_id: "@ops:example.com" }`)
		case fields["role"] == nil:
			item.key("role").fail("is required", "write m.role.admin or m.role.security")
		case fields["matrix_id"] == nil && fields["email_address"] == nil:
			item.fail("has neither matrix_id nor email_address", "write one of them")
		}
	}
}

// urlParents are the objects whose url, issuer and account are URLs too.
var urlParents = []string{"org.matrix.msc2965.authentication", "org.matrix.msc3575.proxy"}

// checkURLs reports URLs that no client can follow, such as a base_url without
// scheme, however deep they stand.
func checkURLs(at spot, object map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(object)) {
		checkURLsIn(at.key(name), name, object[name], at)
	}
}

func checkURLsIn(at spot, name string, value any, parent spot) {
	switch value := value.(type) {
	case map[string]any:
		checkURLs(at, value)
	case []any:
		for i, item := range value {
			checkURLsIn(at.index(i), "", item, at)
		}
	case string:
		if holdsURL(name, parent.path) {
			at.failIf(urlMistake(value))
		}
	case nil: // takes away what is generated
	default:
		if holdsURL(name, parent.path) {
			at.fail("expected text", `write "https://…"`)
		}
	}
}

func holdsURL(name, parent string) bool {
	if strings.HasSuffix(name, "_url") || name == "support_page" {
		return true
	}
	isURL := name == "url" || name == "issuer" || name == "account"
	return isURL && slices.ContainsFunc(urlParents, func(p string) bool { return strings.HasSuffix(parent, "."+p) })
}
