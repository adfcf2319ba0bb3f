package proxy

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"vestibule/configs"
	"vestibule/routing"
)

// Listeners are the open ports of a configuration, by role.
type Listeners struct {
	HTTP  []net.Listener
	Admin []net.Listener
	// Routed are the ones whose requests go through the table.
	Routed []Routed
}

// Routed is an entrypoint with its listeners.
type Routed struct {
	Entrypoint *Entrypoint
	TLS        bool
	Listeners  []net.Listener
}

// Listen opens every address of a configuration, or none: on an error, what was
// open is closed again and the error names the key and the remedy.
func Listen(cfg *configs.Config) (*Listeners, error) { return (*Inherited)(nil).Listen(cfg) }

// Listen is the function of this name; addresses "fd:NAME" stand for sockets that
// were passed. Those that none stands for are closed.
func (in *Inherited) Listen(cfg *configs.Config) (ls *Listeners, err error) {
	defer in.close()
	ls = &Listeners{}
	defer func() {
		if err != nil {
			ls.Close()
			ls = nil
		}
	}()
	e := &cfg.Entrypoints
	if ls.HTTP, err = in.listenAll("entrypoints.http", e.HTTP.Addresses); err != nil {
		return
	}
	if ls.Admin, err = in.listenAll("entrypoints.admin", e.Admin.Addresses); err != nil {
		return
	}
	if err = ls.route(in, "entrypoints.https", &Entrypoint{Name: "https", Role: routing.HTTPS}, &e.HTTPS); err != nil {
		return
	}
	if err = ls.route(in, "entrypoints.federation", &Entrypoint{Name: "federation", Role: routing.Federation}, &e.Federation); err != nil {
		return
	}
	for _, site := range cfg.Sites {
		internal := &Entrypoint{Name: "internal", Role: routing.Internal, Site: site.ServerName}
		addresses := &configs.Entrypoint{Addresses: site.Internal.Addresses}
		if err = ls.route(in, "internal of site "+site.ServerName, internal, addresses); err != nil {
			return
		}
	}
	return
}

// route opens the addresses of a routed entrypoint; key is what errors call it.
func (ls *Listeners) route(in *Inherited, key string, ep *Entrypoint, e *configs.Entrypoint) error {
	open, err := in.listenAll(key, e.Addresses)
	if err != nil {
		return err
	}
	for _, l := range open {
		ep.Addresses = append(ep.Addresses, l.Addr().String())
	}
	ls.Routed = append(ls.Routed, Routed{Entrypoint: ep, TLS: e.TLS, Listeners: open})
	return nil
}

func (in *Inherited) listenAll(key string, addresses []configs.Address) ([]net.Listener, error) {
	var out []net.Listener
	for _, a := range addresses {
		open, err := in.listenAt(a)
		if err != nil {
			closeAll(out)
			return nil, fmt.Errorf("opening %s: %w%s", key, err, listenHint(a, err))
		}
		out = append(out, open...)
	}
	return out, nil
}

func (in *Inherited) listenAt(a configs.Address) ([]net.Listener, error) {
	network, address := a.Network()
	switch network {
	case "fd":
		open, err := in.listen(address)
		if err != nil {
			err = fmt.Errorf("%s: %w", a, err)
		}
		return open, err
	case "unix":
		removeStale(address)
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	return []net.Listener{l}, nil
}

func closeAll(open []net.Listener) {
	for _, l := range open {
		l.Close()
	}
}

// removeStale removes a socket file that nobody listens on any more, as a
// process leaves that was killed.
func removeStale(path string) {
	if info, err := os.Stat(path); err != nil || info.Mode()&os.ModeSocket == 0 {
		return
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
		return
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		os.Remove(path)
	}
}

// listenHint says what to do about an address that cannot be opened.
func listenHint(a configs.Address, err error) string {
	network, address := a.Network()
	var missing notPassedError
	switch {
	case errors.As(err, &missing):
		return fmt.Sprintf(" (hint: write FileDescriptorName=%s under [Socket] in the .socket unit, or one of these names here)", address)
	case errors.Is(err, errNothingInherited):
		return fmt.Sprintf(" (hint: let systemd start it, with a .socket unit that says FileDescriptorName=%s and Service=vestibule.service; "+
			"docs/operating.md shows one)", address)
	case errors.Is(err, errNotListening):
		return " (hint: the .socket unit needs ListenStream= and no Accept=yes)"
	case errors.Is(err, syscall.EADDRINUSE) && network == "unix":
		return " (hint: another program listens on this socket. Stop it, or give this entrypoint another path)"
	case errors.Is(err, syscall.EADDRINUSE):
		port := address[strings.LastIndexByte(address, ':')+1:]
		return fmt.Sprintf(" (hint: another program has this address; `ss -ltnp 'sport = :%s'` names it. "+
			"Stop it, or give this entrypoint another address)", port)
	case errors.Is(err, syscall.EACCES):
		return " (hint: ports below 1024 need a privilege: AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit, " +
			"or sysctl net.ipv4.ip_unprivileged_port_start=80 for a container)"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return " (hint: this machine does not have this address; `ip addr` lists those it has)"
	}
	return ""
}

// Close closes every listener.
func (ls *Listeners) Close() {
	closeAll(ls.all())
}

func (ls *Listeners) all() []net.Listener {
	all := append(append([]net.Listener(nil), ls.HTTP...), ls.Admin...)
	for _, r := range ls.Routed {
		all = append(all, r.Listeners...)
	}
	return all
}
