package routing

import (
	"math/rand/v2"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"vestibule/configs"
)

// closedTable compiles the hosts of gates.yaml, whose site example.com also has
// a route for everything, as an operator with a catch-all has.
func closedTable(t testing.TB) *Table { return loadTable(t, "testdata/gates.yaml") }

// targets seeds the fuzzers with spellings that have opened other proxies.
var targets = []string{
	"/_matrix/client/v3/sync?since=s1&access_token=syt_YWxpY2U_a_b",
	"/_matrix/client/v3/rooms/%21a%2Fb%3Aexample.org/messages?dir=b",
	"/_synapse/admin/v1/server_version", "/_synapse/client/../admin/v1", "//_synapse/mas/query_user",
	"/%5Fsynapse/%6das", "/_synapse%2fmas", "/%255fsynapse/mas", "/x/%2e%2e/_synapse/metrics", "/_synapse/./mas",
	"/metrics", "/%6detrics", "//health", "/health/.", "/auth/api/admin/v1/users", "/auth/%61pi//admin",
	"/synapse-admin", "/element/..%2fsynapse-admin/", "/a%", "/a b", "*", "", "http://matrix.example.com/", "/\\", "/#", "/ä", "?x",
	"/_matrix/federation/v1/version", "/_matrix/key/v2/server", "/_matrix/federation/v1/openid/userinfo?access_token=a",
	"//_matrix/federation/v1/send/1", "/%5Fmatrix/%6bey/v2/server", "/_matrix/client/..%2ffederation/v1/version", "/_matrix/./%2566ederation",
	"/_matrix/federation/v1/openid/userinfo/../version", "/_matrix/federation/v1/openid/user%69nfo",
	"/%25%35%66synapse/mas", "/_synapse;x/mas", "/_synapse/mas;x", "/%00_synapse/mas", "/_synapse/client/%2e%2e%2fmas",
}

func FuzzMatch(f *testing.F) {
	for i, target := range targets {
		f.Add(uint8(i), "GET", "matrix.example.com", target, "Bearer syt_YWxpY2U_a_b")
	}
	f.Add(uint8(1), "PUT", "[::1]:8448", "/_matrix/federation/v1/send/1", `X-Matrix origin="a\"b",key=k`)
	table := closedTable(f)
	f.Fuzz(func(t *testing.T, entrypoint uint8, method, host, target, authorization string) {
		r := Request{
			Entrypoint: Entrypoint(entrypoint), Site: "example.com", Method: method, Host: host, Target: target,
			Authorization: []string{authorization}, Client: netip.MustParseAddr("198.51.100.7"),
		}
		before := r
		before.Authorization = slices.Clone(r.Authorization)
		var d, again Decision
		table.Match(&r, &d)
		if r.Target != before.Target || r.Host != before.Host || r.Method != before.Method || r.Authorization[0] != before.Authorization[0] {
			t.Fatal("the request changed")
		}
		checkShape(t, &d)
		table.Match(&r, &again)
		if again.Rule != d.Rule || string(again.Key.Value) != string(d.Key.Value) {
			t.Fatalf("%+v once, %+v then", d.Rule, again.Rule)
		}
		explained := table.Explain(&r).Decision
		if explained.Rule != d.Rule || explained.Class != d.Class || explained.Pool != d.Pool {
			t.Fatalf("Match decides %s, Explain %s", d.Rule.Name, explained.Rule.Name)
		}
	})
}

// checkShape asks what callers rely on.
func checkShape(t *testing.T, d *Decision) {
	t.Helper()
	switch {
	case d.Rule == nil || d.Class == "" || d.Endpoint == "":
		t.Fatalf("incomplete: %+v", d)
	case (d.Action == Proxy) != (d.Pool != nil):
		t.Fatalf("%s with pool %v", d.Action, d.Pool)
	case d.Action == Refuse && d.Status < 400:
		t.Fatalf("refused with %d", d.Status)
	case d.Action == Redirect && (d.Location == "" || d.Status/100 != 3):
		t.Fatalf("redirected to %q with %d", d.Location, d.Status)
	case (d.Key.Kind == NoKey) != (d.Key.Value == nil):
		t.Fatalf("key %s of %q", d.Key.Kind, d.Key.Value)
	}
}

// FuzzClosed asks oracles that read a path as servers and proxies do, and lets
// nothing pass that any of them would take for a closed resource.
func FuzzClosed(f *testing.F) {
	for _, target := range targets {
		f.Add(target)
	}
	doors := closedDoors(f)
	f.Fuzz(func(t *testing.T, target string) { checkClosed(t, doors, target) })
}

// TestClosedInManySpellings does the same with paths made of what matters.
func TestClosedInManySpellings(t *testing.T) {
	doors := closedDoors(t)
	random := rand.New(rand.NewPCG(1, 2))
	for range 30000 {
		checkClosed(t, doors, randomTarget(random))
	}
}

// randomTarget strings some pieces together.
func randomTarget(random *rand.Rand) string {
	pieces := []string{
		"/", "/", "/", "%2F", "%2f", "%252F", "/..", "/.", "/%2e%2e", "%2F..", "/%252e%252E", "_synapse", "%5Fsynapse", "%255fsynapse",
		"admin", "%61dmin", "mas", "metrics", "client", "_matrix", "x", "%25", "%35%66", "health", ";", "?", "/_synapse/client", "/_matrix/client/v3",
		"%5Fmatrix", "federation", "%66ederation", "key", "ke%2579", "/_matrix/federation/v1", "/openid", "/userinfo", "/user%69nfo",
	}
	target := "/"
	for range 1 + random.IntN(9) {
		target += pieces[random.IntN(len(pieces))]
	}
	return target
}

// closedDoor is where a request comes in, and what must stay closed there.
type closedDoor struct {
	table   *Table
	request Request
	// federation tells which paths of other servers are open; nil for all.
	federation func(path string) bool
}

func closedDoors(t testing.TB) []closedDoor {
	gates, federation := closedTable(t), loadTable(t, "testdata/federation.yaml")
	stranger := []string{"X-Matrix origin=stranger.example,key=k,sig=s"}
	never := func(string) bool { return false }
	userinfo := func(path string) bool { return path == userinfoPath }
	return []closedDoor{
		{gates, Request{Host: "matrix.example.com"}, nil},
		{gates, Request{Host: "matrix.closed.example", Entrypoint: Federation}, nil},
		{gates, Request{Host: "auth.closed.example"}, nil},
		{gates, Request{Site: "closed.example", Entrypoint: Internal}, nil},
		{gates, Request{Host: "example.com"}, nil},
		{federation, Request{Host: "matrix.nobody.example"}, userinfo},
		{federation, Request{Host: "nobody.example", Entrypoint: Federation}, userinfo},
		{federation, Request{Host: "board.nobody.example"}, userinfo},
		{federation, Request{Site: "nobody.example", Entrypoint: Internal}, userinfo},
		{federation, Request{Host: "matrix.silent.example"}, never},
		{federation, Request{Host: "matrix.open.example", Entrypoint: Federation}, userinfo},
		{federation, Request{Host: "matrix.some.example", Authorization: stranger}, never},
	}
}

// decide asks for a target at the door.
func (door *closedDoor) decide(target string) (d Decision) {
	r := door.request
	r.Method, r.Target, r.Client = "GET", target, netip.MustParseAddr("198.51.100.7")
	door.table.Match(&r, &d)
	return d
}

func checkClosed(t *testing.T, doors []closedDoor, target string) {
	t.Helper()
	path, _, _ := strings.Cut(target, "?")
	read := readings(path)
	for _, door := range doors {
		d := door.decide(target)
		if d.Action == Refuse {
			continue
		}
		for name, reading := range read {
			if closedResource(reading) || door.federation != nil && federationResource(reading) && !door.federation(path) {
				t.Fatalf("%s%s went to %s, but %s reads %q", door.request.Host, target, d.Class, name, reading)
			}
		}
		if d.Pool != nil && d.Pool.Class == configs.ClassMain && !synapseMay(path) {
			t.Fatalf("%s%s reached Synapse", door.request.Host, target)
		}
	}
}

// readings are the segments that different servers see in a path.
func readings(path string) map[string][]string {
	raw := strings.Split(strings.TrimPrefix(path, "/"), "/")
	var twisted []string
	for s := range strings.SplitSeq(path[min(1, len(path)):], "/") { // it takes the first byte for a slash
		twisted = append(twisted, unescapeAll(s))
	}
	for len(twisted) > 1 && twisted[0] == "" {
		twisted = twisted[1:] // the root stands in for its child without a name
	}
	once := unescapeAll(path)
	stable := once
	for next := unescapeAll(stable); next != stable; next = unescapeAll(stable) {
		stable = next
	}
	return map[string][]string{
		"raw": raw, "twisted": twisted,
		"cleaned":              clean(path),
		"decoded, cleaned":     clean(once),
		"cleaned, decoded":     strings.Split(unescapeAll(strings.Join(clean(path), "/")), "/"),
		"all decoded, cleaned": clean(stable),
	}
}

// unescapeAll decodes every valid escape once.
func unescapeAll(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if i+2 < len(s) && s[i] == '%' {
			if c, err := url.PathUnescape(s[i : i+3]); err == nil {
				b.WriteString(c)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// clean merges slashes and resolves dot segments.
func clean(path string) []string {
	var kept []string
	for s := range strings.SplitSeq(path, "/") {
		switch s {
		case "", ".":
		case "..":
			kept = kept[:max(len(kept)-1, 0)]
		default:
			kept = append(kept, s)
		}
	}
	return kept
}

func closedResource(segments []string) bool {
	return len(segments) > 1 && segments[0] == "_synapse" &&
		slices.Contains([]string{"admin", "mas", "metrics", "replication"}, segments[1])
}

func federationResource(segments []string) bool {
	return len(segments) > 1 && segments[0] == "_matrix" && (segments[1] == "federation" || segments[1] == "key")
}

func synapseMay(path string) bool {
	for _, prefix := range []string{"/_matrix", "/_synapse/client"} {
		if path == prefix || strings.HasPrefix(path, prefix+"/") {
			return true
		}
	}
	return false
}

func FuzzXMatrix(f *testing.F) {
	f.Add(`X-Matrix origin="remote.example.net",destination="example.com",key="ed25519:a_1",sig="c2ln"`)
	f.Add(`x-matrix   key="a,b" , ORIGIN=Remote.Example.Net:8448`)
	f.Add(`X-Matrix origin="a\.b"`)
	f.Add(`X-Matrix origin=`)
	f.Add(`Bearer x`)
	f.Fuzz(func(t *testing.T, field string) {
		origin, ok := xMatrixOrigin(nil, field)
		if !ok {
			return
		}
		if len(origin) == 0 || len(origin) > 255 {
			t.Fatalf("%q: origin of %d bytes", field, len(origin))
		}
		for _, c := range origin {
			if !serverNameByte(c) {
				t.Fatalf("%q: origin %q", field, origin)
			}
		}
	})
}

// FuzzServerList asks an oracle that reads the header as Synapse does: whoever it
// would take the request for is on the list, or the request is refused.
func FuzzServerList(f *testing.F) {
	for _, field := range []string{
		`X-Matrix origin="a.example",destination="example.com",key="ed25519:a_1",sig="c2ln"`,
		`X-Matrix origin=a.example,key=k,sig=s,x="y,origin=b.example,z=w"`,
		`X-Matrix origin=a.example,origin=b.example,key=k,sig=s`, `X-Matrix origin=a.example,Origin="b.example",key=k,sig=s`,
		`X-Matrix   key=k , sig=s,origin="a\.example"`, `X-Matrix origin="b.example" , origin=a.example,key=,sig=`,
		`X-Matrix origin="a.example\",origin=b.example,key=k,sig="s"`, "X-Matrix origin=a.example,\torigin=b.example,key=k,sig=s",
		`X-Matrixorigin=a.example`, `x-matrix origin=b.example`, `Bearer x`, "X-Matrix \torigin=b.example,origin=a.example,key=k,sig=s",
	} {
		f.Add(field)
	}
	list := newServerList([]string{"a.example", "*.a.example"})
	f.Fuzz(func(t *testing.T, field string) {
		origin, ok := synapseOrigin(field)
		if !ok || list.objection(field, nil).why != "" {
			return
		}
		if origin = strings.ToLower(origin); origin != "a.example" && !strings.HasSuffix(origin, ".a.example") {
			t.Fatalf("%q comes from %s", field, origin)
		}
	})
}

var (
	xMatrixStart   = regexp.MustCompile(`^X-Matrix +`)
	xMatrixCommas  = regexp.MustCompile(`[ \t]*,[ \t]*`)
	backslash      = regexp.MustCompile(`\\(.)`)
	serverNameText = regexp.MustCompile(`^([0-9a-zA-Z.-]+|\[[0-9a-fA-F:.]+\])(:[0-9]+)?$`)
)

// synapseOrigin is whom Synapse takes a request for (_parse_auth_header in
// federation/transport/server/_base.py).
func synapseOrigin(field string) (origin string, ok bool) {
	start := xMatrixStart.FindString(field)
	if start == "" || !utf8.ValidString(field) {
		return "", false
	}
	parameters := map[string]string{}
	for _, text := range xMatrixCommas.Split(field[len(start):], -1) {
		name, value, found := strings.Cut(text, "=")
		if !found {
			return "", false
		}
		if strings.HasPrefix(value, `"`) {
			value = backslash.ReplaceAllString(value[1:max(len(value)-1, 1)], "$1")
		}
		parameters[strings.ToLower(name)] = value
	}
	_, hasKey := parameters["key"]
	_, hasSignature := parameters["sig"]
	origin = parameters["origin"]
	return origin, hasKey && hasSignature && serverNameText.MatchString(origin)
}

func FuzzToken(f *testing.F) {
	f.Add("syt_YWxpY2U_abcdefghijklmnopqrst_0aBcDe", "since=s1")
	f.Add("mat_x", "user_id=%40a%3Ab&access_token=c")
	f.Add("", "access_token=syt%5FYWxpY2U%5fa_b&user_id=@x")
	f.Add("as_token", "user_id=@"+strings.Repeat("x", 300)+":b")
	f.Fuzz(func(t *testing.T, token, query string) {
		var d Decision
		r := Request{Authorization: []string{"Bearer " + token}}
		d.keyFromToken(&r, query)
		if (d.Key.Kind == NoKey) != (len(d.Key.Value) == 0) {
			t.Fatalf("key %s of %q", d.Key.Kind, d.Key.Value)
		}
		if d.Key.Kind == KeyToken && d.Key.String() != "token" {
			t.Fatalf("shows %q", d.Key.String())
		}
	})
}
