package proxy

import (
	"os"
	"syscall"
)

// vigilPlatform is the kernel's side of it: one epoll instance for all connections.
type vigilPlatform struct {
	fd     int
	failed error
	opened bool
}

type watchedPlatform struct{ registered bool }

// arm asks the kernel to say once when the client ends its side, or sends
// something, unless that is no news.
func (v *vigil) arm(w *watched) {
	if !v.open() || w.c.socket.raw == nil {
		return
	}
	events := uint32(syscall.EPOLLRDHUP | syscall.EPOLLIN)
	if w.deaf {
		events = 0 // but for the end of both sides, which always counts
	}
	event := syscall.EpollEvent{Events: events | syscall.EPOLLONESHOT, Fd: int32(w.id), Pad: int32(w.id >> 32)}
	op := syscall.EPOLL_CTL_MOD
	if !w.platform.registered {
		op = syscall.EPOLL_CTL_ADD
	}
	_ = w.c.socket.raw.Control(func(fd uintptr) { // fails for what is closed
		w.armed = syscall.EpollCtl(v.platform.fd, op, int(fd), &event) == nil
	})
	w.platform.registered = w.platform.registered || w.armed
}

// disarm lets what the kernel will say pass unheard.
func (v *vigil) disarm(*watched) {}

// open begins to listen to the kernel; false when that is not possible: then a
// client that leaves is noticed when its answer comes.
func (v *vigil) open() bool {
	p := &v.platform
	if p.opened {
		return p.failed == nil
	}
	p.opened = true
	if p.fd, p.failed = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); p.failed != nil {
		return false
	}
	// Not blocking, so that Go waits for it like for any other descriptor.
	if p.failed = syscall.SetNonblock(p.fd, true); p.failed != nil {
		return false
	}
	go v.listen(os.NewFile(uintptr(p.fd), "epoll"))
	return true
}

func (v *vigil) listen(f *os.File) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	var events [128]syscall.EpollEvent
	n := 0
	wait := func(fd uintptr) bool {
		n, _ = syscall.EpollWait(int(fd), events[:], 0)
		return n > 0
	}
	for raw.Read(wait) == nil {
		for _, e := range events[:n] {
			id := uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32
			v.notice(id, e.Events&(syscall.EPOLLHUP|syscall.EPOLLERR) != 0)
		}
	}
}
