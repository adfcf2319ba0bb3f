package routing

import (
	"net/netip"
	"path/filepath"
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

// readCorpus is the corpus, asked from an address that nobody lists.
func readCorpus(t testing.TB) []corpusRow {
	t.Helper()
	rows, err := parseCorpus()
	if err != nil || len(rows) < 500 {
		t.Fatalf("%d rows: %v", len(rows), err)
	}
	for i := range rows {
		rows[i].request.Client = netip.MustParseAddr("198.51.100.7")
	}
	return rows
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
