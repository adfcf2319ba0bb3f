package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

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
	if q.Target == args[1] && !strings.HasPrefix(q.Target, "/") {
		fmt.Fprintf(c.stderr, "vestibule explain: %q is taken for what stands in the request's first line (hint: a URL begins with https://)\n", q.Target)
	}
	x := e.detailed(q)
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
	found := e.decide(q)
	return enc.Encode(e.answer(&q.Request, &found.Decision))
}
