package proxy

import (
	"encoding/json"
	"fmt"
	"html"
	"slices"
	"strings"

	"vestibule/configs"
	"vestibule/routing"
)

// corsFields let a browser show our own answers to the web client; without
// them it reports a "CORS error" and hides the cause (client-server API, "Web
// Browser Clients").
var corsFields = Header{
	{"Access-Control-Allow-Origin", "*"},
	{"Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, DELETE, OPTIONS"},
	{"Access-Control-Allow-Headers", "X-Requested-With, Content-Type, Authorization, Date"},
}

// refusal is an error of our own: what a Matrix client understands on Matrix
// paths (client-server API, "Standard error response"), a line of text
// elsewhere. A browser's question before a request is permitted all the same:
// else it would hide the error from the page (client-server API, "Web Browser
// Clients": no logic of an endpoint when approached with OPTIONS).
func (x *exchange) refusal(status int, errcode, text string) Answer {
	if !matrixPath(x.req.Target) && errcode != "M_FORBIDDEN" {
		return Answer{Status: status, Header: Header{{"Content-Type", "text/plain; charset=utf-8"},
			{"X-Content-Type-Options", "nosniff"}}, Body: []byte(text + "\n")}
	}
	if x.req.Method == "OPTIONS" {
		return Answer{Status: 204, Header: slices.Clone(corsFields)}
	}
	body, err := json.Marshal(struct {
		Errcode string `json:"errcode"`
		Error   string `json:"error"`
	}{errcode, text})
	if err != nil {
		body = []byte(`{"errcode":"M_UNKNOWN"}`)
	}
	h := append(Header{{"Content-Type", "application/json"}}, corsFields...)
	return Answer{Status: status, Header: h, Body: body}
}

// matrixPath says whether a target belongs to the Matrix APIs.
func matrixPath(target string) bool {
	return strings.HasPrefix(target, "/_matrix") || strings.HasPrefix(target, "/_synapse") ||
		strings.HasPrefix(target, "/.well-known/matrix")
}

func refusalText(d *routing.Decision) string {
	switch {
	case d.Status == 400:
		return "The request-target is not one that a server may forward."
	case d.Class == configs.ClassNotFound && d.Site == "":
		return "This server does not serve that host."
	case d.Status == 404:
		return "There is nothing here."
	case d.Rule.Name == "federation" && d.Endpoint == configs.ClassDeny: // no route of that name
		return "This homeserver does not federate with you."
	case d.Status == 403:
		return "This is not open to you."
	}
	return fmt.Sprintf("The server answers %d here.", d.Status)
}

// basePage is what a base domain shows that serves nothing else.
func basePage(method, serverName string) Answer {
	if method != "GET" && method != "HEAD" {
		return Answer{Status: 405, Header: Header{{"Allow", "GET, HEAD"}}}
	}
	name := html.EscapeString(serverName)
	page := `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">` +
		`<title>` + name + `</title><style>body{font:1.1rem/1.6 system-ui,sans-serif;max-width:36rem;margin:18vh auto;padding:0 1rem}</style>` +
		`<h1>` + name + `</h1><p>This is a Matrix homeserver. Sign in with any Matrix client; the server's name is <b>` + name + `</b>.</p></html>` + "\n"
	return Answer{Status: 200, Header: Header{{"Content-Type", "text/html; charset=utf-8"},
		{"X-Content-Type-Options", "nosniff"}, {"Cache-Control", "max-age=3600"}}, Body: []byte(page)}
}
