package configs

import (
	"embed"
	"io/fs"
)

//go:embed presets/*.yaml
var presetFiles embed.FS

// Presets holds complete configurations, such as "one-of-each.yaml", to try
// routing with.
func Presets() fs.FS {
	presets, err := fs.Sub(presetFiles, "presets")
	if err != nil {
		panic(err) // the name above is a constant
	}
	return presets
}
