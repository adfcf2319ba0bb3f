package proxy

import "golang.org/x/sys/unix"

// unsent is how many bytes the other side has not acknowledged (tcp(7), SIOCOUTQ); 0
// when nobody can tell.
func (c *stallConn) unsent() (n int) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) { // fails for what is closed
		n, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
	})
	return n
}
