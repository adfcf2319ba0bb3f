package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"vestibule/configs"
	"vestibule/routing"
)

// poolChanges says which pools a new configuration adds, removes or fills
// differently.
func poolChanges(old, now *configs.Config) []string {
	before, after := poolsOf(old), poolsOf(now)
	var out []string
	for _, name := range slices.Sorted(maps.Keys(after)) {
		switch was, existed := before[name]; {
		case !existed:
			out = append(out, fmt.Sprintf("pool %s added: %s", name, after[name]))
		case was != after[name]:
			out = append(out, fmt.Sprintf("pool %s changed: %s, before %s", name, after[name], was))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if _, still := after[name]; !still {
			out = append(out, fmt.Sprintf("pool %s removed", name))
		}
	}
	return out
}

// poolsOf lists the upstreams of each pool of a configuration, as text.
func poolsOf(cfg *configs.Config) map[string]string {
	table, err := routing.New(cfg)
	if err != nil {
		return nil
	}
	pools := map[string]string{}
	for _, p := range table.Pools {
		var urls []string
		for _, u := range p.Upstreams {
			urls = append(urls, u.URL)
		}
		text := strings.Join(urls, ", ")
		if was := pools[p.Name]; was != "" && was != text {
			text = was + "; " + text
		}
		pools[p.Name] = text
	}
	return pools
}
