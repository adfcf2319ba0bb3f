//go:build integration

package integration

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// container is an image's files, mounted, and how it is to be run.
type container struct {
	rootfs                   string
	entrypoint, command      []string
	healthcheck, environment []string
	user                     *syscall.Credential
}

// parseUser reads a numeric "uid:gid".
func parseUser(text string) (*syscall.Credential, error) {
	uid, gid, _ := strings.Cut(text, ":")
	u, uidErr := strconv.ParseUint(uid, 10, 32)
	g, gidErr := strconv.ParseUint(gid, 10, 32)
	if uidErr != nil || gidErr != nil || u == 0 {
		return nil, fmt.Errorf("the image's user is %q; a number that is not root's was expected", text)
	}
	return &syscall.Credential{Uid: uint32(u), Gid: uint32(g), Groups: []uint32{}}, nil
}

// program is a command inside the image, as the image's user.
func (c *container) program(arguments ...string) *exec.Cmd {
	return &exec.Cmd{
		Path: arguments[0], Args: arguments, Dir: "/", Env: append([]string{}, c.environment...),
		SysProcAttr: &syscall.SysProcAttr{Chroot: c.rootfs, Credential: c.user},
	}
}
