//go:build integration

package integration

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// usage is what the processes of one program take.
type usage struct {
	processes int
	mebibytes float64
}

// memory measures every process of the laboratory, by program. It adds up
// proportional set sizes, in which a page that several share counts once
// altogether: Synapse's processes are forks of one another.
func memory() (map[string]usage, error) {
	directories, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	found := map[string]usage{}
	for _, directory := range directories {
		name, nameErr := os.ReadFile(filepath.Join(directory, "comm"))
		size, sizeErr := proportionalSize(filepath.Join(directory, "smaps_rollup"))
		if nameErr != nil || sizeErr != nil {
			continue // it has ended meanwhile, or is the kernel's
		}
		u := found[strings.TrimSpace(string(name))]
		found[strings.TrimSpace(string(name))] = usage{u.processes + 1, u.mebibytes + size}
	}
	return found, nil
}

// proportionalSize reads the line "Pss:  1234 kB", in MiB.
func proportionalSize(path string) (float64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "Pss:"); ok {
			kibibytes, err := strconv.ParseFloat(strings.Fields(value)[0], 64)
			return kibibytes / 1024, err
		}
	}
	return 0, fmt.Errorf("%s has no Pss", path)
}

// describeMemory is memory in one line, the total last.
func describeMemory() string {
	found, err := memory()
	if err != nil {
		return err.Error()
	}
	var words []string
	total := 0.0
	for _, name := range slices.Sorted(maps.Keys(found)) {
		words = append(words, fmt.Sprintf("%s (%d) %.0f MiB", name, found[name].processes, found[name].mebibytes))
		total += found[name].mebibytes
	}
	return fmt.Sprintf("%s; together %.0f MiB", strings.Join(words, ", "), total)
}
