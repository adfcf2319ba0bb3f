package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// statistic is the median of some values and how far they spread.
type statistic struct{ median, least, most float64 }

func statisticOf(all []float64) statistic {
	if len(all) == 0 {
		return statistic{}
	}
	sorted := slices.Sorted(slices.Values(all))
	n := len(sorted)
	return statistic{(sorted[(n-1)/2] + sorted[n/2]) / 2, sorted[0], sorted[n-1]}
}

// collect gives the values of a target by round; rounds that failed are absent.
func (r *results) collect(work, target, key string) map[int]float64 {
	found := map[int]float64{}
	for _, m := range r.measurements {
		if v, ok := m.Values[key]; ok && m.Problem == "" && m.Work == work && m.Target == target {
			found[m.Round] = v
		}
	}
	return found
}

func (r *results) statistic(work, target, key string) statistic {
	var all []float64
	for _, v := range r.collect(work, target, key) {
		all = append(all, v)
	}
	return statisticOf(all)
}

// ratio compares two targets within each round, which noise that lasts leaves
// alone.
func (r *results) ratio(work, target, base string) (statistic, bool) {
	of := r.collect(work, base, figure)
	var all []float64
	for round, v := range r.collect(work, target, figure) {
		if of[round] > 0 {
			all = append(all, v/of[round])
		}
	}
	return statisticOf(all), len(all) > 0
}

// targets lists who was measured, in the order of the run.
func (r *results) targets() []string {
	var names []string
	for _, p := range r.about.Programs {
		if slices.ContainsFunc(r.measurements, func(m measurement) bool { return m.Target == p.Name }) {
			names = append(names, p.Name)
		}
	}
	return names
}

// table is a heading, its columns, and rows of cells.
type table struct {
	title   string
	columns []string
	rows    [][]string
}

// print writes a table for each work, and how vestibule stands to its goals.
func (r *results) print(out io.Writer, o *options) {
	write := (*table).text
	if o.markdown {
		write = (*table).markdown
		r.printAbout(out, "- ")
	} else {
		r.printAbout(out, "")
	}
	base := o.base
	if names := r.targets(); len(names) > 0 && !slices.Contains(names, base) {
		base = names[0]
	}
	for _, w := range works {
		if t := r.table(w, base); len(t.rows) > 0 {
			write(t, out)
		}
	}
	if t := r.goals(); len(t.rows) > 0 {
		write(t, out)
	}
}

func (r *results) printAbout(out io.Writer, bullet string) {
	run := append([]string{r.about.Date, r.about.Machine, fmt.Sprintf("%d rounds", r.about.Rounds)}, r.about.Amounts...)
	fmt.Fprintf(out, "\n%s%s\n", bullet, strings.Join(run, ", "))
	for _, p := range r.about.Programs {
		fmt.Fprintf(out, "%s%s: %s\n", bullet, p.Name, p.Version)
	}
}

// columns are the further values that are shown, where a work has them.
var columns = []struct{ key, title, format string }{
	{rate, "per second", "%.0f"},
	{busy, "busy", "%.2f"},
	{settled, "3 s later", "%.1f"},
	{idleMiB, "MiB before", "%.0f"},
	{peakMiB, "MiB at most", "%.0f"},
	{released, "CPU µs to end", "%.0f"},
}

func (r *results) table(w *work, base string) *table {
	t := &table{title: fmt.Sprintf("%s: %s (%s)", w.name, w.unit, w.does), columns: []string{"", "median", "least to most", "/ " + base, "least to most"}}
	shown := slices.Clone(columns)
	for _, target := range r.targets() {
		if len(r.collect(w.name, target, figure)) == 0 {
			continue
		}
		if len(t.rows) == 0 {
			shown = slices.DeleteFunc(shown, func(c struct{ key, title, format string }) bool {
				return len(r.collect(w.name, target, c.key)) == 0
			})
			for _, c := range shown {
				t.columns = append(t.columns, c.title)
			}
		}
		row := append([]string{target}, r.cells(w.name, target, base)...)
		for _, c := range shown {
			row = append(row, fmt.Sprintf(c.format, r.statistic(w.name, target, c.key).median))
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// cells are the figure and its ratio, each with its spread.
func (r *results) cells(work, target, base string) []string {
	s := r.statistic(work, target, figure)
	row := []string{number(s.median), number(s.least) + " to " + number(s.most)}
	ratio, ok := r.ratio(work, target, base)
	switch {
	case !ok:
		return append(row, "", "")
	case target == base:
		return append(row, "1", "")
	}
	return append(row, fmt.Sprintf("%.2f", ratio.median), fmt.Sprintf("%.2f to %.2f", ratio.least, ratio.most))
}

// goal is what vestibule is meant to keep to.
type goal struct {
	work string
	base string // whose multiple most is, "" if it is in the unit of the work
	most float64
}

var goalsOfVestibule = []goal{
	{"h1", "nginx", 0.8}, {"h1", "haproxy", 1.1}, {"h1", "caddy", 0.5},
	{"h1-logged", "nginx", 0.8}, {"h1-logged", "haproxy", 1.1},
	{"h2", "nginx", 0.85}, {"h2", "haproxy", 1.4}, {"h2", "caddy", 0.5},
	{"h2-logged", "nginx", 0.85}, {"h2-logged", "haproxy", 1.4},
	{"handshakes", "nginx", 0.95}, {"upload", "haproxy", 1.25}, {"download", "haproxy", 1.25},
	{"parked", "", 20},
}

func (r *results) goals() *table {
	t := &table{title: "goals", columns: []string{"", "", "at most", "median", "least to most", ""}}
	for _, target := range r.targets() {
		if slices.Contains([]string{"nginx", "haproxy", "caddy"}, target) {
			continue
		}
		for _, g := range goalsOfVestibule {
			s, ok := r.ratio(g.work, target, g.base)
			unit := "× " + g.base
			if g.base == "" {
				s, unit = r.statistic(g.work, target, figure), "KiB"
				ok = s.median > 0
			}
			if !ok {
				continue
			}
			verdict := "reached"
			if s.median > g.most {
				verdict = "missed"
			}
			t.rows = append(t.rows, []string{target, g.work, number(g.most) + " " + unit, number(s.median), number(s.least) + " to " + number(s.most), verdict})
		}
	}
	return t
}

// number shows three digits that count.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func (t *table) text(out io.Writer) {
	fmt.Fprintf(out, "\n%s\n", t.title)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{t.columns}, t.rows...) {
		fmt.Fprintf(w, "  %s\n", strings.Join(row, "\t"))
	}
	w.Flush()
}

func (t *table) markdown(out io.Writer) {
	fmt.Fprintf(out, "\n**%s**\n\n| %s |\n|%s\n", t.title, strings.Join(t.columns, " | "), strings.Repeat("---|", len(t.columns)))
	for _, row := range t.rows {
		fmt.Fprintf(out, "| %s |\n", strings.Join(row, " | "))
	}
}
