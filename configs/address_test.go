package configs

import (
	"strings"
	"testing"
)

func TestAddress(t *testing.T) {
	good := func(text Address, network, address string) {
		t.Helper()
		if message, _ := text.mistake(); message != "" {
			t.Errorf("%q: %s", text, message)
		}
		if n, a := text.Network(); n != network || a != address {
			t.Errorf("%q: got %s %s", text, n, a)
		}
	}
	bad := func(text Address) {
		t.Helper()
		if message, _ := text.mistake(); message == "" {
			t.Errorf("%q was accepted", text)
		}
	}
	good(":443", "tcp", ":443")
	good("127.0.0.1:0", "tcp", "127.0.0.1:0") // the system chooses a port
	good("[::1]:443", "tcp", "[::1]:443")
	good("unix:/run/vestibule.sock", "unix", "/run/vestibule.sock")
	good("fd:vestibule-https.socket", "fd", "vestibule-https.socket") // what systemd calls it without FileDescriptorName=
	bad("")
	bad("443")             // no colon
	bad(":65536")          // out of range
	bad(":+443")           // a sign
	bad("example.com:443") // a name may have several addresses
	bad("[::1:443")        // no closing bracket
	bad("unix:")           // no path
	bad("fd:")             // no name
	bad("fd:a:b")          // systemd puts colons between names
	bad("fd:a b")          // a blank
	bad("fd:é")            // not ASCII
	bad(Address("fd:" + strings.Repeat("a", 256)))
}

func TestAddressOverlaps(t *testing.T) {
	tests := []struct {
		a, b Address
		want bool
	}{
		{":443", ":443", true},
		{":443", "127.0.0.1:443", true},
		{":443", ":8443", false},
		{":0", ":0", false}, // two ports of the system's choice
		{"[::]:443", "127.0.0.1:443", true},
		{"0.0.0.0:443", "[::1]:443", false},
		{"0.0.0.0:443", "127.0.0.1:443", true},
		{"127.0.0.1:443", "127.0.0.2:443", false},
		{"127.0.0.1:443", "[::ffff:127.0.0.1]:443", true},
		{"unix:/a", "unix:/a", true},
		{"unix:/a", "unix:/b", false},
		{"unix:/a", ":443", false},
		{"fd:a", "fd:a", true},
		{"fd:a", "fd:b", false},
		{"fd:a", "unix:a", false},
		{"fd:443", ":443", false},
	}
	for _, test := range tests {
		if test.a.overlaps(test.b) != test.want || test.b.overlaps(test.a) != test.want {
			t.Errorf("%s and %s: want %v", test.a, test.b, test.want)
		}
	}
}

func TestAddressPublic(t *testing.T) {
	for address, want := range map[Address]bool{
		":9180":           true,
		"0.0.0.0:9180":    true,
		"192.0.2.1:9180":  true,
		"127.0.0.1:9180":  false,
		"[::1]:9180":      false,
		"10.0.0.1:9180":   false,
		"[fd00::1]:9180":  false,
		"unix:/run/admin": false,
		"fd:admin":        false,
	} {
		if got := address.public(); got != want {
			t.Errorf("%s: got %v", address, got)
		}
	}
}
