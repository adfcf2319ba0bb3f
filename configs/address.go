package configs

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Address is where to listen: "host:port", "unix:/path" or "fd:NAME".
type Address string

// maxSocketPath is the longest path a Unix socket can have on Linux: sun_path
// holds 108 bytes, the last of them NUL (unix(7)).
const maxSocketPath = 107

// maxSocketName is how long the name of a socket of systemd's can be
// (FileDescriptorName= in systemd.socket(5)).
const maxSocketName = 255

// Network gives the address as net.Listen takes it: "tcp" with "host:port", or
// "unix" with a path. For sockets that systemd passes it is "fd" with their name.
func (a Address) Network() (network, address string) {
	if path, ok := strings.CutPrefix(string(a), "unix:"); ok {
		return "unix", path
	}
	if name, ok := strings.CutPrefix(string(a), "fd:"); ok {
		return "fd", name
	}
	return "tcp", string(a)
}

// mistake says what is wrong with the address and what to write instead; both
// are empty when nothing is.
func (a Address) mistake() (message, hint string) {
	text := string(a)
	if name, ok := strings.CutPrefix(text, "fd:"); ok {
		return socketNameMistake(name)
	}
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		return socketPathMistake(path)
	}
	if _, err := strconv.Atoi(text); err == nil {
		return quote(text) + " is a port alone", "write " + quote(":"+text)
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return quote(text) + " is not an address", `write it as ":443", "127.0.0.1:443" or "[::1]:443"`
	}
	if host != "" {
		if strings.EqualFold(host, "localhost") {
			return quote(host) + " is not an IP address", "write " + quote("127.0.0.1:"+port)
		}
		if _, err := netip.ParseAddr(host); err != nil {
			return quote(host) + " is not an IP address", `write an IP address, or nothing for all: ` + quote(":"+port)
		}
	}
	if _, ok := parsePort(port, 0); !ok {
		return quote(port) + " is not a port", "write a number from 1 to 65535; 0 lets the system choose"
	}
	return "", ""
}

func socketPathMistake(path string) (message, hint string) {
	switch {
	case strings.HasPrefix(path, "//"):
		return quote(path) + " begins with two slashes", "write " + quote("unix:/"+strings.TrimLeft(path, "/"))
	case !strings.HasPrefix(path, "/"):
		return "the socket " + quote(path) + " is not an absolute path", `begin it with "/"`
	case len(path) > maxSocketPath:
		return "the socket's path is longer than 107 bytes", "choose a shorter directory"
	case strings.ContainsRune(path, 0):
		return "the socket's path holds a NUL", ""
	}
	return "", ""
}

// socketNameMistake says what is wrong with a name of a socket that systemd passes
// (systemd.socket(5), FileDescriptorName=). Whether there is one is known at start.
func socketNameMistake(name string) (message, hint string) {
	odd := strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' })
	switch {
	case name == "":
		return "the socket of systemd has no name", `write "fd:" and what FileDescriptorName= says in the .socket unit, such as "fd:https"`
	case odd:
		return quote(name) + " is no name of a socket", "use letters, digits and hyphens, as in FileDescriptorName=https"
	case len(name) > maxSocketName:
		return "the socket's name is longer than 255 bytes", "choose a shorter FileDescriptorName="
	}
	return "", ""
}

// parsePort reads a decimal port without sign from lowest to 65535.
func parsePort(text string, lowest int) (int, bool) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	port, err := strconv.Atoi(text)
	return port, err == nil && port >= lowest && port <= 65535
}

// overlaps tells whether one process cannot listen on both addresses.
// A wildcard takes the port on every address of its family, and "[::]", as Go
// listens, of both families.
func (a Address) overlaps(b Address) bool {
	networkA, addressA := a.Network()
	networkB, addressB := b.Network()
	if networkA != networkB {
		return false
	}
	if networkA != "tcp" {
		return addressA == addressB
	}
	hostA, portA, errA := net.SplitHostPort(addressA)
	hostB, portB, errB := net.SplitHostPort(addressB)
	numberA, okA := parsePort(portA, 1)
	numberB, okB := parsePort(portB, 1)
	if errA != nil || errB != nil || !okA || !okB || numberA != numberB {
		return false
	}
	return covers(hostA, hostB) || covers(hostB, hostA)
}

// covers tells whether listening on host takes other's port as well.
func covers(host, other string) bool {
	if host == "" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	otherIP, otherErr := netip.ParseAddr(other)
	if err != nil || otherErr != nil {
		return false
	}
	if ip.IsUnspecified() {
		return ip.Is6() || otherIP.Unmap().Is4()
	}
	return ip.Unmap() == otherIP.Unmap()
}

// public tells whether the address can be reached from beyond the machine and
// its private networks, as far as the address itself tells.
func (a Address) public() bool {
	network, address := a.Network()
	if network != "tcp" { // of a socket of systemd's it cannot be told
		return false
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return true
	}
	ip = ip.Unmap()
	return !ip.IsLoopback() && !ip.IsPrivate() && !ip.IsLinkLocalUnicast()
}
