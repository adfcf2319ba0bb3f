package configs

import "testing"

func TestSize(t *testing.T) {
	good := func(text string, want Size) {
		t.Helper()
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%q: got %d, %v", text, got, err)
		}
	}
	bad := func(text string) {
		t.Helper()
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q was accepted as %d", text, got)
		}
	}
	good("0", 0)
	good("65536", 65536)
	good("64KiB", 65536)
	good("50MiB", 50<<20)
	good("2GiB", 2<<30)
	bad("")
	bad("64KB")                 // 1000 or 1024?
	bad("64 KiB")               // a space
	bad("-1")                   // negative
	bad("1.5MiB")               // a fraction
	bad("99999999999GiB")       // beyond what an int64 holds
	bad("99999999999999999999") // so too
	for size, want := range map[Size]string{0: "0", 100: "100", 64 << 10: "64KiB", 50 << 20: "50MiB", 3 << 30: "3GiB"} {
		if got := size.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
