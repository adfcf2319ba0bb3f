package wellknown

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"vestibule/configs"
)

// server is the generated /.well-known/matrix/server (server-server API,
// "Resolving server names", step 3). The port is always said: without one, peers
// would look for SRV records first.
func server(site *configs.Site) object {
	federation := site.Federation
	return object{"m.server": fmt.Sprintf("%s:%d", federation.Host, federation.Port)}
}

// delegates tells whether anybody is to find the site through the document. One
// that federates with nobody announces nothing, unless services still ask it who
// a user is: they find it as servers do.
func delegates(site *configs.Site) bool {
	return site.Federation.Delegation == "well_known" && (!site.Federation.With.Nobody() || site.OpenIDIsOpen())
}

// checkServer wants m.server to be a server name (appendices, "Server Name").
func checkServer(document object) error {
	name, ok := document["m.server"].(string)
	if !ok {
		return errors.New(`m.server is not a string (hint: write "matrix.example.com:8448"; ` +
			"to publish nothing, set federation.delegation to none)")
	}
	if err := checkServerName(name); err != nil {
		return fmt.Errorf("m.server: %w", err)
	}
	return nil
}

// checkServerName follows the grammar of the appendices: hostname [ ":" port ],
// where hostname is a DNS name, an IPv4 address or an IPv6 address in brackets.
func checkServerName(name string) error {
	if strings.Contains(name, "://") {
		return fmt.Errorf(`%q has a scheme (hint: write "matrix.example.com:8448")`, name)
	}
	host, port := splitPort(name)
	if port != nil && !isPort(*port) {
		return fmt.Errorf("%q: %q is not a port from 1 to 65535", name, *port)
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		address, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		if err != nil || !address.Is6() || address.Zone() != "" || !strings.HasSuffix(host, "]") {
			return fmt.Errorf("%q: %q is not an IPv6 address in brackets", name, host)
		}
		return nil
	}
	if !isDNSName(host) {
		return fmt.Errorf("%q: %q is not a host name", name, host)
	}
	return nil
}

// splitPort cuts at the last colon that is not part of an IPv6 address; port is
// nil when there is none.
func splitPort(name string) (host string, port *string) {
	colon := strings.LastIndexByte(name, ':')
	if colon < 0 || colon < strings.LastIndexByte(name, ']') {
		return name, nil
	}
	digits := name[colon+1:]
	return name[:colon], &digits
}

func isPort(digits string) bool {
	if len(digits) > 5 || strings.Trim(digits, "0123456789") != "" {
		return false
	}
	port, err := strconv.Atoi(digits)
	return err == nil && port >= 1 && port <= 65535
}

// isDNSName holds for IPv4 addresses too; the grammar's DNS names have up to 255
// letters, digits, hyphens and dots.
func isDNSName(host string) bool {
	if host == "" || len(host) > 255 {
		return false
	}
	for _, c := range []byte(host) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && !(c >= '0' && c <= '9') && c != '-' && c != '.' {
			return false
		}
	}
	return true
}
