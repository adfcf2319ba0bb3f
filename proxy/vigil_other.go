//go:build !linux

package proxy

import (
	"errors"
	"syscall"
	"time"
)

type vigilPlatform struct{}

// watchedPlatform is a goroutine that waits for the client.
type watchedPlatform struct{ done chan struct{} }

// arm has a goroutine of its own wait until the client ends its side or sends
// something. Systems that we are not run on but developed on need no more.
func (v *vigil) arm(w *watched) {
	raw := w.c.socket.raw
	if raw == nil || w.deaf {
		return
	}
	w.armed = true
	w.c.setDeadline(time.Time{})
	done, id := make(chan struct{}), w.id
	w.platform.done = done
	go func() {
		err := raw.Read(func(fd uintptr) bool {
			var b [1]byte
			_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			return !errors.Is(err, syscall.EAGAIN)
		})
		close(done)
		if err == nil {
			v.notice(id, false)
		}
	}()
}

// disarm ends the waiting.
func (v *vigil) disarm(w *watched) {
	if w.platform.done == nil {
		return
	}
	w.c.setDeadline(time.Unix(1, 0))
	<-w.platform.done
	w.platform.done = nil
	w.c.armed = time.Time{}
	w.c.setDeadline(time.Time{})
}
