//go:build integration

package integration

import (
	"fmt"
	"io"
	"os"
	"time"
)

// progress tells whoever waits what is being waited for. "go test" keeps what a
// test writes until the end, unless it runs with -v, so it goes to the terminal
// where there is one.
type progress struct {
	out   io.Writer
	start time.Time
}

func newProgress() *progress {
	terminal, err := os.OpenFile("/dev/tty", os.O_WRONLY, 0)
	if err != nil {
		return &progress{out: os.Stderr, start: time.Now()}
	}
	return &progress{out: terminal, start: time.Now()}
}

func (p *progress) step(format string, arguments ...any) {
	fmt.Fprintf(p.out, "laboratory %5.1fs: %s\n", time.Since(p.start).Seconds(), fmt.Sprintf(format, arguments...))
}
