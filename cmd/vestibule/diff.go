package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

func diff(c *call) int {
	fs := c.flags()
	all := fs.Bool("all", false, "print every request that is answered differently, not a few of each kind")
	asJSON := fs.Bool("json", false, "print JSON, with every request")
	args, status, done := c.parse(fs, 2, 2)
	if done {
		return status
	}
	old, now := c.side(args[0]), c.side(args[1])
	if old == nil || now == nil {
		return exitProblem
	}
	compared := compare(old, now)
	if *asJSON {
		if err := writeIndented(c.stdout, compared); err != nil {
			return c.fail(err)
		}
		return exitOK
	}
	compared.print(c.stdout, *all)
	return exitOK
}

// side reads a configuration to compare, nil after it reported what is wrong.
func (c *call) side(path string) *side {
	cfg := c.checked(path)
	if cfg == nil {
		return nil
	}
	s, err := newSide(path, cfg)
	if err != nil {
		fmt.Fprintf(c.stderr, "%s: %v\n", path, err)
		return nil
	}
	return s
}

// kind is changes that come to the same.
type kind struct {
	what     string // the endpoint, or the pool that still answers
	field    string
	old, new string
	changes  []*change
	values   []fieldChange // of each change
	sites    []string
}

// kinds gathers changes in the order in which they were found. What is the same
// on several sites is told once.
func kinds(changes []change) []*kind {
	var list []*kind
	index := map[[4]string]*kind{}
	for i := range changes {
		x := &changes[i]
		for _, d := range x.differences {
			k := &kind{what: anySite(x.what(d), x.site), field: d.field, old: anySite(d.old, x.site), new: anySite(d.new, x.site)}
			if d.varies {
				k.old, k.new = "", ""
			}
			id := [4]string{k.what, k.field, k.old, k.new}
			if index[id] == nil {
				index[id] = k
				list = append(list, k)
			}
			k = index[id]
			k.changes, k.values = append(k.changes, x), append(k.values, d)
			if n := len(k.sites); n == 0 || k.sites[n-1] != x.site && !slices.Contains(k.sites, x.site) {
				k.sites = append(k.sites, x.site)
			}
		}
	}
	return list
}

// anySite puts a star for the site in the names of pools and documents.
func anySite(text, site string) string {
	words := strings.Split(text, " ")
	for i, word := range words {
		if rest, of := strings.CutPrefix(word, site+"/"); of && site != "" {
			words[i] = "*/" + rest
		}
	}
	return strings.Join(words, " ")
}

// named is a text of anySite's for people: the site itself if it is one.
func (k *kind) named(text string) string {
	if len(k.sites) != 1 || k.sites[0] == "" {
		return text
	}
	words := strings.Split(text, " ")
	for i, word := range words {
		if rest, of := strings.CutPrefix(word, "*/"); of {
			words[i] = k.sites[0] + "/" + rest
		}
	}
	return strings.Join(words, " ")
}

// what is the subject of a difference: the endpoint where somebody else answers,
// the key that says how long that may take, else who answers. Behind its gate
// Synapse's admin API is one thing.
func (x *change) what(d fieldChange) string {
	switch {
	case d.field == answerTimeField && x.Old.ResponseKey == x.New.ResponseKey:
		return x.Old.ResponseKey
	case d.field != answersField && d.field != answerTimeField:
		return x.Old.answers()
	case x.Old.Route == adminRoute || x.New.Route == adminRoute:
		return "admin API"
	case x.Old.unclaimed() && !x.New.unclaimed():
		return x.New.Endpoint
	}
	return x.Old.Endpoint
}

// adminRoute is the rule that refuses Synapse's admin API.
const adminRoute = "admin_api"

// print writes the comparison for a person.
func (c *comparison) print(w io.Writer, all bool) {
	fmt.Fprintln(w, c.summary())
	printList(w, "\nonly in "+c.Old+", and not compared:", c.OnlyOld)
	printList(w, "\nonly in "+c.New+", and not compared:", c.OnlyNew)
	heading := ""
	found := kinds(c.Changes)
	slices.SortStableFunc(found, func(a, b *kind) int { return order(a) - order(b) })
	for _, k := range found {
		if now := headings[order(k)]; now != heading {
			heading = now
			fmt.Fprintf(w, "\n%s\n", heading)
		}
		c.printKind(w, k, all)
	}
	if len(c.Keys) > 0 {
		keys := c.Keys
		if !all {
			keys = shortKeys(keys)
		}
		fmt.Fprintf(w, "\nkeys that differ:\n%s", wrap(keys, 100))
	}
	printList(w, "\nnot tried:", c.Untested)
	if c.LeftOut > 0 {
		fmt.Fprintf(w, "\n%s left out: these configurations are too large to compare whole\n", counted(c.LeftOut, "request"))
	}
}

// summary is the first line.
func (c *comparison) summary() string {
	text := counted(c.Compared, "request") + " compared, "
	if c.Changed > 0 {
		return fmt.Sprintf("%s%d answered differently by %s and %s", text, c.Changed, c.Old, c.New)
	}
	if len(c.OnlyOld)+len(c.OnlyNew)+len(c.Keys) == 0 {
		text = "nothing changes: " + text
	}
	return fmt.Sprintf("%sall answered alike by %s and %s", text, c.Old, c.New)
}

// headings stand before the kinds of each order.
var headings = []string{"somebody else answers:", "the same answers, but otherwise:"}

func order(k *kind) int {
	if k.field == answersField {
		return 0
	}
	return 1
}

// printKind writes who is concerned, what changes, and for which requests.
func (c *comparison) printKind(w io.Writer, k *kind, all bool) {
	text := k.named(k.old + " → " + k.new)
	switch {
	case k.old == "" && k.new == "":
		text = k.field
	case k.field != answersField:
		text = k.field + ": " + text
	}
	examples, room := k.examples(all), 72
	if all {
		room = math.MaxInt
	}
	such := ""
	if len(examples) < len(k.changes) {
		such = ", such as"
	}
	of := ""
	if len(k.sites) > 1 {
		of = " of " + counted(len(k.sites), "site")
	}
	fmt.Fprintf(w, "  %-16s  %s\n", k.named(k.what), text)
	fmt.Fprintf(w, "      %s%s%s%s\n", counted(k.requests(), "request"), of, k.from(), such)
	for _, i := range examples {
		line := c.now.url(k.changes[i], room)
		if k.old == "" && k.new == "" {
			line += ": " + k.values[i].old + " → " + k.values[i].new
		}
		if all && k.changes[i].From != "" {
			line += " from " + k.changes[i].From
		}
		fmt.Fprintf(w, "        %s\n", line)
	}
}

// examples are the positions of the changes to show: the first and, of many on
// the same host, one from the middle, which is likely to be of another sort.
func (k *kind) examples(all bool) []int {
	if all {
		list := make([]int, len(k.changes))
		for i := range list {
			list[i] = i
		}
		return list
	}
	alike := 1
	first := k.changes[0]
	for alike < len(k.changes) && k.changes[alike].Entrypoint == first.Entrypoint && k.changes[alike].Host == first.Host {
		alike++
	}
	middle := alike / 2
	if k.changes[middle].asks(first) {
		return []int{0}
	}
	return []int{0, middle}
}

// requests counts those that are the same but for who asks once.
func (k *kind) requests() int {
	n := 0
	for i, x := range k.changes {
		if i == 0 || !x.asks(k.changes[i-1]) {
			n++
		}
	}
	return n
}

// asks says whether two changes are about one request.
func (x *change) asks(other *change) bool {
	return x.Entrypoint == other.Entrypoint && x.Site == other.Site && x.Method == other.Method && x.Host == other.Host && x.Target == other.Target &&
		slices.Equal(x.Authorization, other.Authorization)
}

// from tells which clients are concerned, if not all are.
func (k *kind) from() string {
	var ranges []string
	for _, x := range k.changes {
		if x.From == "" {
			return ""
		}
		if !slices.Contains(ranges, x.From) {
			ranges = append(ranges, x.From)
		}
	}
	const most = 4
	if n := len(ranges); n > most {
		return fmt.Sprintf(" from %s and %d more", strings.Join(ranges[:most], ", "), n-most)
	}
	return " from " + strings.Join(ranges, ", ")
}

func printList(w io.Writer, heading string, items []string) {
	if len(items) == 0 {
		return
	}
	fmt.Fprintln(w, heading)
	for _, item := range items {
		fmt.Fprintln(w, "  "+item)
	}
}

// shorten cuts a text that would not fit on a line.
func shorten(s string, width int) string {
	if len(s) <= width {
		return s
	}
	return s[:width-1] + "…"
}

// shortKeys counts the sites of a key that differs on many.
func shortKeys(keys []string) []string {
	const many = 3
	count := map[string]int{}
	for _, key := range keys {
		count[withoutSite(key)]++
	}
	var list []string
	for _, key := range keys {
		if n := count[withoutSite(key)]; n > many {
			key = withoutSite(key) + " of " + counted(n, "site")
		}
		if !slices.Contains(list, key) {
			list = append(list, key)
		}
	}
	return list
}

// wrap writes a list in indented lines of a width.
func wrap(items []string, width int) string {
	var text strings.Builder
	line := " "
	for i, item := range items {
		if i < len(items)-1 {
			item += ","
		}
		if len(line)+1+len(item) > width && line != " " {
			text.WriteString(line + "\n")
			line = " "
		}
		line += " " + item
	}
	return text.String() + line + "\n"
}
