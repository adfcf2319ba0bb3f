package main

import (
	"os"
	"syscall"
	"testing"
	"time"
)

// TestCPUTime compares the clock of this process with what getrusage says of it.
func TestCPUTime(t *testing.T) {
	for used(t) < 200*time.Millisecond {
		for range 1 << 20 {
		}
	}
	before := used(t)
	got, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	// The kernel brings either up to date with each tick only.
	if after := used(t); got < before-100*time.Millisecond || got > after+100*time.Millisecond {
		t.Errorf("%v, and getrusage says %v to %v", got, before, after)
	}
	if _, err := cpuTime(1 << 22); err == nil {
		t.Error("a process that cannot be has used CPU time")
	}
}

func used(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
