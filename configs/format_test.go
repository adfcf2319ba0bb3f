package configs

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// TestFormat holds that no key of the format is ignored. Each one either makes a
// difference in some valid file of the tests, so that the file says something
// else without it, or is refused with "not supported yet".
func TestFormat(t *testing.T) {
	tried := map[string]bool{"Config.include": true} // read before there is a Config: TestIncludeMerges
	for _, pattern := range []string{"testdata/valid/*.yaml", "examples/*.yaml", "presets/*.yaml"} {
		for _, path := range glob(t, pattern) {
			newTrial(t, path, tried).run()
		}
	}
	refused := refusedKeys(t)
	for _, key := range formatKeys(reflect.TypeFor[Config]()) {
		_, name, _ := strings.Cut(key, ".")
		if !tried[key] && !refused[name] {
			t.Errorf("%s makes no difference in any valid file and is not refused", key)
		}
	}
}

// formatKeys lists the keys of a type and of those below it, as "Site.host".
func formatKeys(t reflect.Type) []string {
	var keys []string
	seen := map[reflect.Type]bool{reflect.TypeFor[TCPForward](): true} // of refused keys
	var add func(t reflect.Type)
	add = func(t reflect.Type) {
		for slices.Contains([]reflect.Kind{reflect.Pointer, reflect.Slice, reflect.Map}, t.Kind()) {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct || seen[t] {
			return
		}
		seen[t] = true
		for _, key := range keysOf(t) {
			keys = append(keys, t.Name()+"."+key)
			i, _ := fieldIndex(t, key)
			add(t.Field(i).Type)
		}
	}
	add(t)
	return keys
}

// refusedKeys are those that a file of testdata/invalid is refused for.
func refusedKeys(t *testing.T) map[string]bool {
	refusal := regexp.MustCompile(`(\w+)(?:\[\d+\])*: not supported yet`)
	keys := map[string]bool{}
	for _, path := range glob(t, "testdata/invalid/*.yaml") {
		if match := refusal.FindStringSubmatch(wanted(t, path)); match != nil && match[1] != "addresses" {
			keys[match[1]] = true // of addresses, only some are refused
		}
	}
	return keys
}

// trial leaves out one key of a file after the other.
type trial struct {
	t        *testing.T
	file     string // what is loaded, always the same for relative paths
	document yaml.Node
	whole    string
	tried    map[string]bool // the keys that made a difference
}

func newTrial(t *testing.T, path string, tried map[string]bool) *trial {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	tr := &trial{t: t, file: filepath.Join(t.TempDir(), "vestibule.yaml"), tried: tried}
	if err := yaml.Unmarshal(data, &tr.document); err != nil {
		t.Fatal(err)
	}
	return tr
}

func (tr *trial) run() {
	tr.whole = tr.load()
	tr.walk(reflect.TypeFor[Config](), tr.document.Content[0])
}

// walk goes through a value and the type that it is read into.
func (tr *trial) walk(t reflect.Type, n *yaml.Node) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Kind() == reflect.Slice && n.Kind == yaml.SequenceNode:
		for _, item := range n.Content {
			tr.walk(t.Elem(), item)
		}
	case t.Kind() == reflect.Map && n.Kind == yaml.MappingNode:
		for i := 1; i < len(n.Content); i += 2 {
			tr.walk(t.Elem(), n.Content[i])
		}
	case t.Kind() == reflect.Struct && n.Kind == yaml.MappingNode:
		for i := 0; i < len(n.Content); i += 2 {
			key := n.Content[i].Value
			if name := t.Name() + "." + key; !tr.tried[name] {
				tr.tried[name] = tr.differs(n, i)
			}
			if field, found := fieldIndex(t, key); found {
				tr.walk(t.Field(field).Type, n.Content[i+1])
			}
		}
	}
}

// differs leaves out the key at i of a mapping.
func (tr *trial) differs(n *yaml.Node, i int) bool {
	content := n.Content
	n.Content = slices.Delete(slices.Clone(content), i, i+2)
	defer func() { n.Content = content }()
	return tr.load() != tr.whole
}

var placeInJSON = regexp.MustCompile(`"Place":\{[^}]*\}`)

// load gives all that is read from the document, but for where it stands.
func (tr *trial) load() string {
	data, err := yaml.Marshal(&tr.document)
	if err == nil {
		err = os.WriteFile(tr.file, data, 0o600)
	}
	if err != nil {
		tr.t.Fatal(err)
	}
	cfg, problems := Load(tr.file)
	if cfg == nil {
		return problems.Error()
	}
	text, err := json.Marshal(cfg)
	if err != nil {
		tr.t.Fatal(err)
	}
	return placeInJSON.ReplaceAllString(string(text), "")
}
