package main

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// preface stands before the keys. It says what no single field can.
const preface = `# The configuration file

<!-- Written by "make docs" from the comments in configs: change them there. -->

vestibule reads one YAML file, ` + "`/etc/vestibule/vestibule.yaml`" + ` unless ` + "`--config`" + ` names another, and the files it
includes. ` + "`vestibule validate FILE`" + ` reports every mistake in one run, with its place and the remedy; the same check
stands before every start and every reload. Unknown keys are mistakes. A key that "is not supported yet" is refused
rather than ignored.

Durations are written ` + "`10s`, `3m`, `1h30m`" + `; sizes ` + "`64KiB`, `50MiB`, `2GiB`" + ` or a plain number of bytes. An upstream is a
URL, or a mapping with a ` + "`url`" + ` and what else [it takes](#upstream).
`

// reference returns the page for the schema, the texts of the files of configs.
func reference(schema ...[]byte) ([]byte, error) {
	positions := token.NewFileSet()
	types := map[string]structType{}
	for _, text := range schema {
		tree, err := parser.ParseFile(positions, schemaFiles, text, parser.ParseComments)
		if err != nil {
			return nil, fmt.Errorf("parsing the schema: %w", err)
		}
		structs(positions, tree, types)
	}
	root, ok := types["Config"]
	if !ok {
		return nil, fmt.Errorf("parsing the schema: %s has no type Config", schemaFiles)
	}
	walk := walker{types: types, sections: map[string]*section{}}
	walk.visit(root, "")
	var page bytes.Buffer
	page.WriteString(preface)
	for _, name := range walk.order {
		walk.sections[name].write(&page, walk.sections)
	}
	return page.Bytes(), nil
}

// structType is a struct of the schema that YAML fills key by key.
type structType struct {
	name   string
	doc    string
	fields []field
}

// field is a key of a structType.
type field struct {
	name string // in Go
	key  string // in YAML
	typ  string // as in Go, without pointers: "[]Upstream"
	doc  string
}

// structs adds to types the structs that have at least one key.
func structs(positions *token.FileSet, tree *ast.File, types map[string]structType) {
	for _, declaration := range tree.Decls {
		general, ok := declaration.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range general.Specs {
			named, ok := spec.(*ast.TypeSpec)
			if !ok {
				continue
			}
			body, ok := named.Type.(*ast.StructType)
			if fields := keys(positions, body); ok && len(fields) > 0 {
				types[named.Name.Name] = structType{named.Name.Name, paragraph(general.Doc), fields}
			}
		}
	}
}

// keys lists the fields of a struct that have a key, in the order of the source.
// A comment above fields on adjacent lines belongs to all of them.
func keys(positions *token.FileSet, body *ast.StructType) []field {
	if body == nil {
		return nil
	}
	var fields []field
	above, last := "", 0
	for _, f := range body.Fields.List {
		line := positions.Position(f.Pos()).Line
		if f.Doc != nil || line != last+1 {
			above = paragraph(f.Doc)
		}
		last = line
		if key := yamlKey(f); key != "" {
			doc := cmp.Or(paragraph(f.Comment), above)
			fields = append(fields, field{f.Names[0].Name, key, typeName(f.Type), doc})
		}
	}
	return fields
}

// yamlKey is a field's key, "" when YAML does not fill it.
func yamlKey(f *ast.Field) string {
	if f.Tag == nil {
		return ""
	}
	key, _, _ := strings.Cut(reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("yaml"), ",")
	return strings.TrimPrefix(key, "-")
}

// paragraph joins the lines of a comment.
func paragraph(comment *ast.CommentGroup) string {
	return strings.Join(strings.Fields(comment.Text()), " ")
}

// typeName writes a type as Go does, without pointers.
func typeName(expression ast.Expr) string {
	switch t := expression.(type) {
	case *ast.Ident:
		return t.Name
	case *ast.StarExpr:
		return typeName(t.X)
	case *ast.ArrayType:
		return "[]" + typeName(t.Elt)
	case *ast.MapType:
		return "map[" + typeName(t.Key) + "]" + typeName(t.Value)
	case *ast.SelectorExpr:
		return typeName(t.X) + "." + t.Sel.Name
	}
	return ""
}

// element returns the type in a list or mapping, and what stands for one of
// them in a path.
func element(typ string) (inner, suffix string) {
	if inner, ok := strings.CutPrefix(typ, "[]"); ok {
		return inner, "[]"
	}
	if strings.HasPrefix(typ, "map[") {
		_, inner, _ := strings.Cut(typ, "]")
		return inner, ".NAME"
	}
	return typ, ""
}

// walker gathers a section for each struct, in the order a reader meets them.
type walker struct {
	types    map[string]structType
	sections map[string]*section
	order    []string
}

func (w *walker) visit(t structType, path string) {
	if s, seen := w.sections[t.name]; seen {
		s.paths = append(s.paths, path)
		return
	}
	w.sections[t.name] = &section{structType: t, paths: []string{path}}
	if t.name != "Upstream" {
		w.order = append(w.order, t.name)
	}
	for _, f := range t.fields {
		inner, suffix := element(f.typ)
		if next, ok := w.types[inner]; ok {
			w.visit(next, strings.TrimPrefix(path+"."+f.key+suffix, "."))
		}
	}
	if path == "" { // upstreams are everywhere, so they come last
		if _, ok := w.sections["Upstream"]; ok {
			w.order = append(w.order, "Upstream")
		}
	}
}

// section is a struct and the places in the file where it is written.
type section struct {
	structType
	paths []string
}

func (s *section) title() string {
	switch {
	case s.paths[0] == "":
		return "The top of the file"
	case s.name == "Upstream":
		return "Upstream"
	}
	quoted := make([]string, len(s.paths))
	for i, path := range s.paths {
		quoted[i] = "`" + path + "`"
	}
	return strings.Join(quoted, ", ")
}

// notAnchor is what GitHub and GitLab leave out of a heading's anchor.
var notAnchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`)

func (s *section) anchor() string {
	return strings.ReplaceAll(notAnchor.ReplaceAllString(strings.ToLower(s.title()), ""), " ", "-")
}

func (s *section) write(page *bytes.Buffer, sections map[string]*section) {
	fmt.Fprintf(page, "\n## %s\n\n%s\n\n", s.title(), s.introduction())
	for _, f := range s.fields {
		kind := words(f.typ)
		inner, _ := element(f.typ)
		if target, ok := sections[inner]; ok {
			kind = fmt.Sprintf("[%s](#%s)", kind, target.anchor())
		}
		fmt.Fprintf(page, "- **`%s`** (%s)", f.key, kind)
		if doc := s.speakYAML(f); doc != "" {
			fmt.Fprintf(page, ": %s", doc)
		}
		page.WriteString("\n")
	}
}

// speakYAML turns a field's comment into a sentence about its key.
func (s *section) speakYAML(f field) string {
	doc := f.doc
	if rest, ok := withoutSubject(doc, f.name); ok {
		doc = rest
	} else if rest, ok := strings.CutPrefix(doc, f.name+" "); ok {
		doc = "`" + f.key + "` " + rest
	}
	return s.withDefault(f, sentence(quotedOrName.ReplaceAllStringFunc(doc, s.code)))
}

// withDefault adds the default where the comment leaves it to configs.Default.
func (s *section) withDefault(f field, doc string) string {
	if len(s.paths) > 1 || strings.Contains(doc, "efault") || strings.Contains(doc, "Not supported") {
		return doc
	}
	value := defaultOf(strings.TrimPrefix(s.paths[0]+"."+f.key, "."))
	if value == "" {
		return doc
	}
	return strings.TrimPrefix(doc+" Defaults to `"+value+"`.", " ")
}

// withoutSubject drops "Main is" from "Main is the main process".
func withoutSubject(doc, name string) (rest string, ok bool) {
	for _, opening := range []string{" is ", " are "} {
		if rest, ok := strings.CutPrefix(doc, name+opening); ok {
			return rest, true
		}
	}
	return doc, false
}

// quotedOrName is a value in quotation marks, code, or a word that may be a
// field's name. What has blanks in it is a title, not a value, and words all in
// capitals, such as TLS, name the thing itself.
var quotedOrName = regexp.MustCompile("\"[^\" ]*\"|`[^`]*`|\\b[A-Z][A-Za-z]*[a-z][A-Za-z]*\\b")

// proper are fields' names that mean the thing itself inside a sentence.
var proper = []string{"Element", "Host", "Ketesa", "Synapse"}

// code sets values and the keys of siblings as code.
func (s *section) code(word string) string {
	if value, quoted := strings.CutPrefix(word, `"`); quoted {
		return "`" + strings.TrimSuffix(value, `"`) + "`"
	}
	i := slices.IndexFunc(s.fields, func(sibling field) bool { return sibling.name == word })
	if i < 0 || slices.Contains(proper, word) {
		return word
	}
	return "`" + s.fields[i].key + "`"
}

// sentence closes what has no full stop yet.
func sentence(doc string) string {
	if doc == "" || strings.HasSuffix(doc, ".") {
		return doc
	}
	return strings.TrimRight(doc, ",;") + "."
}

// introduction is the type's comment without the type's name.
func (s *section) introduction() string {
	doc, _ := withoutSubject(s.doc, s.name)
	doc = strings.TrimPrefix(doc, s.name+" ")
	if doc == "" {
		return ""
	}
	return sentence(strings.ToUpper(doc[:1]) + doc[1:])
}

// kinds says in words what a value of a Go type looks like in YAML.
var kinds = map[string]string{
	"string":           "text",
	"int":              "number",
	"bool":             "true or false",
	"any":              "anything",
	"Duration":         "duration",
	"Size":             "size",
	"Address":          "address",
	"Class":            "class",
	"Upstream":         "upstream",
	"Workers":          "mapping of a class to a list of upstreams",
	"FederationPolicy": "all, none or a list of texts",
	"HTTP01":           "empty mapping",
	"netip.Prefix":     "address or network",
}

func words(typ string) string {
	inner, suffix := element(typ)
	kind, known := kinds[inner]
	if !known {
		kind = "mapping"
	}
	switch suffix {
	case "[]":
		return "list: " + kind
	case ".NAME":
		return "mapping of names: " + kind
	}
	return kind
}
