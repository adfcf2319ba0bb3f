package proxy

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"vestibule/configs"
	"vestibule/routing"
)

// Deadline is how long the head of a response may take, from the whole request
// on, and the key of the configuration that says so.
func Deadline(t *configs.Timeouts, d *routing.Decision, target string) (limit time.Duration, key string) {
	switch d.Endpoint {
	case configs.ClassSync:
		return pollTime(target) + t.SyncMargin.Std(), "timeouts.sync_margin"
	case configs.ClassInitialSync:
		if polling := pollTime(target) + t.SyncMargin.Std(); polling > t.InitialSync.Std() {
			return polling, "timeouts.sync_margin"
		}
		return t.InitialSync.Std(), "timeouts.initial_sync"
	}
	if d.Rule.Remote {
		return t.Federation.Std(), "timeouts.federation"
	}
	return t.Response.Std(), "timeouts.response"
}

// pollTime is the timeout parameter of a long poll; at most an hour, so that
// no client keeps a connection for ever.
func pollTime(target string) time.Duration {
	_, query, _ := strings.Cut(target, "?")
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if v, ok := strings.CutPrefix(pair, "timeout="); ok {
			ms, err := strconv.ParseInt(v, 10, 64)
			if (err == nil || errors.Is(err, strconv.ErrRange)) && ms > 0 {
				return time.Duration(min(ms, time.Hour.Milliseconds())) * time.Millisecond
			}
		}
	}
	return 0
}

// Hold is how long a request waits for a process of a pool that refuses
// connections.
func Hold(cfg *configs.Config, p *routing.Pool) time.Duration {
	if site := cfg.Site(p.Site); site != nil {
		return site.Synapse.Hold.Std()
	}
	return 0
}
