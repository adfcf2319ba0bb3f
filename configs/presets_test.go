package configs

import (
	"io/fs"
	"testing"
)

func TestPresets(t *testing.T) {
	names, err := fs.Glob(Presets(), "*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if want := len(glob(t, "presets/*.yaml")); len(names) != want {
		t.Errorf("%d presets are built in, %d are in the directory: %q", len(names), want, names)
	}
	if _, err := fs.Stat(Presets(), "one-of-each.yaml"); err != nil {
		t.Error(err)
	}
}
