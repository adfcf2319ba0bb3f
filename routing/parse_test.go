package routing

import (
	"slices"
	"strings"
	"testing"
)

func TestHost(t *testing.T) {
	good := func(raw, want string) {
		t.Helper()
		if got := Host(raw); got != want {
			t.Errorf("Host(%q) = %q, want %q", raw, got, want)
		}
		if got := string(appendHost(nil, raw)); got != want {
			t.Errorf("appendHost(%q) = %q, want %q", raw, got, want)
		}
	}
	good("matrix.example.com", "matrix.example.com")
	good("MATRIX.example.COM:8448", "matrix.example.com")
	good("matrix.example.com.:443", "matrix.example.com") // the root's dot
	good("127.0.0.1:80", "127.0.0.1")
	good("[2001:DB8::1]:443", "[2001:db8::1]")
	good("[::1]", "[::1]")
	good("[::1", "[::1") // no literal, and no host of anybody's
	good(":443", "")
	good("", "")
}

func TestTarget(t *testing.T) {
	good := func(raw, path, query string, tangled bool) {
		t.Helper()
		got, fault := parseTarget(raw)
		if fault != "" || got.path != path || got.query != query || got.tangled != tangled {
			t.Errorf("%q: %+v, %s", raw, got, fault)
		}
	}
	bad := func(raw string) {
		t.Helper()
		if _, fault := parseTarget(raw); fault == "" {
			t.Errorf("%q was accepted", raw)
		}
	}
	good("/", "/", "", false)
	good("/a?", "/a", "", false)
	good("/a?b?c=%zz&d=ä\\", "/a", "b?c=%zz&d=ä\\", false) // a query passes as it is
	good("/!a:b@c$d+e;f=g,h'(i)*[j]", "/!a:b@c$d+e;f=g,h'(i)*[j]", "", false)
	good("/a%21/b", "/a%21/b", "", false)
	good("/a%2fb", "/a%2fb", "", true)
	good("/a%2Eb", "/a%2Eb", "", true)
	good("/a%25b", "/a%25b", "", true)
	good("//a", "//a", "", true)
	good("/a/./b", "/a/./b", "", true)
	good("/a.b", "/a.b", "", false)
	bad("")
	bad("*")                            // OPTIONS * asks the server, not a resource
	bad("example.com:443")              // CONNECT
	bad("https://matrix.example.com/a") // absolute form is for proxies of clients
	bad("a")
	bad("?a")
	bad("/a b")
	bad("/a\tb")
	bad("/a\x00")
	bad("/a\x7f")
	bad("/a\\b")
	bad("/a#b") // a fragment never leaves a browser
	bad("/ä")
	bad("/a%")
	bad("/a%2")
	bad("/a%zz")
	bad("/a?b c")
	bad("/a?b\n")
	bad("/a?b#c")
}

func TestParameter(t *testing.T) {
	good := func(query, want string) {
		t.Helper()
		if got, ok := parameter(query, "since"); !ok || got != want {
			t.Errorf("%q: %q, %t", query, got, ok)
		}
	}
	bad := func(query string) {
		t.Helper()
		if got, ok := parameter(query, "since"); ok {
			t.Errorf("%q: %q", query, got)
		}
	}
	good("since=a", "a")
	good("since=", "")
	good("x=1&since=a&since=b", "a")
	good("x;since=a", "a")
	good("s%69nce=a%20b", "a%20b")
	good("since=a=b", "a=b")
	bad("")
	bad("since")         // Twisted passes over what has no "="
	bad("nosince=a")     // the whole name counts
	bad("filter=since=") // inside a value
	bad("filter=since%3Da")
	bad("Since=a")
	bad("since+=a")
}

func TestXMatrix(t *testing.T) {
	good := func(field, want string) {
		t.Helper()
		if got, ok := xMatrixOrigin(nil, field); !ok || string(got) != want {
			t.Errorf("%q: %q, %t", field, got, ok)
		}
	}
	bad := func(field string) {
		t.Helper()
		if got, ok := xMatrixOrigin(nil, field); ok {
			t.Errorf("%q: %q", field, got)
		}
	}
	good(`X-Matrix origin="a.example",key="k",sig="s"`, "a.example")
	good(`X-Matrix origin=a.example`, "a.example")
	good(`X-Matrix   key="k",	origin="A.Example:8448"`, "a.example:8448")
	good(`x-matrix Origin="[2001:DB8::1]"`, "[2001:db8::1]")
	good(`X-Matrix origin="a\.exam\ple"`, "a.example")
	good(`X-Matrix sig="a,origin=b",origin=c`, "c")    // a comma within quotes
	good(`X-Matrix origin=a,origin=b`, "b")            // Synapse builds a dictionary
	good(`X-Matrix sig="\"",origin=a`, "a")            // an escaped quote
	bad(`X-Matrix`)                                    // nothing
	bad(`X-Matrix destination=a`)                      // no origin
	bad(`X-Matrix origin=`)                            // empty
	bad(`X-Matrix origin=""`)                          // empty
	bad(`X-Matrix origin="a`)                          // no end
	bad(`X-Matrix origin="`)                           // no beginning
	bad(`X-Matrix origin=a b`)                         // no server name
	bad(`X-Matrix origin=a/b`)                         // no server name
	bad(`X-Matrixorigin=a`)                            // another scheme
	bad(`Bearer origin=a`)                             // another scheme
	bad(`X-Matrix origin=` + strings.Repeat("a", 256)) // longer than a server name
	good(`X-Matrix origin=`+strings.Repeat("a", 255), strings.Repeat("a", 255))
}

func TestServerList(t *testing.T) {
	good := func(pattern, name string) {
		t.Helper()
		if !newServerList([]string{"other.example", pattern}).has([]byte(name)) {
			t.Errorf("%q is not %q", name, pattern)
		}
	}
	bad := func(pattern, name string) {
		t.Helper()
		if newServerList([]string{"other.example", pattern}).has([]byte(name)) {
			t.Errorf("%q is %q", name, pattern)
		}
	}
	good("a.example", "a.example")
	good("A.Example", "a.example")
	bad("a.example", "a.example:8448") // port and all
	bad("a.example:8448", "a.example")
	bad("a.example", "b.a.example")
	bad("a.example", "aaexample") // a dot is a dot
	bad("a.example", "")
	good("*.example", "a.example")
	good("*.example", "a.b.example")
	good("*.example", ".example")
	bad("*.example", "example")
	bad("*.example", "a.example.org")
	bad("*.example", "a.example:8448")
	good("*.example*", "a.example:8448")
	good("a*", "a") // no byte is a run, too
	good("*a*b*c*", "xxaxxbbxxc")
	bad("*a*b*c*", "xxaxxccxxb")
	good("*ab", "aaab") // the first "a" is not the one
	good("*aab", "aaaaab")
	good("a.?", "a.b")
	bad("a.?", "a.") // one byte, not none
	bad("a.?", "a.bc")
	good("?*", "a")
	bad("?*", "")
	bad(strings.Repeat("*a", 100)+"*b", strings.Repeat("a", 255)) // bounded
}

func TestPlainParameter(t *testing.T) {
	good := func(text, wantName, wantValue string) {
		t.Helper()
		if name, value, ok := plainParameter(text); !ok || name != wantName || value != wantValue {
			t.Errorf("%s: %q, %q, %t", text, name, value, ok)
		}
	}
	bad := func(text string) {
		t.Helper()
		if name, value, ok := plainParameter(text); ok {
			t.Errorf("%s: %q, %q", text, name, value)
		}
	}
	good(`origin=a`, "origin", "a")
	good(` key="ed25519:a_1"	`, "key", `"ed25519:a_1"`)
	good(`sig=c2ln+/==`, "sig", "c2ln+/==")
	good(`origin="a\.b"`, "origin", `"a\.b"`)
	good(`x=""`, "x", `""`)
	good(`x=`, "x", "")
	bad(``)
	bad(`origin`)            // no value
	bad(`=a`)                // no name
	bad(`origin =a`)         // another name, to Synapse
	bad(`X-Matrix origin=a`) // two fields that somebody joined
	bad(`ör=a`)              // not a token
	bad(`x=a"b`)             // a quote within
	bad(`x=a\b`)             // an escape that only some undo
	bad(`x=a b`)             // a blank within
	bad(`x="a`)              // no end
	bad(`x="a"b`)            // more after the end
	bad(`x="a\"`)            // the end is escaped
	bad(`x="`)               // no end
}

func TestTokenLocalpart(t *testing.T) {
	good := func(token, want string) {
		t.Helper()
		if got, ok := tokenLocalpart(make([]byte, 0, 256), []byte(token)); !ok || string(got) != want {
			t.Errorf("%q: %q, %t", token, got, ok)
		}
	}
	bad := func(token string) {
		t.Helper()
		if got, ok := tokenLocalpart(make([]byte, 0, 256), []byte(token)); ok {
			t.Errorf("%q: %q", token, got)
		}
	}
	good("syt_YWxpY2U_abcdefghijklmnopqrst_0aBcDe", "alice")
	good("syt_Pj4+_x_y", ">>>")                       // the standard alphabet
	bad("syt_Pj4-_x_y")                               // the other alphabet
	bad("syt_YWxpY2U")                                // no end
	bad("syt__x_y")                                   // nobody
	bad("syt_Y_x_y")                                  // no length of base64
	bad("syl_YWxpY2U_x_y")                            // a login token, not an access token
	bad("SYT_YWxpY2U_x_y")                            // tokens have a case
	bad("mat_abc_def")                                // MAS's
	bad("")                                           // nothing
	bad("syt_" + strings.Repeat("YWxp", 90) + "_x_y") // longer than a localpart
}

// A key longer than the decision's memory keeps its beginning and becomes a hash
// at its end, so that two of them differ.
func TestLongKeys(t *testing.T) {
	long := func(tail string) string {
		var d Decision
		d.keyFromSegment(KeyRoom, "!"+strings.Repeat("a", 300)+tail)
		return string(d.Key.Value)
	}
	a, b := long("x"), long("y")
	if len(a) != 256 || a == b || a != long("x") {
		t.Errorf("%q and %q", a, b)
	}
	var d Decision
	d.keyFromSegment(KeyRoom, strings.Repeat("%41", 256))
	if string(d.Key.Value) != strings.Repeat("A", 256) {
		t.Errorf("what fits once decoded is kept whole, not %q", d.Key.Value)
	}
}

func TestRewrite(t *testing.T) {
	for _, c := range []struct {
		rewrite      Rewrite
		target, want string
	}{
		{Rewrite{}, "/a%2Fb//c/../?x=%zz", "/a%2Fb//c/../?x=%zz"},
		{Rewrite{Strip: "/element"}, "/element/a%2Fb?x=1", "/a%2Fb?x=1"},
		{Rewrite{Strip: "/element"}, "/element?x=1", "/?x=1"},
		{Rewrite{Strip: "/element"}, "/element", "/"},
		{Rewrite{Strip: "/a", Add: "/b"}, "/a/a", "/b/a"},
		{Rewrite{Add: "/auth"}, "/_matrix/client/v3/login", "/auth/_matrix/client/v3/login"},
		{Rewrite{Replace: "/healthz"}, "/a/b?c", "/healthz?c"},
	} {
		if got := string(c.rewrite.Append(nil, c.target)); got != c.want {
			t.Errorf("%+v makes %q of %q, want %q", c.rewrite, got, c.target, c.want)
		}
	}
}

// A key in words never shows a token, nor a target that may hold one.
func TestKeyHidesSecrets(t *testing.T) {
	for _, c := range []struct {
		key  Key
		want string
	}{
		{Key{}, ""},
		{Key{KeyUser, []byte("alice")}, "user alice"},
		{Key{KeyToken, []byte("mat_secret")}, "token"},
		{Key{KeyURI, []byte("/x?access_token=secret")}, "uri"},
	} {
		if got := c.key.String(); got != c.want {
			t.Errorf("%v: %q, want %q", c.key.Kind, got, c.want)
		}
	}
}

func TestCatalogueMistakes(t *testing.T) {
	bad := func(line, want string) {
		t.Helper()
		_, err := parseCatalogue("# a comment\n\n" + line + "\n")
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "reading the catalogue: routing/catalogue.txt:3: ") {
			t.Errorf("%s: %v", line, err)
		}
	}
	bad("GET /a -", "a row has methods, a pattern, a key and classes")
	bad("GET a - main", "does not begin with a slash")
	bad("GET /(a|b - main", "opens a bracket")
	bad("GET /a{b} - main", "mixes text and signs")
	bad("GET /a/**/b - main", "mixes text and signs")
	bad("GET /a cookie main", `"cookie" is no key`)
	bad("GET /{a} {a} main", `"{a}" is no key`)
	bad("GET /a {room} main", "the key {room} is not in pattern")
	bad("GET /{server}/{media} {server}/{media}/{room} main", "is no key")
	bad("GET /a - snyc", `"snyc" is no class`)
	bad("GET /a - [room] generic", "[room] needs a {room}")
	bad("GET /{room} - room generic", "stands in brackets")
	bad("GET /a - [sync] generic", "stands in brackets")
	bad("GET /{room} - [room]", "no class but [room]")
	bad("GET /a - sync if", "no condition follows if")
	bad("GET /a - sync remote remote", "remote stands there twice")
	bad("POST /a - sync repeatable repeatable", "repeatable stands there twice")
	bad("GET /a - sync since 1.2 remote since 1.3", "since stands there twice")
	bad("GET /a - sync since", `"since" is no class`)
	bad("GET /a - sync since soon", `"soon" is none`)
	bad("GET /a - since 1.2", `"since" is no class`)
	bad("GET /a - remote", `"remote" is no class`)
	bad("GET /a - sync@ generic", `"" is none`)
	bad("GET /a - sync@1.x generic", `"1.x" is none`)
	bad("GET /a - @1.2", `"@1.2" is no class`)
	bad("checked 1.163", "is not as in checked 1.120 to 1.163")
	bad("checked 1.120 to now", `"now" is none`)
	bad("checked 1.163 to 1.120", "1.163 came after 1.120")
	bad("GET /a - sync if since", `"since" is no condition`)
	bad("GET /a - sync if a= b=", "stands where an or belongs")
	bad("GET /a - sync if a= or", "stands where an or belongs")
	if _, err := parseCatalogue("GET /{room} - main\nGET,PUT /{x} - main\n"); err == nil ||
		!strings.Contains(err.Error(), "catalogue.txt:2: line 1 takes the same requests") {
		t.Errorf("a row that nothing reaches: %v", err)
	}
	if _, err := parseCatalogue("checked 1.120 to 1.163\nchecked 1.120 to 1.163\n"); err == nil || !strings.Contains(err.Error(), "catalogue.txt:2: ") {
		t.Errorf("said twice: %v", err)
	}
	if _, err := parseCatalogue("GET /a - main if b=\nGET /a - main\nPUT /a - main\n"); err != nil {
		t.Errorf("rows that differ by condition and method: %v", err)
	}
}

// The machine gives what comparing with each pattern in turn gives.
func TestMachineAgreesWithPatterns(t *testing.T) {
	c, err := synapse()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range readCorpus(t) {
		target, fault := parseTarget(row.request.Target)
		if fault != "" {
			continue
		}
		var want []int32
		for i := range c.forms {
			if fits(c.forms[i].pattern, target.path) {
				want = append(want, int32(i))
			}
		}
		slices.SortStableFunc(want, func(a, b int32) int {
			return compareSpecificity(c.forms[a].pattern, c.forms[b].pattern)
		})
		if got := c.machine.find(target.path); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", target.path, got, want)
		}
	}
}

func fits(p pattern, path string) bool {
	segments := strings.Split(path[1:], "/")
	if len(segments) < len(p.segments) || len(segments) > len(p.segments) && !p.tail {
		return false
	}
	for i, s := range p.segments {
		if !s.any && s.text != segments[i] {
			return false
		}
	}
	return true
}
