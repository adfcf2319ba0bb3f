package main

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"vestibule/configs"
	"vestibule/routing"
)

// outcome is what a decision comes to, as far as an operator cares. Two are the
// same when they are equal.
type outcome struct {
	Action   string `json:"action"`
	Endpoint string `json:"endpoint"`
	Class    string `json:"class"`
	Pool     string `json:"pool,omitempty"`
	// Upstreams with their weights, in no order that matters.
	Upstreams texts  `json:"upstreams,omitempty"`
	Key       string `json:"key,omitempty"` // its kind
	Spares    texts  `json:"spares,omitempty"`
	// Target as forwarded, if that is not as asked.
	Target          string `json:"forwarded_target,omitempty"`
	RequestHeaders  texts  `json:"request_headers,omitempty"`
	ResponseHeaders texts  `json:"response_headers,omitempty"`
	Response        string `json:"response,omitempty"` // how long the answer may take to begin
	ResponseKey     string `json:"response_key,omitempty"`
	Status          int    `json:"status,omitempty"`
	Errcode         string `json:"errcode,omitempty"`
	Location        string `json:"location,omitempty"`
	Document        string `json:"document,omitempty"` // of our own

	// Route is how it came to that, and no difference by itself.
	Route string `json:"route"`

	site   string // which is no difference either
	values string // of the headers, as they are
}

// texts is a list that can be compared: its items, one a line.
type texts string

func (t *texts) add(item string) {
	if *t != "" {
		*t += "\n"
	}
	*t += texts(item)
}

func (t texts) list() []string { return strings.Split(string(t), "\n") }

// String implements fmt.Stringer.
func (t texts) String() string { return strings.ReplaceAll(string(t), "\n", ", ") }

// MarshalJSON implements json.Marshaler.
func (t texts) MarshalJSON() ([]byte, error) { return json.Marshal(t.list()) }

func (o *outcome) addResponseHeaders(d *routing.Decision) {
	for _, f := range d.ResponseHeaders() {
		o.ResponseHeaders.add(o.header(f))
	}
}

// header is what may be shown of a header that a route sets or removes; what it
// is goes to values.
func (o *outcome) header(f routing.HeaderField) string {
	o.values += f.Name + ": " + f.Value + "\n"
	if f.Value == "" {
		return "no " + f.Name
	}
	return f.Name + ": " + shown(f.Name, f.Value)
}

// answers says in a word or two who answers.
func (o *outcome) answers() string {
	switch o.Action {
	case routing.Proxy.String():
		return o.Pool
	case routing.Local.String():
		return "document " + o.Document
	case routing.Redirect.String():
		return "redirect" // the status goes by the method
	}
	return strings.TrimSpace(o.Action + " " + strconv.Itoa(o.Status) + " " + o.Errcode)
}

// equals says whether nothing differs; which route, key or site it comes from is
// no difference.
func (o outcome) equals(other outcome) bool {
	o.Route, o.ResponseKey, o.site = other.Route, other.ResponseKey, other.site
	return o == other
}

// fieldChange is one way in which two outcomes of a request differ.
type fieldChange struct {
	field    string
	old, new string
	// varies is true for what depends on the request itself.
	varies bool
}

// differs lists how two outcomes differ. When somebody else answers, that is
// all there is to say.
func (o *outcome) differs(now *outcome) []fieldChange {
	if was, is := o.answers(), now.answers(); was != is {
		return []fieldChange{{field: answersField, old: was, new: is}}
	}
	list := []fieldChange{
		{"endpoint", o.Endpoint, now.Endpoint, false},
		{"upstreams", o.Upstreams.String(), now.Upstreams.String(), false},
		{"key", orNone(o.Key), orNone(now.Key), false},
		{"stand-ins", orNone(o.Spares.String()), orNone(now.Spares.String()), false},
		{"forwarded as", orNone(o.Target), orNone(now.Target), true},
		{"status", strconv.Itoa(o.Status), strconv.Itoa(now.Status), false},
		{"leads to", o.Location, now.Location, true},
		{"headers for the upstream", orNone(o.RequestHeaders.String()), orNone(now.RequestHeaders.String()), false},
		{"headers for the client", orNone(o.ResponseHeaders.String()), orNone(now.ResponseHeaders.String()), false},
		{answerTimeField, o.Response, now.Response, o.polled() || now.polled()},
	}
	list = slices.DeleteFunc(list, func(c fieldChange) bool { return c.old == c.new })
	if len(list) == 0 { // what is not shown
		list = []fieldChange{{field: "a secret header", old: "its value", new: "another"}}
	}
	return list
}

// unclaimed says whether nothing on the host answers, so that the endpoint says
// nothing.
func (o *outcome) unclaimed() bool {
	return o.Action == routing.Refuse.String() || o.Class == string(configs.ClassFallback)
}

// polled says whether the request itself says how long it may take.
func (o *outcome) polled() bool { return o.ResponseKey == "timeouts.sync_margin" }

// answersField is the change of who answers, answerTimeField that of how long it
// may take.
const (
	answersField    = "answers"
	answerTimeField = "time to answer"
)

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
