package configs

import (
	"strings"
	"testing"
)

func TestHost(t *testing.T) {
	good, bad := grammar(t, hostMistake)
	good("matrix.example.com")
	good("localhost")
	good("127.0.0.1")
	good("[2001:db8::1]")
	good("xn--bcher-kva.example")
	good(strings.Repeat("a", 63) + ".example")
	bad("")
	bad("matrix.example.com:443")            // ports are the entrypoints'
	bad("https://matrix.example.com")        // a URL
	bad("matrix.example.com/")               // a path
	bad("*.example.com")                     // a wildcard
	bad("matrix.example.com.")               // a dot at the end
	bad("matrix..example.com")               // an empty label
	bad("-matrix.example.com")               // a hyphen at an end
	bad("matrix_synapse.example.com")        // an underscore
	bad("bücher.example")                    // not in ASCII form
	bad(strings.Repeat("a", 64) + ".com")    // a label over 63 bytes
	bad(strings.Repeat("a.", 126) + "com")   // a name over 253 bytes
	bad("2001:db8::1")                       // no brackets
	bad("[192.0.2.1]")                       // brackets around IPv4
	bad("[fe80::1%eth0]")                    // a zone means something on one machine only
	bad("matrix.example.com evil")           // a space
	bad("matrix.example.com\r\nX-Injected:") // a header
}

func TestServerName(t *testing.T) {
	good, bad := grammar(t, serverNameMistake)
	good("example.com")
	good("example.com:8448")
	good("192.0.2.1:8448")
	good("[2001:db8::1]:8448")
	bad("example.com:")      // empty port
	bad("example.com:99999") // port out of range
	bad("example.com:0")
	bad(":8448") // no host
	bad("@alice:example.com")
}

func TestUpstreamURL(t *testing.T) {
	good, bad := grammar(t, upstreamMistake)
	good("http://matrix-synapse:8008")
	good("http://matrix_synapse:8008") // Docker Compose allows the underscore
	good("https://10.0.0.5")
	good("http://[2001:db8::1]:8008")
	good("unix:/run/synapse.sock")
	bad("matrix-synapse:8008")
	bad("//matrix-synapse:8008")
	bad("ws://matrix-synapse:8008")
	bad("http://")
	bad("http://:8008")
	bad("http://synapse:8008/path")
	bad("http://synapse:8008#x")
	bad("http://user:password@synapse:8008")
	bad("http://synapse:0")
	bad("http://synapse:")
	bad("http://2001:db8::1:8008")
	bad("unix://run/synapse.sock")
	bad("unix:/" + strings.Repeat("a", 107))
}

func TestPrefix(t *testing.T) {
	good, bad := grammar(t, prefixMistake)
	good("/")
	good("/element")
	good("/a/b.c/~d;e=f")
	good("/caf%C3%A9")
	bad("")
	bad("element")
	bad("/a//b")
	bad("/a/../b")
	bad("/a/%2e%2E/b")
	bad("/a/.%2e/b")
	bad("/a?b")
	bad("/a#b")
	bad(`/a\b`)
	bad("/café")
	bad("/a%2")
	bad("/a b")
}

// grammar gives functions that say what a grammar accepts and refuses.
func grammar(t *testing.T, mistake func(string) (message, hint string)) (good, bad func(string)) {
	good = func(text string) {
		t.Helper()
		if message, _ := mistake(text); message != "" {
			t.Errorf("%q was refused: %s", text, message)
		}
	}
	bad = func(text string) {
		t.Helper()
		if message, _ := mistake(text); message == "" {
			t.Errorf("%q was accepted", text)
		}
	}
	return good, bad
}

func TestClosedBy(t *testing.T) {
	for path, want := range map[string]string{
		"/_synapse/admin":              "/_synapse/admin",
		"/_synapse/admin/v1/users":     "/_synapse/admin",
		"/_synapse/%61dmin/v1":         "/_synapse/admin",
		"//_synapse/admin":             "/_synapse/admin",
		"/_synapse/mas/x":              "/_synapse/mas",
		"/_synapse/administration":     "/_synapse/administration", // nothing today
		"/_synapse/client/pick_idp":    "",
		"/_synapse":                    "",
		"/hookshot/_synapse/admin":     "",
		"/_synapse/replication/device": "/_synapse/replication",
	} {
		if got := closedBy(path); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}
