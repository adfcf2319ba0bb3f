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
func Listen(cfg *configs.Config) (ls *Listeners, err error) {
	ls = &Listeners{}
	defer func() {
		if err != nil {
			ls.Close()
			ls = nil
		}
	}()
	e := &cfg.Entrypoints
	if ls.HTTP, err = listenAll("entrypoints.http", e.HTTP.Addresses); err != nil {
		return
	}
	if ls.Admin, err = listenAll("entrypoints.admin", e.Admin.Addresses); err != nil {
		return
	}
	if err = ls.route("entrypoints.https", &Entrypoint{Name: "https", Role: routing.HTTPS}, &e.HTTPS); err != nil {
		return
	}
	if err = ls.route("entrypoints.federation", &Entrypoint{Name: "federation", Role: routing.Federation}, &e.Federation); err != nil {
		return
	}
	for _, site := range cfg.Sites {
		internal := &Entrypoint{Name: "internal", Role: routing.Internal, Site: site.ServerName}
		addresses := &configs.Entrypoint{Addresses: site.Internal.Addresses}
		if err = ls.route("internal of site "+site.ServerName, internal, addresses); err != nil {
			return
		}
	}
	return
}

// route opens the addresses of a routed entrypoint; key is what errors call it.
func (ls *Listeners) route(key string, ep *Entrypoint, e *configs.Entrypoint) error {
	open, err := listenAll(key, e.Addresses)
	if err != nil {
		return err
	}
	for _, l := range open {
		ep.Addresses = append(ep.Addresses, l.Addr().String())
	}
	ls.Routed = append(ls.Routed, Routed{Entrypoint: ep, TLS: e.TLS, Listeners: open})
	return nil
}

func listenAll(key string, addresses []configs.Address) ([]net.Listener, error) {
	var out []net.Listener
	for _, a := range addresses {
		l, err := listen(a)
		if err != nil {
			for _, open := range out {
				open.Close()
			}
			return nil, fmt.Errorf("opening %s: %w%s", key, err, listenHint(a, err))
		}
		out = append(out, l)
	}
	return out, nil
}

func listen(a configs.Address) (net.Listener, error) {
	network, address := a.Network()
	if network == "unix" {
		removeStale(address)
	}
	return net.Listen(network, address)
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
	switch {
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
	for _, l := range ls.all() {
		l.Close()
	}
}

func (ls *Listeners) all() []net.Listener {
	all := append(append([]net.Listener(nil), ls.HTTP...), ls.Admin...)
	for _, r := range ls.Routed {
		all = append(all, r.Listeners...)
	}
	return all
}
