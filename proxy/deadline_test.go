package proxy

import (
	"testing"
	"time"

	"vestibule/configs"
	"vestibule/routing"
)

func TestDeadline(t *testing.T) {
	timeouts := &configs.Default().Timeouts
	for _, c := range []struct {
		endpoint configs.Class
		remote   bool
		target   string
		want     time.Duration
		key      string
	}{
		{configs.ClassSync, false, "/sync?since=s1", 90 * time.Second, "timeouts.sync_margin"},
		{configs.ClassSync, false, "/sync?since=s1&timeout=30000", 2 * time.Minute, "timeouts.sync_margin"},
		{configs.ClassSync, false, "/sync?timeout=0&since=s1", 90 * time.Second, "timeouts.sync_margin"},
		{configs.ClassSync, false, "/sync?timeout=-1&since=s1", 90 * time.Second, "timeouts.sync_margin"},
		{configs.ClassSync, false, "/sync?timeout=soon&since=s1", 90 * time.Second, "timeouts.sync_margin"},
		{configs.ClassSync, false, "/sync?timeout=99999999", time.Hour + 90*time.Second, "timeouts.sync_margin"},
		{configs.ClassSync, false, "/sync?timeout=9223372036855", time.Hour + 90*time.Second, "timeouts.sync_margin"},        // too many nanoseconds for 63 bits
		{configs.ClassSync, false, "/sync?timeout=99999999999999999999", time.Hour + 90*time.Second, "timeouts.sync_margin"}, // nor milliseconds
		{configs.ClassInitialSync, false, "/sync?timeout=30000", 5 * time.Minute, "timeouts.initial_sync"},
		{configs.ClassInitialSync, false, "/sync?timeout=600000", 11*time.Minute + 30*time.Second, "timeouts.sync_margin"},
		{configs.ClassMain, true, "/x", 5 * time.Minute, "timeouts.federation"},
		{configs.ClassMain, false, "/x?timeout=30000", time.Minute, "timeouts.response"},
		{configs.ClassSync, false, "/sync?since=s1;timeout=30000", 2 * time.Minute, "timeouts.sync_margin"}, // as Twisted reads it
		{configs.ClassMedia, false, "/download/a/b?timeout_ms=20000", 80 * time.Second, "timeouts.response"},
		{configs.ClassMedia, false, "/download/a/b?timeout_ms=3600000", 2 * time.Minute, "timeouts.response"},
	} {
		d := &routing.Decision{Endpoint: c.endpoint, Rule: &routing.Rule{Remote: c.remote}}
		got, key := Deadline(timeouts, d, c.target)
		if got != c.want || key != c.key {
			t.Errorf("%s %s: got %s by %s, want %s by %s", c.endpoint, c.target, got, key, c.want, c.key)
		}
	}
}
