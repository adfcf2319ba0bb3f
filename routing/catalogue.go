package routing

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"sync"

	"vestibule/configs"
)

// catalogueFile is what the rules of the catalogue give as their place.
const catalogueFile = "routing/catalogue.txt"

//go:embed catalogue.txt
var catalogueText string

// catalogue is Synapse's endpoints, the same for every site.
type catalogue struct {
	rows    []*row
	forms   []form // what the machine's indexes stand for
	machine *machine
	// checked are the oldest and the newest release of Synapse that the rows
	// have been held against.
	checked [2]Release
}

// form is one written-out pattern of a row; alternatives give it several.
type form struct {
	row     *row
	pattern pattern
	// room is where the id stands that [room] asks about, -1 nowhere; keys are
	// the segments of the row's key.
	room int
	keys [2]int
}

// row is one line of the catalogue.
type row struct {
	rule       Rule
	index      int // among the rows
	methods    methods
	key        keySource
	keyNames   []string // of the segments, for keySegments
	classes    []preference
	conditions []condition // any of them; none means always
	area       area
	endpoint   configs.Class
	withoutMAS bool // not for sites whose login is with MAS
}

// preference is one of the classes that may answer a row.
type preference struct {
	class configs.Class
	// since is the release from which on it can answer; the zero value is always.
	since Release
	// alone is true where nobody else can answer once the class has processes.
	alone bool
	// ifRoom limits the class to requests about a room id.
	ifRoom bool
}

// area is the part of Synapse's API a row belongs to. A listener may carry only
// some of them.
type area uint8

const (
	areaClient     area = 1 << iota // the client API and /_synapse
	areaFederation                  // /_matrix/federation and /_matrix/key
	areaMedia                       // /_matrix/media, which both kinds of peers use
	areaAll        = areaClient | areaFederation | areaMedia
)

// keySource is where a row's key comes from.
type keySource uint8

const (
	sourceNone     keySource = iota
	sourceUser               // the access token
	sourceOrigin             // the X-Matrix header
	sourceURI                // the whole target
	sourceSegments           // named segments of the path
)

// synapse is the catalogue of this build, read once.
var synapse = sync.OnceValues(func() (*catalogue, error) { return parseCatalogue(catalogueText) })

// parseCatalogue reads the notation that catalogue.txt describes. Its errors
// name the line.
func parseCatalogue(text string) (*catalogue, error) {
	c := &catalogue{}
	var patterns []pattern
	number := 0
	for line := range strings.Lines(text) {
		number++
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0][0] == '#' {
			continue
		}
		if fields[0] == "checked" {
			if err := c.readChecked(fields); err != nil {
				return nil, fmt.Errorf("reading the catalogue: %s:%d: %w", catalogueFile, number, err)
			}
			continue
		}
		forms, err := c.add(fields, number)
		if err != nil {
			return nil, fmt.Errorf("reading the catalogue: %s:%d: %w", catalogueFile, number, err)
		}
		for _, f := range forms {
			patterns = append(patterns, f.pattern)
		}
		c.forms = append(c.forms, forms...)
	}
	c.machine = compile(patterns)
	return c, c.checkTies()
}

// readChecked reads "checked 1.120 to 1.163".
func (c *catalogue) readChecked(fields []string) error {
	if len(fields) != 4 || fields[2] != "to" {
		return fmt.Errorf("%q is not as in checked 1.120 to 1.163", strings.Join(fields, " "))
	}
	if c.checked != [2]Release{} {
		return fmt.Errorf("the catalogue says twice what it was checked against")
	}
	var err error
	for i, text := range []string{fields[1], fields[3]} {
		if c.checked[i], err = ParseRelease(text); err != nil {
			return err
		}
	}
	if c.checked[0].Newer(c.checked[1]) {
		return fmt.Errorf("%s came after %s", c.checked[0], c.checked[1])
	}
	return nil
}

// add reads a row and returns its forms.
func (c *catalogue) add(fields []string, line int) ([]form, error) {
	if len(fields) < 4 {
		return nil, fmt.Errorf("a row has methods, a pattern, a key and classes, not %q", strings.Join(fields, " "))
	}
	r := &row{index: len(c.rows), methods: parseMethods(fields[0])}
	if err := r.parseKey(fields[2]); err != nil {
		return nil, err
	}
	rest, err := r.parseMarks(fields[3:])
	if err != nil {
		return nil, err
	}
	classes, conditions := rest, []string(nil)
	if i := slices.Index(rest, "if"); i >= 0 {
		classes, conditions = rest[:i], rest[i+1:]
	}
	if err := r.parseClasses(classes); err != nil {
		return nil, err
	}
	if err := r.parseConditions(conditions, classes, rest); err != nil {
		return nil, err
	}
	r.area = areaOf(fields[1])
	r.rule.Name = "synapse/" + string(r.endpoint)
	r.rule.Place = configs.Place{File: catalogueFile, Line: line, Column: 1}
	r.rule.Pattern = fields[1]
	forms, err := r.forms(fields[1])
	if err != nil {
		return nil, err
	}
	c.rows = append(c.rows, r)
	return forms, nil
}

// parseMarks reads the words at the end of a row, and returns those before.
func (r *row) parseMarks(words []string) ([]string, error) {
	for last := len(words) - 1; last > 0; last = len(words) - 1 {
		var again bool
		switch {
		case words[last] == "remote":
			again, r.rule.Remote = r.rule.Remote, true
		case words[last] == "repeatable":
			again, r.rule.Repeatable = r.rule.Repeatable, true
		case words[last] == "without-mas":
			again, r.withoutMAS = r.withoutMAS, true
		case last > 1 && words[last-1] == "since":
			again = !r.rule.Since.IsZero()
			var err error
			if r.rule.Since, err = ParseRelease(words[last]); err != nil {
				return nil, err
			}
			last--
		default:
			return words, nil
		}
		if again {
			return nil, fmt.Errorf("%s stands there twice", words[last])
		}
		words = words[:last]
	}
	return words, nil
}

// forms writes the row's pattern out and finds the segments it names.
func (r *row) forms(text string) ([]form, error) {
	patterns, err := parsePatterns(text)
	if err != nil {
		return nil, err
	}
	asksRoom := slices.ContainsFunc(r.classes, func(p preference) bool { return p.ifRoom })
	var forms []form
	for _, p := range patterns {
		f := form{row: r, pattern: p, room: p.index("room"), keys: [2]int{-1, -1}}
		if asksRoom && f.room < 0 {
			return nil, fmt.Errorf("[room] needs a {room} in pattern %q", text)
		}
		for i, name := range r.keyNames {
			if f.keys[i] = p.index(name); f.keys[i] < 0 {
				return nil, fmt.Errorf("the key {%s} is not in pattern %q", name, text)
			}
		}
		forms = append(forms, f)
	}
	return forms, nil
}

func (r *row) parseKey(text string) error {
	switch text {
	case "-":
		return nil
	case "user":
		r.key = sourceUser
		return nil
	case "origin":
		r.key = sourceOrigin
		return nil
	case "uri":
		r.key = sourceURI
		return nil
	}
	for part := range strings.SplitSeq(text, "/") {
		name, ok := strings.CutPrefix(part, "{")
		name, closed := strings.CutSuffix(name, "}")
		if _, known := segmentKinds[name]; !ok || !closed || !known || len(r.keyNames) == 2 {
			return fmt.Errorf("%q is no key", text)
		}
		r.keyNames = append(r.keyNames, name)
	}
	r.key = sourceSegments
	return nil
}

// segmentKinds says which kind of key a named segment makes.
var segmentKinds = map[string]KeyKind{
	"room": KeyRoom, "user": KeyUser, "server": KeyMedia, "media": KeyMedia,
}

func (r *row) parseClasses(words []string) error {
	for _, word := range words {
		var p preference
		name, bracketed := strings.CutPrefix(word, "[")
		if bracketed {
			name, p.ifRoom = strings.CutSuffix(name, "]")
		}
		if text, since, ok := strings.Cut(name, "@"); ok {
			var err error
			if p.since, err = ParseRelease(since); err != nil {
				return err
			}
			name = text
		}
		name, p.alone = strings.CutSuffix(name, "!")
		p.class = configs.Class(name)
		if bracketed && (!p.ifRoom || p.class != configs.ClassRoom) || !bracketed && p.class == configs.ClassRoom {
			return fmt.Errorf("%q: the class room, and no other, stands in brackets", word)
		}
		if p.class != configs.ClassMain && !slices.Contains(configs.WorkerClasses, p.class) {
			return fmt.Errorf("%q is no class", word)
		}
		if r.endpoint == "" && !p.ifRoom {
			r.endpoint = p.class
		}
		if p.since.IsZero() {
			p.since = r.rule.Since
		}
		r.classes = append(r.classes, p)
	}
	if r.endpoint == "" {
		return fmt.Errorf("no class but [room] is named")
	}
	return nil
}

func (r *row) parseConditions(words, classes, all []string) error {
	if len(words) == 0 {
		if len(all) > len(classes) {
			return fmt.Errorf("no condition follows if")
		}
		return nil
	}
	for i, word := range words {
		if i%2 == 1 {
			if word != "or" || i == len(words)-1 {
				return fmt.Errorf("%q stands where an or belongs", word)
			}
			continue
		}
		name, value, ok := strings.Cut(word, "=")
		if !ok || name == "" {
			return fmt.Errorf("%q is no condition", word)
		}
		r.conditions = append(r.conditions, condition{name, value})
	}
	return nil
}

// areaOf tells the area from the pattern's beginning.
func areaOf(pattern string) area {
	for _, prefix := range []string{"/_matrix/federation", "/_matrix/key"} {
		if pattern == prefix || strings.HasPrefix(pattern, prefix+"/") {
			return areaFederation
		}
	}
	if strings.HasPrefix(pattern, "/_matrix/media/") {
		return areaMedia
	}
	return areaClient
}

// checkTies refuses rows that no request could reach, because one above takes
// the same pattern and method without a condition.
func (c *catalogue) checkTies() error {
	above := make(map[string][]*row)
	for _, f := range c.forms {
		shape := shapeOf(f.pattern)
		for _, r := range above[shape] {
			if r != f.row && len(r.conditions) == 0 && r.methods.overlap(f.row.methods) {
				return fmt.Errorf("reading the catalogue: %s:%d: line %d takes the same requests",
					catalogueFile, f.row.rule.Place.Line, r.rule.Place.Line)
			}
		}
		above[shape] = append(above[shape], f.row)
	}
	return nil
}

// shapeOf is equal for patterns that the same paths fit.
func shapeOf(p pattern) string {
	var shape strings.Builder
	for _, s := range p.segments {
		shape.WriteByte('/')
		if s.any {
			shape.WriteString("{}")
		} else {
			shape.WriteString(s.text)
		}
	}
	if p.tail {
		shape.WriteString("/**")
	}
	return shape.String()
}

// find returns the form that a request fits, nil for none; mas tells that login
// is with MAS. What lost goes to tr.
func (c *catalogue) find(method string, t *target, mas bool, tr *trace) *form {
	var found *form
	for _, i := range c.machine.find(t.path) {
		f := &c.forms[i]
		if found != nil {
			tr.lost(&f.row.rule, f.row.endpoint, "less specific")
			continue
		}
		switch {
		case !f.row.methods.have(method):
			if tr != nil {
				tr.lost(&f.row.rule, f.row.endpoint, f.row.methods.want(method))
			}
		case !f.row.applies(t.query):
			if tr != nil {
				tr.lost(&f.row.rule, f.row.endpoint, f.row.unmet())
			}
		case mas && f.row.withoutMAS:
			tr.lost(&f.row.rule, f.row.endpoint, "login is with MAS")
		default:
			if tr == nil {
				return f
			}
			found = f
		}
	}
	return found
}

func (r *row) applies(query string) bool {
	for _, c := range r.conditions {
		if c.holds(query) {
			return true
		}
	}
	return len(r.conditions) == 0
}

// unmet says why a row does not apply.
func (r *row) unmet() string {
	var reasons []string
	for _, c := range r.conditions {
		reasons = append(reasons, c.String())
	}
	return strings.Join(reasons, " and ")
}
