package routing

import (
	"encoding/csv"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vestibule/configs"
)

// loadTable compiles a configuration file.
func loadTable(t testing.TB, file string) *Table {
	t.Helper()
	cfg, problems := configs.Load(file)
	if cfg == nil {
		t.Fatalf("loading %s: %v", file, problems)
	}
	table, err := New(cfg)
	if err != nil {
		t.Fatalf("compiling %s: %v", file, err)
	}
	return table
}

// corpusRow is a line of corpus.csv: who answers a request under a preset.
type corpusRow struct {
	preset, class, why string
	request            Request
}

func readCorpus(t testing.TB) []corpusRow {
	t.Helper()
	f, err := os.Open("testdata/corpus.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	records, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var rows []corpusRow
	for _, record := range records[1:] {
		rows = append(rows, corpusRow{
			preset: record[3], class: record[4], why: record[5],
			request: corpusRequest(record[0], record[1], record[2]),
		})
	}
	return rows
}

// corpusRequest reads the columns of the corpus: headers are separated by ";",
// and a Host with the port 8448 came in on the federation entrypoint.
func corpusRequest(method, target, headers string) Request {
	r := Request{Method: method, Target: target, Host: "matrix.example.com", Client: netip.MustParseAddr("198.51.100.7")}
	for header := range strings.SplitSeq(headers, ";") {
		name, value, _ := strings.Cut(header, ":")
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "host":
			r.Host = value
		case "authorization":
			r.Authorization = append(r.Authorization, value)
		}
	}
	if strings.HasSuffix(r.Host, ":8448") {
		r.Entrypoint = Federation
	}
	return r
}

func TestCorpus(t *testing.T) {
	tables := make(map[string]*Table)
	for i, row := range readCorpus(t) {
		table := tables[row.preset]
		if table == nil {
			table = loadTable(t, filepath.Join("..", "configs", "presets", row.preset+".yaml"))
			tables[row.preset] = table
		}
		var d Decision
		table.Match(&row.request, &d)
		if string(d.Class) != row.class {
			t.Errorf("row %d, %s: %s %s (Host %s): class %s by rule %s, want %s: %s",
				i+2, row.preset, row.request.Method, row.request.Target, row.request.Host, d.Class, d.Rule.Name, row.class, row.why)
		}
	}
}
