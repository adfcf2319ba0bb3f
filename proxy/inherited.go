package proxy

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Inherited are the sockets that systemd opened and passed to the process
// (sd_listen_fds(3)). They stay open there when we close ours: whoever connects
// while no vestibule runs waits for the next one.
type Inherited struct {
	sockets []inheritedSocket
	claimed []string // names that an address stands for
	foreign string   // the process that systemd passed them to, if that is not this one
}

type inheritedSocket struct {
	name string
	file *os.File
}

// firstInherited is the first descriptor that systemd passes (SD_LISTEN_FDS_START).
const firstInherited = 3

var (
	errNothingInherited = errors.New("systemd passed no sockets to this process")
	errNotListening     = errors.New("what systemd passed is no listening stream socket")
)

// Inherit takes over what systemd passes to this process, and removes the variables
// that tell of it from the environment. Call it once, early.
func Inherit() (*Inherited, error) {
	pid, fds, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"} {
		os.Unsetenv(name)
	}
	in := &Inherited{}
	if pid != strconv.Itoa(os.Getpid()) {
		in.foreign = pid
		return in, nil
	}
	list, err := inheritedNames(fds, names)
	if err != nil {
		return nil, err
	}
	for i, name := range list {
		fd := firstInherited + i
		syscall.CloseOnExec(fd)
		in.sockets = append(in.sockets, inheritedSocket{name, os.NewFile(uintptr(fd), name)})
	}
	return in, nil
}

// inheritedNames are the names of the descriptors, by LISTEN_FDS and LISTEN_FDNAMES.
// Without the latter each is called "unknown".
func inheritedNames(fds, names string) ([]string, error) {
	if fds == "" {
		return nil, nil
	}
	n, err := strconv.ParseUint(fds, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("reading how many sockets systemd passes: LISTEN_FDS is %q", fds)
	}
	if names == "" {
		return slices.Repeat([]string{"unknown"}, int(n)), nil
	}
	list := strings.Split(names, ":")
	if len(list) != int(n) {
		return nil, fmt.Errorf("reading which sockets systemd passes: LISTEN_FDS is %s, but LISTEN_FDNAMES is %q", fds, names)
	}
	return list, nil
}

// listen gives the listeners of a name: several sockets may share it.
func (in *Inherited) listen(name string) (open []net.Listener, err error) {
	if in == nil || len(in.sockets) == 0 {
		return nil, in.nothing()
	}
	for _, s := range in.sockets {
		if s.name != name {
			continue
		}
		l, err := s.listen()
		if err != nil {
			closeAll(open)
			return nil, err
		}
		open = append(open, l)
	}
	if len(open) == 0 {
		return nil, notPassedError{in.names()}
	}
	in.claimed = append(in.claimed, name)
	return open, nil
}

// nothing is why there are no sockets.
func (in *Inherited) nothing() error {
	if in == nil || in.foreign == "" {
		return errNothingInherited
	}
	return fmt.Errorf("%w, but to process %s, while this is %d; a script has to start it with exec", errNothingInherited, in.foreign, os.Getpid())
}

// notPassedError is a name that no socket has.
type notPassedError struct{ names []string }

// Error implements error.
func (e notPassedError) Error() string {
	quoted := make([]string, len(e.names))
	for i, name := range e.names {
		quoted[i] = strconv.Quote(name)
	}
	return "systemd passed no socket of this name, only " + strings.Join(quoted, ", ")
}

// names are those of the sockets, each once.
func (in *Inherited) names() (names []string) {
	for _, s := range in.sockets {
		if !slices.Contains(names, s.name) {
			names = append(names, s.name)
		}
	}
	return names
}

// Unclaimed are the names of the sockets that no address stands for.
func (in *Inherited) Unclaimed() []string {
	return slices.DeleteFunc(in.names(), func(name string) bool { return slices.Contains(in.claimed, name) })
}

// close closes our copies of the sockets, but for the listeners that were made of
// them.
func (in *Inherited) close() {
	if in == nil {
		return
	}
	for _, s := range in.sockets {
		s.file.Close()
	}
}

// listen makes a listener of the socket.
func (s inheritedSocket) listen() (net.Listener, error) {
	if !listening(s.file) {
		return nil, errNotListening
	}
	l, err := net.FileListener(s.file)
	if err != nil {
		return nil, err
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // the path is systemd's
	}
	return l, nil
}

// listening says whether a file is a stream socket that connections can be accepted
// on.
func listening(f *os.File) (is bool) {
	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Control(func(fd uintptr) {
		kind, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_TYPE)
		if err != nil || kind != syscall.SOCK_STREAM {
			return
		}
		accepts, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
		is = err == nil && accepts == 1
	})
	return err == nil && is
}
