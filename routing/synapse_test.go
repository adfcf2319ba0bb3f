//go:build integration

package routing

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vestibule/configs"
)

// servlets is the program that knows what Synapse serves, because it has
// Synapse build it: testdata/servlets.py says how. It is asked from one
// goroutine only.
type servlets struct {
	Release  string
	Features []string
	Kinds    map[string]*processKind
	// Samples are paths that fit a pattern.
	Samples map[string][]string

	questions io.Writer
	answers   *bufio.Reader
	served    map[[3]string]bool // what has been asked
}

// processKind is what a kind of Synapse's processes serves.
type processKind struct {
	Mounts   map[string]string // path of a resource to its class
	Servlets []servlet
}

// servlet is a mount, a method, a pattern and a class of Synapse's.
type servlet [4]string

func (s servlet) method() string  { return s[1] }
func (s servlet) pattern() string { return s[2] }

// String is such as "GET ^/_matrix/client/versions$ (VersionsRestServlet)".
func (s servlet) String() string { return fmt.Sprintf("%s %s (%s)", s[1], s[2], s[3]) }

// served is where a request ends in a process.
type served struct {
	mount, servlet string
	status         int
}

// python has Synapse; integration/setup.sh puts it there.
const python = "../.lab/venv/bin/python"

var startServlets = sync.OnceValues(func() (*servlets, error) {
	if _, err := os.Stat(python); err != nil {
		return nil, fmt.Errorf("looking for Synapse: %w (hint: run integration/setup.sh)", err)
	}
	child := exec.Command(python, "testdata/servlets.py")
	child.Stderr = os.Stderr
	questions, err := child.StdinPipe() // it ends with this program
	if err != nil {
		return nil, err
	}
	output, err := child.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := child.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", python, err)
	}
	late := time.AfterFunc(2*time.Minute, func() { _ = child.Process.Kill() })
	defer late.Stop()
	s := &servlets{questions: questions, answers: bufio.NewReader(output), served: make(map[[3]string]bool)}
	line, err := s.answers.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("asking Synapse for its servlets: %w", errors.Join(err, child.Wait()))
	}
	return s, json.Unmarshal(line, s)
})

func synapseServlets(t *testing.T) *servlets {
	t.Helper()
	s, err := startServlets()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ask sends a request to a process of a kind, as far as its servlets.
func (s *servlets) ask(kind, method, target string) (served, error) {
	question, err := json.Marshal([]string{kind, method, base64.StdEncoding.EncodeToString([]byte(target))})
	if err != nil {
		return served{}, err
	}
	if _, err := s.questions.Write(append(question, '\n')); err != nil {
		return served{}, fmt.Errorf("asking servlets.py: %w", err)
	}
	line, err := s.answers.ReadBytes('\n')
	if err != nil {
		return served{}, fmt.Errorf("reading servlets.py: %w", err)
	}
	var answer served
	return answer, json.Unmarshal(line, &[]any{&answer.mount, &answer.servlet, &answer.status})
}

// comparison holds a catalogue against Synapse, in both directions.
type comparison struct {
	synapse     *servlets
	catalogue   *catalogue
	table       *Table
	mas         bool // has the login
	release     Release
	err         error // the first
	differences []string
	told        map[string]bool    // what the differences are about
	requests    map[[3]string]bool // kinds, methods and targets
}

// compare returns what differs, with a site that has a process of every class.
func compare(synapse *servlets, catalogue *catalogue, mas bool) (*comparison, error) {
	cfg, site := configs.Default(), everyClass("example.com")
	c := &comparison{mas: mas, synapse: synapse, catalogue: catalogue, told: make(map[string]bool), requests: make(map[[3]string]bool)}
	if mas {
		site.MAS = &configs.MAS{Host: "auth.example.com", Path: "/", Upstream: &configs.Upstream{URL: "http://mas:8080"}}
	}
	cfg.Sites = []*configs.Site{site}
	var err error
	if c.release, err = ParseRelease(synapse.Release); err != nil {
		return nil, err
	}
	if c.table, err = newTable(cfg, map[string]Release{site.ServerName: c.release}, catalogue); err != nil {
		return nil, err
	}
	reached := c.compareServlets()
	c.compareRows(reached)
	return c, c.err
}

// differ notes a difference, once for what it is about.
func (c *comparison) differ(about, format string, args ...any) {
	if !c.told[about] {
		c.told[about] = true
		c.differences = append(c.differences, fmt.Sprintf(format, args...))
	}
}

// serves asks whether a process of a kind has a servlet for a request.
func (c *comparison) serves(kind, method, target string) bool {
	return c.servesWith(c.mas, kind, method, target)
}

func (c *comparison) servesWith(mas bool, kind, method, target string) bool {
	key := [3]string{withMAS(kind, mas), method, target}
	c.requests[key] = true
	serves, known := c.synapse.served[key]
	if !known {
		answer, err := c.synapse.ask(key[0], method, target)
		c.err = errors.Join(c.err, err)
		serves = answer.status == http.StatusOK
		c.synapse.served[key] = serves
	}
	return serves
}

// withMAS is the name of a kind of process where MAS has the login.
func withMAS(kind string, mas bool) string {
	if mas {
		return kind + " with MAS"
	}
	return kind
}

// mainBesideMedia is the main process of a site that has media workers.
const mainBesideMedia = "main without media"

// workerKinds are the workers by the one resource of their listener.
var workerKinds = []string{"client", "federation", "media"}

// kindOf is the kind of worker a class needs for an endpoint. Where media is
// quarantined Synapse wants both: a writer of the stream that has the media
// repository.
func kindOf(class configs.Class, a area) string {
	switch {
	case class == configs.ClassMedia || class == configs.ClassStreamQuarantinedMediaChanges:
		return "media"
	case a == areaFederation:
		return "federation"
	}
	return "client"
}

// compareServlets asks for each servlet of a process whether the catalogue gives
// its requests to a process that has it, and whether the main process is given
// nothing that a worker can do unless a row says so. It returns the forms that
// were reached.
func (c *comparison) compareServlets() map[*form]bool {
	reached := make(map[*form]bool)
	for _, kind := range append([]string{"main"}, workerKinds...) {
		for _, s := range c.synapse.Kinds[withMAS(kind, c.mas)].Servlets {
			for _, path := range c.synapse.Samples[s.pattern()] {
				if c.serves(kind, s.method(), path) {
					c.compareServlet(s, path, reached)
				}
			}
		}
	}
	return reached
}

func (c *comparison) compareServlet(s servlet, path string, reached map[*form]bool) {
	r := Request{Method: s.method(), Host: "matrix.example.com", Target: path, Client: netip.MustParseAddr("198.51.100.7")}
	var d Decision
	c.table.Match(&r, &d)
	if !synapseMay(path) && !strings.HasPrefix(path, "/_synapse/admin/") {
		if d.Action == Proxy {
			c.differ(s.String(), "%s goes to %s, and is not for everybody: %s", s, d.Class, path)
		}
		return
	}
	t, _ := parseTarget(path)
	f := c.catalogue.find(s.method(), &t, c.mas, nil)
	if f == nil || d.Action != Proxy {
		c.differ(s.String(), "%s fits no row: %s", s, path)
		return
	}
	reached[f] = true
	workers := slices.DeleteFunc(slices.Clone(workerKinds), func(kind string) bool { return !c.serves(kind, s.method(), path) })
	if unmarked := c.catalogue.find(s.method(), &t, false, nil); len(workers) > 0 && unmarked != f {
		c.differ(s.String(), "%s: without-mas, but a %s worker serves %s with MAS", unmarked.row.rule.Place, workers[0], s)
	}
	if slices.Contains(d.Spares, d.Main) && !c.serves(mainBesideMedia, s.method(), path) {
		c.differ(f.pattern.String(), "%s: the main process stands in for %s, and beside it does not serve %s", f.row.rule.Place, d.Class, f.pattern)
	}
	switch {
	case d.Class != configs.ClassMain:
		if kind := kindOf(d.Class, f.row.area); !slices.Contains(workers, kind) {
			c.differ(s.String(), "%s: %s goes to %s, and no %s worker serves it: %s", f.row.rule.Place, s, d.Class, kind, path)
		}
	case len(workers) > 0 && !f.row.deliberate() && c.release == c.catalogue.checked[1]:
		c.differ(s.String(), "%s goes to main, and a %s worker serves it (add a row, for main too): %s", s, workers[0], path)
	}
}

// deliberate reports whether a row leaves to the main process what a worker
// could do. The rows for all the rest take any method.
func (r *row) deliberate() bool {
	return r.endpoint == configs.ClassMain && len(r.methods.list) > 0
}

// compareRows asks for each written-out form, method and class of a row whether
// such a worker has a servlet.
func (c *comparison) compareRows(reached map[*form]bool) {
	for i := range c.catalogue.forms {
		f := &c.catalogue.forms[i]
		switch {
		case f.row.endpoint == configs.ClassMain && !f.row.deliberate():
		case c.mas && f.row.withoutMAS: // compareServlet asks
		case f.row.deliberate() && c.release != c.catalogue.checked[1]: // likewise
		case f.pattern.tail:
			if !reached[f] {
				c.differ(f.pattern.String(), "%s: %s leads to no servlet of Synapse's", f.row.rule.Place, f.pattern)
			}
		default:
			c.compareForm(f)
		}
	}
}

// compareForm asks whether each class of a form's row serves it. A row that
// takes any method needs one.
func (c *comparison) compareForm(f *form) {
	for _, target := range f.pattern.samples() {
		for _, kind := range c.kinds(f.row) {
			methods := f.row.methods.list
			if len(methods) == 0 {
				methods = slices.DeleteFunc(slices.Clone(everyMethod), func(method string) bool { return !c.serves(kind, method, target) })
			}
			if len(methods) == 0 {
				c.differ(f.pattern.String()+kind, "%s: no %s worker serves %s", f.row.rule.Place, kind, f.pattern)
			}
			for _, method := range methods {
				// What only exists with MAS has a row for the main process.
				if !c.serves(kind, method, target) && !(f.row.deliberate() && c.servesWith(!c.mas, kind, method, target)) {
					c.differ(f.pattern.String()+kind+method, "%s: no %s worker serves %s %s", f.row.rule.Place, kind, method, f.pattern)
				}
			}
		}
	}
}

var everyMethod = []string{"GET", "POST", "PUT", "DELETE"}

// kinds are those of the classes of a row; of a row for the main process, the
// kind that could answer it as well.
func (c *comparison) kinds(r *row) []string {
	var kinds []string
	for _, p := range r.classes {
		if kind := kindOf(p.class, r.area); !c.release.lacks(p.since) && !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// samples are paths that fit the pattern; a {room} is a word, then what looks
// like the id of a room.
func (p pattern) samples() []string {
	word, id := "", ""
	for _, s := range p.segments {
		switch {
		case !s.any:
			word, id = word+"/"+s.text, id+"/"+s.text
		case s.name == "room":
			word, id = word+"/x", id+"/!x"
		default:
			word, id = word+"/x", id+"/x"
		}
	}
	return slices.Compact([]string{word, id})
}

// String writes the pattern as in the catalogue.
func (p pattern) String() string {
	var text strings.Builder
	for i, s := range p.segments {
		switch {
		case p.tail && i == len(p.segments)-1:
			text.WriteString("/**")
		case s.any:
			text.WriteString("/{" + s.name + "}")
		default:
			text.WriteString("/" + s.text)
		}
	}
	return text.String()
}

// TestSynapseServlets holds the catalogue against what Synapse's processes register.
//
// It is that of the laboratory, or an older one in PYTHONPATH: then the rows
// that hold there are compared, and those that do not must be passed over.
func TestSynapseServlets(t *testing.T) {
	synapse := synapseServlets(t)
	t.Logf("Synapse %s, with %s", synapse.Release, strings.Join(synapse.Features, ", "))
	catalogue, err := parseCatalogue(catalogueText)
	if err != nil {
		t.Fatal(err)
	}
	for _, mas := range []bool{false, true} {
		if synapse.Kinds[withMAS("main", mas)] == nil {
			t.Log("with MAS true: this release knows only what MSC3861 was before it, which the catalogue does not")
			continue
		}
		c, err := compare(synapse, catalogue, mas)
		if err != nil {
			t.Fatal(err)
		}
		registered := 0
		for _, kind := range append([]string{"main"}, workerKinds...) {
			registered += len(synapse.Kinds[withMAS(kind, mas)].Servlets)
		}
		t.Logf("with MAS %t: compared %d rows (%d patterns written out) and %d registered servlets in %d requests; %d differ",
			mas, len(catalogue.rows), len(catalogue.forms), registered, len(c.requests), len(c.differences))
		for _, difference := range c.differences {
			t.Error(difference)
		}
		if c.release.Newer(CatalogueRelease()) || os.Getenv("PYTHONPATH") == "" && c.release != CatalogueRelease() {
			t.Errorf("Synapse is %s: let the line checked in routing/catalogue.txt end with it, once nothing differs", c.release)
		}
	}
}

// TestSynapseServletsNotice makes sure that the comparison above can fail.
func TestSynapseServletsNotice(t *testing.T) {
	synapse := synapseServlets(t)
	for _, c := range []struct {
		what, replace, by string
		mas               bool
		want              []string
	}{
		{what: "an endpoint that only the main process has", by: "POST /_matrix/client/v3/logout - client_reader\n", want: []string{
			"POST ^/_matrix/client/(api/v1|r0|v3|unstable)/logout$ (LogoutRestServlet) goes to client_reader, and no client worker serves it: /_matrix/client/v3/logout",
			"no client worker serves POST /_matrix/client/v3/logout",
		}},
		{what: "an endpoint that nobody has", by: "POST /_matrix/client/v1/new - client_reader\n", want: []string{"no client worker serves POST /_matrix/client/v1/new"}},
		{what: "a row for the main process that no worker could answer", by: "GET /_matrix/client/v1/new - main\n", want: []string{
			"no client worker serves GET /_matrix/client/v1/new",
		}},
		{what: "a prefix that nobody has", by: "* /_matrix/client/v1/new/** - client_reader\n", want: []string{"/_matrix/client/v1/new/** leads to no servlet of Synapse's"}},
		{what: "a method too many", replace: "GET             /_matrix/client/versions ", by: "GET,PUT /_matrix/client/versions ", want: []string{
			"no client worker serves PUT /_matrix/client/versions",
		}},
		{what: "a row less", replace: "POST            /_matrix/client/(api/v1|r0|v3|unstable)/search  ", by: "# ", want: []string{
			"POST ^/_matrix/client/(api/v1|r0|v3|unstable)/search$ (SearchRestServlet) goes to main, and a client worker serves it (add a row, for main too): /_matrix/client/api/v1/search",
		}},
		{what: "a row whose release is yet to come", replace: "publicRooms                -      client_reader generic", by: "publicRooms - client_reader generic since 1.999", want: []string{
			"GET ^/_matrix/client/(api/v1|r0|v3|unstable)/publicRooms$ (PublicRoomListRestServlet) goes to main, and a client worker serves it (add a row, for main too): /_matrix/client/api/v1/publicRooms",
			"POST ^/_matrix/client/(api/v1|r0|v3|unstable)/publicRooms$ (PublicRoomListRestServlet) goes to main, and a client worker serves it (add a row, for main too): /_matrix/client/api/v1/publicRooms",
		}},
		{what: "a class of another listener", replace: "/_matrix/client/v1/media/**                                                         -  media!", by: "/_matrix/client/v1/media/** - client_reader", want: []string{
			"the main process stands in for client_reader, and beside it does not serve /_matrix/client/v1/media/**",
			"GET ^/_matrix/client/v1/media/preview_url$ (PreviewURLServlet) goes to client_reader, and no client worker serves it: /_matrix/client/v1/media/preview_url",
			"GET ^/_matrix/client/v1/media/config$ (MediaConfigResource) goes to client_reader, and no client worker serves it: /_matrix/client/v1/media/config",
		}},
		{what: "media that is thought to be anybody's", replace: "/_matrix/media/(v1|r0|v3)/**                                                        -  media!", by: "/_matrix/media/(v1|r0|v3)/** - media", want: []string{
			"the main process stands in for media, and beside it does not serve /_matrix/media/v1/**",
			"the main process stands in for media, and beside it does not serve /_matrix/media/r0/**",
			"the main process stands in for media, and beside it does not serve /_matrix/media/v3/**",
		}},
		{what: "an endpoint that goes with MAS", mas: true, replace: "/account/deactivate                -      client_reader generic  without-mas", by: "/account/deactivate - client_reader generic", want: []string{
			"no client worker serves POST /_matrix/client/r0/account/deactivate",
			"no client worker serves POST /_matrix/client/v3/account/deactivate",
			"no client worker serves POST /_matrix/client/unstable/account/deactivate",
		}},
		{what: "an endpoint that stays with MAS", mas: true, replace: "/account/whoami                    -      client_reader generic", by: "/account/whoami - client_reader generic without-mas", want: []string{
			"without-mas, but a client worker serves GET ^/_matrix/client/(r0|v3|unstable)/account/whoami$ (WhoamiRestServlet) with MAS",
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			if !strings.Contains(catalogueText, c.replace) {
				t.Fatalf("the catalogue has no %q any more", c.replace)
			}
			catalogue, err := parseCatalogue(strings.Replace(catalogueText, c.replace, c.by, 1))
			if err != nil {
				t.Fatal(err)
			}
			compared, err := compare(synapse, catalogue, c.mas)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, difference := range compared.differences {
				got = append(got, placePrefix.ReplaceAllString(difference, ""))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

// placePrefix is the place of a row before a difference.
var placePrefix = regexp.MustCompile(`^routing/catalogue\.txt:\d+:\d+: `)

// TestSynapseTree asks Twisted, with Synapse's resources, where paths
// lead: what is let through on any host must end outside what is closed. The
// reading that stands for Twisted in the unit tests must agree with it.
func TestSynapseTree(t *testing.T) {
	synapse, doors := synapseServlets(t), closedDoors(t)
	all := append(spelledPaths(), targets...)
	random := rand.New(rand.NewPCG(3, 4))
	for range 4000 {
		all = append(all, randomTarget(random))
	}
	passed, closed := 0, 0
	for _, target := range all {
		if !askable(target) {
			continue
		}
		lets := slices.ContainsFunc(doors, func(door closedDoor) bool { return door.decide(target).Action != Refuse })
		if lets {
			passed++
		}
		for _, kind := range []string{"main with MAS", "client with MAS"} {
			answer, err := synapse.ask(kind, "GET", target)
			if err != nil {
				t.Fatal(err)
			}
			isClosed := closedResource(strings.Split(answer.mount, "/")[1:])
			path, _, _ := strings.Cut(target, "?")
			if reading := readings(path)["twisted"]; kind == "main with MAS" && answer.status != 0 && closedResource(reading) != isClosed {
				t.Errorf("%q reads %q, and leads Twisted to %s", target, reading, answer.mount)
			}
			if !isClosed {
				continue
			}
			closed++
			if lets {
				t.Errorf("%q is let through, and in the %s process it leads to %s", target, kind, answer.mount)
			}
		}
	}
	t.Logf("%d targets: %d are let through on some host, %d times one leads to something closed", len(all), passed, closed)
	if passed < 1000 || closed < 1000 {
		t.Error("the targets no longer try what they are for")
	}
}

// askable reports whether a target can stand in the first line of a request.
func askable(target string) bool { return target != "" && !strings.ContainsAny(target, "\r\n ") }

// spelledPaths are the paths of closed resources and neighbours with each byte,
// raw or escaped, in places where it might matter.
func spelledPaths() []string {
	var paths []string
	for _, path := range []string{
		"/_synapse/admin/v1/server_version", "/_synapse/mas/query_user", "/_synapse/metrics", "/_synapse/replication/x", "/_synapse/client/pick_idp",
	} {
		for b := range 256 {
			raw, once, twice := string([]byte{byte(b)}), fmt.Sprintf("%%%02X", b), fmt.Sprintf("%%25%02x", b)
			for _, sign := range []string{raw, once, twice} {
				for _, at := range []int{0, 1, 10} { // beside slashes
					paths = append(paths, path[:at]+sign+path[at:])
				}
				paths = append(paths, strings.Replace(path, raw, sign, 1), path+sign, "/x"+sign+path)
			}
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(paths)))
}
