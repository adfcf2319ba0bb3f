package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"vestibule/proxy"
	"vestibule/routing"
)

// explanation is who answers a request; explain --json prints it, and --batch
// what stands before Candidates.
type explanation struct {
	Entrypoint string `json:"entrypoint"`
	Site       string `json:"site"`
	Route      string `json:"route"`
	Endpoint   string `json:"endpoint"`
	Class      string `json:"class"`
	Pool       string `json:"pool"`
	Upstream   string `json:"upstream"` // "" when the choice is by load
	HashKey    string `json:"hash_key"` // "" when there is none
	Action     string `json:"action"`
	Status     int    `json:"status"` // of answers of our own
	Location   string `json:"location,omitempty"`
	Pattern    string `json:"pattern,omitempty"`
	File       string `json:"file"`
	Line       int    `json:"line"`

	Candidates []candidate `json:"candidates,omitempty"`
	Lost       []lostRule  `json:"lost,omitempty"`
	// ForwardedTarget is what the upstream gets if it is not what was asked.
	ForwardedTarget string   `json:"forwarded_target,omitempty"`
	Limits          *limits  `json:"limits,omitempty"`
	Headers         *headers `json:"headers,omitempty"`
	// Spares answer while all candidates are down; [] when nobody else can, and
	// absent where it is not Synapse that answers.
	Spares []standIn `json:"spares,omitzero"`
}

// candidate is an upstream of the pool that answers.
type candidate struct {
	URL       string                `json:"url"`
	Health    string                `json:"health"`
	Weight    int                   `json:"weight"`
	MaxConns  int                   `json:"max_conns,omitempty"`
	Addresses []proxy.AddressStatus `json:"addresses,omitempty"`
}

// standIn is a pool that answers in place of another.
type standIn struct {
	Pool      string      `json:"pool"`
	Upstreams []candidate `json:"upstreams"`
}

// lostRule is what could have answered and did not.
type lostRule struct {
	Route string `json:"route"`
	Class string `json:"class"`
	Why   string `json:"why"`
	File  string `json:"file,omitempty"`
	Line  int    `json:"line,omitempty"`
}

// limits are what bounds this very request, as the configuration writes them.
type limits struct {
	// Response is how long the answer may take to begin, and ResponseKey what to
	// change for that.
	Response    string `json:"response,omitempty"`
	ResponseKey string `json:"response_key,omitempty"`
	Hold        string `json:"hold,omitempty"`
	MaxConns    int    `json:"max_conns,omitempty"` // of the upstream, when it is known
	MaxUpload   string `json:"max_upload,omitempty"`
	Concurrent  int    `json:"concurrent,omitempty"` // requests of its endpoint
	Queue       string `json:"queue,omitempty"`      // for a place among them
	Head        string `json:"head"`
}

// headers are what changes on the way to the upstream and back.
type headers struct {
	Set             []headerField   `json:"set,omitempty"`     // what the client did not send, or not so
	Removed         []string        `json:"removed,omitempty"` // by the route
	Dropped         []droppedHeader `json:"dropped,omitempty"` // of those in the question
	ResponseSet     []headerField   `json:"response_set,omitempty"`
	ResponseRemoved []string        `json:"response_removed,omitempty"`
}

type headerField struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type droppedHeader struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

// print writes the explanation for a person.
func (x *explanation) print(w io.Writer) {
	p := &page{w: w}
	p.line("entrypoint", x.Entrypoint)
	p.line("site", x.Site)
	p.line("route", strings.TrimSpace(x.Route+"  "+x.Pattern))
	if x.File != "" {
		p.line("at", fmt.Sprintf("%s:%d", x.File, x.Line))
	}
	p.line("endpoint", x.Endpoint)
	p.line("class", x.Class)
	action := x.Action
	if x.Status != 0 {
		action += " " + strconv.Itoa(x.Status)
	}
	p.line("action", strings.TrimSpace(action+" "+x.Location))
	p.line("pool", x.Pool)
	p.line("hash key", x.keyText())
	x.printCandidates(w)
	x.printSpares(p)
	if x.Pool != "" {
		x.Limits.print(p)
	}
	p.line("forwarded", x.ForwardedTarget)
	if x.Headers != nil {
		x.Headers.print(p)
	}
	x.printLost(w)
}

// keyText is the key for a person. Whose an opaque token is, only the running
// server learns.
func (x *explanation) keyText() string {
	if x.HashKey == routing.KeyToken.String() && x.Spares != nil && len(x.Candidates) > 1 {
		return x.HashKey + ", until Synapse has said whose it is; then that user's process answers"
	}
	return x.HashKey
}

// page writes lines of a name and a value; a name that is the same as before is
// left out.
type page struct {
	w    io.Writer
	last string
}

func (p *page) line(name, value string) {
	if value == "" {
		return
	}
	shown := name
	if name == p.last {
		shown = ""
	}
	p.last = name
	fmt.Fprintf(p.w, "%-11s %s\n", shown, value)
}

func (x *explanation) printCandidates(w io.Writer) {
	for _, c := range x.Candidates {
		mark := "            "
		if c.URL == x.Upstream {
			mark = "upstream -> "
		}
		bound := ""
		if c.MaxConns > 0 {
			bound = fmt.Sprintf("  at most %s", counted(c.MaxConns, "connection"))
		}
		fmt.Fprintf(w, "%s%s  %s%s\n", mark, c.URL, c.Health, bound)
		for _, a := range c.Addresses {
			fmt.Fprintf(w, "              %s\n", strings.TrimRight(a.Address+"  "+a.Health+"  "+a.Error, " "))
		}
	}
	if len(x.Candidates) > 1 && x.Upstream == "" {
		fmt.Fprintln(w, "            the one with the fewest requests")
	}
}

func (x *explanation) printSpares(p *page) {
	if x.Spares != nil && len(x.Spares) == 0 {
		p.line("stands in", "nobody else can: while it is down, the answer is 503 with Retry-After")
	}
	for _, s := range x.Spares {
		var upstreams []string
		for _, c := range s.Upstreams {
			upstreams = append(upstreams, c.URL+"  "+c.Health)
		}
		p.line("stands in", s.Pool+"  "+strings.Join(upstreams, ", "))
	}
}

func (l *limits) print(p *page) {
	added := ""
	if l.ResponseKey == "timeouts.sync_margin" {
		added = " and the request's timeout"
	}
	p.line("limits", fmt.Sprintf("the answer begins within %s (%s%s)", l.Response, l.ResponseKey, added))
	if l.Hold != "" {
		p.line("limits", fmt.Sprintf("a process that refuses connections is waited for up to %s (synapse.hold)", l.Hold))
	}
	if l.MaxUpload != "" {
		p.line("limits", fmt.Sprintf("its body has at most %s (synapse.max_upload)", l.MaxUpload))
	}
	if l.Concurrent > 0 {
		p.line("limits", fmt.Sprintf("at most %s of its endpoint at once, one more waits up to %s (limits.endpoints)", counted(l.Concurrent, "request"), l.Queue))
	}
	p.line("limits", fmt.Sprintf("the request's head has at most %s (limits.head)", l.Head))
}

func (h *headers) print(p *page) {
	for _, f := range h.Set {
		p.line("sets", f.Name+": "+f.Value)
	}
	for _, name := range h.Removed {
		p.line("removes", name)
	}
	for _, f := range h.Dropped {
		p.line("drops", f.Name+": "+f.Why)
	}
	for _, f := range h.ResponseSet {
		p.line("answer", "sets "+f.Name+": "+f.Value)
	}
	for _, name := range h.ResponseRemoved {
		p.line("answer", "removes "+name)
	}
}

func (x *explanation) printLost(w io.Writer) {
	if len(x.Lost) > 0 {
		fmt.Fprintln(w, "\nwhat lost:")
	}
	for _, l := range x.Lost {
		place := ""
		if l.File != "" {
			place = fmt.Sprintf("  %s:%d", l.File, l.Line)
		}
		fmt.Fprintf(w, "  %-24s %-16s %s%s\n", l.Route, l.Class, l.Why, place)
	}
}
