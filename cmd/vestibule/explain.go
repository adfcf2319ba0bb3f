package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"vestibule/configs"
	"vestibule/routing"
)

// explanation is who answers a request; explain --json prints it.
type explanation struct {
	Entrypoint string      `json:"entrypoint"`
	Site       string      `json:"site"`
	Route      string      `json:"route"`
	Endpoint   string      `json:"endpoint"`
	Class      string      `json:"class"`
	Pool       string      `json:"pool"`
	Upstream   string      `json:"upstream"` // "" when the choice is by load
	HashKey    string      `json:"hash_key"` // "" when there is none
	Action     string      `json:"action"`
	Status     int         `json:"status"` // of answers of our own
	Location   string      `json:"location,omitempty"`
	Pattern    string      `json:"pattern,omitempty"`
	File       string      `json:"file"`
	Line       int         `json:"line"`
	Candidates []candidate `json:"candidates,omitempty"`
	Lost       []lostRule  `json:"lost,omitempty"`
}

// candidate is an upstream of the pool that answers.
type candidate struct {
	URL    string `json:"url"`
	Health string `json:"health"`
	Weight int    `json:"weight"`
}

// lostRule is what could have answered and did not.
type lostRule struct {
	Route string `json:"route"`
	Class string `json:"class"`
	Why   string `json:"why"`
	File  string `json:"file,omitempty"`
	Line  int    `json:"line,omitempty"`
}

func explain(c *call) int {
	fs := c.flags()
	path := fs.String("config", defaultConfig, "the configuration file")
	from := fs.String("from", "", "the client's address")
	entrypoint := fs.String("entrypoint", "", "https, federation or internal; otherwise told by the URL's port")
	asJSON := fs.Bool("json", false, "print JSON")
	batch := fs.Bool("batch", false, "read CSV (method,target,headers) and print a JSON object for each row")
	var fields list
	fs.Var(&fields, "H", "a header field, 'Name: value'; may be given several times")
	args, status, done := c.parse(fs, 0, 2)
	if done {
		return status
	}
	if *batch != (len(args) == 0) || !*batch && len(args) != 2 {
		fmt.Fprintf(c.stderr, "vestibule explain: give a method and a URL, or --batch (hint: vestibule explain GET https://matrix.example.com/_matrix/client/versions)\n")
		return exitUsage
	}
	e, err := newExplainer(*path)
	if err != nil {
		return c.fail(err)
	}
	if *batch {
		if err := e.batch(c.stdin, c.stdout); err != nil {
			return c.fail(err)
		}
		return exitOK
	}
	q, err := e.question(args[0], args[1], fields, *from, *entrypoint)
	if err != nil {
		return c.fail(err)
	}
	x := e.answer(q)
	if *asJSON {
		err = writeIndented(c.stdout, x)
	} else {
		x.print(c.stdout)
	}
	if err != nil {
		return c.fail(err)
	}
	return exitOK
}

func writeIndented(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// explainer answers questions about one configuration.
type explainer struct {
	cfg    *configs.Config
	table  *routing.Table
	health map[string]string // by upstream URL, from the running server
}

func newExplainer(path string) (*explainer, error) {
	cfg, problems := configs.Load(path)
	if cfg == nil {
		return nil, problems
	}
	table, err := routing.New(cfg)
	if err != nil {
		return nil, err
	}
	e := &explainer{cfg: cfg, table: table, health: map[string]string{}}
	var running statusReport
	if ask(cfg.Control, "GET", "status", &running) == nil {
		for _, p := range running.Pools {
			for _, u := range p.Upstreams {
				e.health[u.URL] = u.Health
			}
		}
	}
	return e, nil
}

// question reads a request as a person writes it: a URL, or a target with a
// Host field. The target's bytes are kept.
func (e *explainer) question(method, url string, fields []string, from, entrypoint string) (*routing.Request, error) {
	q := &routing.Request{Method: method, Target: url}
	scheme := "https"
	if i := strings.Index(url, "://"); i > 0 && !strings.HasPrefix(url, "/") {
		scheme = strings.ToLower(url[:i])
		q.Host, q.Target = splitURL(url[i+3:])
	}
	for _, f := range fields {
		name, value, ok := strings.Cut(f, ":")
		value = strings.Trim(value, " \t")
		switch {
		case !ok:
			return nil, fmt.Errorf("%q is not a header field (hint: write 'Name: value')", f)
		case strings.EqualFold(name, "Host"):
			q.Host = value
		case strings.EqualFold(name, "Authorization"):
			q.Authorization = append(q.Authorization, value)
		}
	}
	if q.Host == "" {
		q.Host = e.cfg.Sites[0].Host
	}
	if from != "" {
		addr, err := netip.ParseAddr(from)
		if err != nil {
			return nil, fmt.Errorf("--from %s is not an address", from)
		}
		q.Client = addr.Unmap()
	}
	return q, e.enter(q, scheme, entrypoint)
}

// splitURL cuts what follows "://" into host and target. Browsers keep the
// fragment to themselves.
func splitURL(rest string) (host, target string) {
	rest, _, _ = strings.Cut(rest, "#")
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		return rest, "/"
	}
	if rest[end] == '?' {
		return rest[:end], "/" + rest[end:]
	}
	return rest[:end], rest[end:]
}

// enter finds the entrypoint: the one named, else the one whose port the
// request's host carries.
func (e *explainer) enter(q *routing.Request, scheme, name string) error {
	_, port, _ := net.SplitHostPort(q.Host)
	q.Site = e.internalSite(q.Host, port)
	switch {
	case name == "https":
		q.Entrypoint = routing.HTTPS
	case name == "federation":
		q.Entrypoint = routing.Federation
	case name == "internal":
		q.Entrypoint = routing.Internal
	case name != "":
		return fmt.Errorf("there is no entrypoint %q to route on (hint: https, federation or internal)", name)
	case scheme == "http" && slices.ContainsFunc(e.cfg.Sites, func(s *configs.Site) bool { return listensOn(s.Internal.Addresses, port) }):
		q.Entrypoint = routing.Internal
	case scheme == "http" && e.cfg.Entrypoints.HTTPS.TLS:
		return errors.New("everything at http:// is redirected to https:// (hint: ask about that, or with --entrypoint internal)")
	case e.federates(port):
		q.Entrypoint = routing.Federation
	default:
		q.Entrypoint = routing.HTTPS
	}
	return nil
}

// internalSite is the server_name whose internal entrypoint a request can come
// in on: the one with the port, else that of the host, else the first.
func (e *explainer) internalSite(host, port string) string {
	for _, s := range e.cfg.Sites {
		if listensOn(s.Internal.Addresses, port) {
			return s.ServerName
		}
	}
	host = routing.Host(host)
	for _, s := range e.cfg.Sites {
		if host == routing.Host(s.Host) || host == routing.Host(s.ServerName) {
			return s.ServerName
		}
	}
	return e.cfg.Sites[0].ServerName
}

// listensOn tells whether one of the addresses has a port.
func listensOn(addresses []configs.Address, port string) bool {
	return slices.ContainsFunc(addresses, func(a configs.Address) bool {
		_, p, err := net.SplitHostPort(string(a))
		return err == nil && p == port
	})
}

// federates says whether a port is one that other homeservers use.
func (e *explainer) federates(port string) bool {
	takes := func(ep *configs.Entrypoint) bool {
		return port == strconv.Itoa(ep.PublicPort) || listensOn(ep.Addresses, port)
	}
	if takes(&e.cfg.Entrypoints.HTTPS) {
		return false
	}
	advertised := slices.ContainsFunc(e.cfg.Sites, func(s *configs.Site) bool { return port == strconv.Itoa(s.Federation.Port) })
	return advertised || port == "8448" || takes(&e.cfg.Entrypoints.Federation)
}

// answer explains a request.
func (e *explainer) answer(q *routing.Request) explanation {
	found := e.table.Explain(q)
	d := &found.Decision
	x := explanation{
		Entrypoint: q.Entrypoint.String(), Site: d.Site, Route: d.Rule.Name, Endpoint: string(d.Endpoint), Class: string(d.Class),
		HashKey: d.Key.String(), Action: d.Action.String(), Status: d.Status, Location: d.Location,
		Pattern: d.Rule.Pattern, File: d.Rule.Place.File, Line: d.Rule.Place.Line,
	}
	if d.Pool != nil {
		x.Pool = d.Pool.Name
		x.Upstream = e.choose(d, &x)
	}
	for _, l := range found.Lost {
		x.Lost = append(x.Lost, lostRule{l.Rule.Name, string(l.Class), l.Why, l.Rule.Place.File, l.Rule.Place.Line})
	}
	return x
}

// choose lists the pool's upstreams and returns the one that the key picks, or
// "" when the choice is by load.
func (e *explainer) choose(d *routing.Decision, x *explanation) string {
	var urls []string
	var weights []int
	for _, u := range d.Pool.Upstreams {
		health := e.health[u.URL]
		if health == "" {
			health = "unknown"
		}
		x.Candidates = append(x.Candidates, candidate{u.URL, health, u.Weight})
		urls, weights = append(urls, u.URL), append(weights, max(u.Weight, 1))
	}
	switch {
	case len(urls) == 1:
		return urls[0]
	case len(d.Key.Value) == 0:
		return ""
	}
	down := func(i int) bool { return x.Candidates[i].Health == "down" }
	ranks := routing.NewRendezvous(urls, weights)
	i := ranks.Rank(d.Key.Value, down)
	if i < 0 {
		i = ranks.Rank(d.Key.Value, nil)
	}
	return urls[i]
}

// batch answers each row of a CSV, as it comes.
func (e *explainer) batch(in io.Reader, out io.Writer) error {
	r := csv.NewReader(in)
	r.FieldsPerRecord = -1
	r.ReuseRecord = true
	header, err := r.Read()
	if err != nil {
		return errors.New("reading the CSV's header: it should be method,target,headers")
	}
	columns := map[string]int{}
	for i, name := range header {
		columns[strings.TrimSpace(strings.TrimPrefix(name, "\ufeff"))] = i
	}
	for _, name := range []string{"method", "target"} {
		if _, ok := columns[name]; !ok {
			return fmt.Errorf("the CSV has no column %q (hint: its first line should be method,target,headers)", name)
		}
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the CSV: %w", err)
		}
		if err := e.row(row, columns, enc); err != nil {
			line, _ := r.FieldPos(0)
			return fmt.Errorf("line %d: %w", line, err)
		}
	}
}

func (e *explainer) row(row []string, columns map[string]int, enc *json.Encoder) error {
	cell := func(name string) string {
		if i, ok := columns[name]; ok && i < len(row) {
			return row[i]
		}
		return ""
	}
	var fields []string
	for _, f := range strings.Split(cell("headers"), ";") {
		if strings.TrimSpace(f) != "" {
			fields = append(fields, strings.TrimSpace(f))
		}
	}
	q, err := e.question(cell("method"), cell("target"), fields, "", "")
	if err != nil {
		return err
	}
	x := e.answer(q)
	x.Candidates, x.Lost = nil, nil
	return enc.Encode(x)
}

// print writes the explanation for a person.
func (x *explanation) print(w io.Writer) {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-11s %s\n", name, value)
		}
	}
	line("entrypoint", x.Entrypoint)
	line("site", x.Site)
	route := x.Route
	if x.Pattern != "" {
		route += "  " + x.Pattern
	}
	line("route", route)
	if x.File != "" {
		line("at", fmt.Sprintf("%s:%d", x.File, x.Line))
	}
	line("endpoint", x.Endpoint)
	line("class", x.Class)
	action := x.Action
	if x.Status != 0 {
		action += " " + strconv.Itoa(x.Status)
	}
	line("action", strings.TrimSpace(action+" "+x.Location))
	line("pool", x.Pool)
	line("hash key", x.HashKey)
	for _, c := range x.Candidates {
		mark := "            "
		if c.URL == x.Upstream {
			mark = "upstream -> "
		}
		fmt.Fprintf(w, "%s%s  %s\n", mark, c.URL, c.Health)
	}
	if len(x.Candidates) > 1 && x.Upstream == "" {
		fmt.Fprintln(w, "            the one with the fewest requests")
	}
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
