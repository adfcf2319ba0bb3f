package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

const (
	maxFileSize = 1 << 20 // bytes; a configuration of a hundred sites is a tenth of it
	maxNodes    = 30_000  // values after aliases are replaced by what they stand for
	maxDepth    = 50
)

// node is a value as it was written. Unlike yaml.Node it knows its file, so
// that files can be merged and every mistake still be shown where it stands.
type node struct {
	kind nodeKind
	// place is the value's own for a scalar and an item of a list, and the key's
	// for a mapping or a list under a key.
	place  Place
	tag    string // of a scalar: "!!str", "!!int", …
	value  string // of a scalar
	fields []*field
	items  []*node

	bad      bool     // reported as something it cannot be
	misspelt []string // keys that an unknown key was probably meant to be
}

type nodeKind uint8

const (
	scalarNode nodeKind = iota
	mappingNode
	listNode
)

func (k nodeKind) String() string {
	return [...]string{"a single value", "a mapping", "a list"}[k]
}

// field is a key of a mapping and its value.
type field struct {
	key   string
	place Place
	value *node
}

// field finds a key; nil when it was not written.
func (n *node) field(key string) *field {
	if n == nil {
		return nil
	}
	for _, f := range n.fields {
		if f.key == key {
			return f
		}
	}
	return nil
}

func (n *node) isNull() bool { return n.kind == scalarNode && n.tag == "!!null" }

// parser turns one YAML document into nodes.
type parser struct {
	file     string
	nodes    int
	tooLarge bool
	problems *Problems
}

// parse reads a file's only document; nil when there is none or it cannot be
// read.
func (p *parser) parse(data []byte) *node {
	if !p.readable(data) {
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	switch err := decodeYAML(decoder, &document); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		p.syntaxError(data, err)
		return nil
	}
	switch err := decodeYAML(decoder, &second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		p.syntaxError(data, err)
		return nil
	default:
		p.fail(second.Line, second.Column, "a second document begins here", `remove the "---" line; further files are named under include`)
		return nil
	}
	return p.root(&document)
}

func (p *parser) root(document *yaml.Node) *node {
	if document.Kind != yaml.DocumentNode || len(document.Content) != 1 {
		return nil
	}
	root := p.convert(document.Content[0], "", Place{}, 0)
	switch {
	case p.tooLarge:
		p.fail(1, 1, fmt.Sprintf("holds more than %d values, or values more than %d deep", maxNodes, maxDepth),
			"write less; each alias counts as what it stands for")
		return nil
	case root.isNull():
		return nil
	case root.kind != mappingNode:
		p.fail(root.place.Line, root.place.Column, "expected keys and values, got "+root.kind.String(), "begin with sites:")
		return nil
	}
	return root
}

// decodeYAML turns a panic of yaml.v3 into an error: a configuration is often
// typed in a hurry, and a parser that gives up must not take a running server's
// reload with it.
func decodeYAML(decoder *yaml.Decoder, into *yaml.Node) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: %v", r)
		}
	}()
	return decoder.Decode(into)
}

// readable refuses what YAML would misread or report without a line.
func (p *parser) readable(data []byte) bool {
	line, column := 1, 1
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		switch {
		case r == utf8.RuneError && size == 1:
			p.fail(line, column, "is not UTF-8", "save it as UTF-8 with your editor")
			return false
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', r == 0x7f:
			p.fail(line, column, fmt.Sprintf("holds the control character %U", r), "remove it")
			return false
		case r == '\n':
			line, column = line+1, 0
		}
		column++
		data = data[size:]
	}
	return true
}

var yamlLine = regexp.MustCompile(`^line ([0-9]+): `)

// syntaxError reports what yaml.v3 says, which is "yaml: line 3: …".
func (p *parser) syntaxError(data []byte, err error) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1
	if match := yamlLine.FindStringSubmatch(text); match != nil {
		line, _ = strconv.Atoi(match[1])
		text = text[len(match[0]):]
	}
	if tab, column := tabIndent(data); tab > 0 && max(tab-line, line-tab) <= 1 {
		p.fail(tab, column, "a tab indents this line", "indent with spaces")
		return
	}
	p.fail(line, 1, "is not valid YAML: "+text, syntaxHints[text])
}

// syntaxHints say what people mostly did when yaml.v3 says the key. The line it
// gives may be that where the mapping or the list begins.
var syntaxHints = map[string]string{
	"mapping values are not allowed in this context":        `a text that holds ": " stands in quotes, and a key below another is indented`,
	"could not find expected ':'":                           `write "key: value", with a colon and a space`,
	"did not find expected key":                             "from here on, keys of one mapping and items of one list begin in the same column",
	"did not find expected '-' indicator":                   "from here on, keys of one mapping and items of one list begin in the same column",
	"did not find expected ',' or ']'":                      `a list in brackets needs a comma between two items and a "]" at its end`,
	"did not find expected ',' or '}'":                      `a mapping in braces needs a comma between two keys and a "}" at its end`,
	"found unexpected end of stream":                        "a quote further up is not closed",
	"did not find expected alphabetic or numeric character": `a text that begins with "*" or "&" stands in quotes`,
	"found character that cannot start any token":           `a text that begins with "@", "%" or a backtick stands in quotes`,
}

// tabIndent finds the first line indented with a tab.
func tabIndent(data []byte) (line, column int) {
	for i, text := range bytes.Split(data, []byte("\n")) {
		indent := text[:len(text)-len(bytes.TrimLeft(text, " \t"))]
		if tab := bytes.IndexByte(indent, '\t'); tab >= 0 && len(bytes.TrimSpace(text)) > 0 {
			return i + 1, tab + 1
		}
	}
	return 0, 0
}

func (p *parser) fail(line, column int, message, hint string) {
	place := Place{File: p.file, Line: line, Column: column}
	*p.problems = append(*p.problems, Problem{Place: place, Message: message, Hint: hint})
}

// convert copies a value. An alias is replaced by what it stands for, within
// bounds: an alias may stand for a list of aliases, and so on, or for itself.
func (p *parser) convert(y *yaml.Node, path string, key Place, depth int) *node {
	p.nodes++
	if p.nodes > maxNodes || depth > maxDepth {
		p.tooLarge = true
		return &node{tag: "!!null"}
	}
	if y.Kind == yaml.AliasNode {
		return p.convert(y.Alias, path, key, depth+1)
	}
	n := &node{place: Place{File: p.file, Line: y.Line, Column: y.Column}}
	switch y.Kind {
	case yaml.MappingNode:
		n.kind = mappingNode
		p.convertFields(n, y.Content, path, depth)
	case yaml.SequenceNode:
		n.kind = listNode
		for i, item := range y.Content {
			n.items = append(n.items, p.convert(item, indexed(path, i), Place{}, depth+1))
		}
	default:
		n.tag, n.value = y.ShortTag(), y.Value
	}
	if n.kind != scalarNode && key.File != "" {
		n.place = key
	}
	return n
}

func (p *parser) convertFields(n *node, content []*yaml.Node, path string, depth int) {
	for i := 0; i+1 < len(content); i += 2 {
		key := content[i]
		place := Place{File: p.file, Line: key.Line, Column: key.Column}
		f := &field{key: key.Value, place: place}
		report := func(message, hint string) {
			*p.problems = append(*p.problems, Problem{Place: place, Key: joined(path, f.key), Message: message, Hint: hint})
		}
		switch before := n.field(f.key); {
		case key.Kind != yaml.ScalarNode:
			f.key = ""
			report("a key must be a word", "")
		case key.ShortTag() == "!!merge":
			report("merge keys are not supported", "write the keys out")
		case before != nil:
			report("is written twice, first at "+before.place.String(), "keep one of them")
		default:
			f.value = p.convert(content[i+1], joined(path, f.key), place, depth+1)
			n.fields = append(n.fields, f)
		}
	}
}

// joined is the path of a key below another.
func joined(path, key string) string {
	if strings.ContainsFunc(key, func(r rune) bool { return !unicode.IsPrint(r) }) {
		key = quote(key) // problems are lines
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// indexed is the path of an item of a list.
func indexed(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
