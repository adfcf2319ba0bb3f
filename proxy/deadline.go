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
		return waitTime(target, "timeout=") + t.SyncMargin.Std(), "timeouts.sync_margin"
	case configs.ClassInitialSync:
		if polling := waitTime(target, "timeout=") + t.SyncMargin.Std(); polling > t.InitialSync.Std() {
			return polling, "timeouts.sync_margin"
		}
		return t.InitialSync.Std(), "timeouts.initial_sync"
	}
	if limit, key = t.Response.Std(), "timeouts.response"; d.Rule.Remote {
		limit, key = t.Federation.Std(), "timeouts.federation"
	}
	if d.Endpoint == configs.ClassMedia { // Synapse waits a minute at most for what is not uploaded yet (synapse/media/_base.py)
		limit += min(waitTime(target, "timeout_ms="), time.Minute)
	}
	return limit, key
}

// waitTime is a parameter that says how many milliseconds a client wants to wait; at
// most an hour, so that no client keeps a connection for ever.
func waitTime(target, parameter string) time.Duration {
	_, query, _ := strings.Cut(target, "?")
	for query != "" {
		pair := query
		if i := strings.IndexAny(query, "&;"); i >= 0 { // as Twisted does (twisted/web/http.py, parse_qs)
			pair, query = query[:i], query[i+1:]
		} else {
			query = ""
		}
		if v, ok := strings.CutPrefix(pair, parameter); ok {
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
