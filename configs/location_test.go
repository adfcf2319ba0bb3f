package configs

import (
	"slices"
	"testing"
)

// What is right is read, whatever is wrong beside it.
func TestLocate(t *testing.T) {
	const control = "/run/vestibule/control.sock"
	for _, c := range []struct {
		text, control string
		admin         []Address
	}{
		{"oops: 1\ncontrol: /run/x.sock\nentrypoints: { admin: { addresses: [\":9181\"] } }\n", "/run/x.sock", []Address{":9181"}},
		{"control: x.sock\nentrypoints: { admin: { addresses: [nonsense, \":9181\"] } }\n", control, []Address{":9181"}},
		{"control: [1]\nentrypoints: { admin: { addresses: [nonsense] } }\n", control, []Address{"127.0.0.1:9180"}},
		{"entrypoints: { admin: { addresses: [] } }\n", control, nil},
		{"entrypoints: { admin: { addresses: 9181 } }\n", control, []Address{"127.0.0.1:9180"}},
		{"control: /run/x.sock\n\tsites:\n", control, []Address{"127.0.0.1:9180"}},
		{"include: [missing.yaml]\ncontrol: /run/x.sock\n", "/run/x.sock", []Address{"127.0.0.1:9180"}},
	} {
		got := Locate(writeFiles(t, map[string]string{"main.yaml": c.text}))
		if got.Control != c.control || !slices.Equal(got.Admin, c.admin) {
			t.Errorf("%q: got %+v", c.text, got)
		}
	}
}
