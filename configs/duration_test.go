package configs

import (
	"testing"
	"time"
)

func TestDurationString(t *testing.T) {
	for value, want := range map[time.Duration]string{
		0:                "0s",
		10 * time.Second: "10s",
		3 * time.Minute:  "3m",
		90 * time.Minute: "1h30m",
		2 * time.Hour:    "2h",
		90 * time.Second: "1m30s",
	} {
		if got := Duration(value).String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
