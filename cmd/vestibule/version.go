package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// release is set by the linker: -X main.release=v1.2.3.
var release = ""

// versionText is the release, or the commit a build from a checkout is of.
func versionText() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "development"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "development-" + s.Value[:12]
		}
	}
	return "development"
}

func version(c *call) int {
	if _, status, done := c.parse(c.flags(), 0, 0); done {
		return status
	}
	fmt.Fprintf(c.stdout, "vestibule %s (%s, %s/%s)\n", versionText(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return exitOK
}
