package configs

import (
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
)

// hostMistake says what is wrong with the name or address of a virtual host;
// message is empty when nothing is. Hosts carry no port: ports are the
// entrypoints' business.
func hostMistake(host string) (message, hint string) {
	if _, rest, found := strings.Cut(host, "://"); found {
		name, _, _ := cutAny(rest, "/?#")
		return quote(host) + " is a URL", "write the name alone: " + quote(name)
	}
	if name, _, found := cutAny(host, "/?#"); found {
		return quote(host) + " has a path", "write the name alone: " + quote(name)
	}
	if name, _, found := splitPort(host); found {
		return quote(host) + " has a port", "write " + quote(name) + "; ports are set under entrypoints"
	}
	return nameMistake(host, host)
}

// serverNameMistake says what is wrong with a server name, whose grammar
// (Matrix v1.16, appendices, "Server Name") is a host with an optional port.
func serverNameMistake(name string) (message, hint string) {
	host, port, hasPort := splitPort(name)
	if !hasPort || strings.Contains(name, "/") {
		return hostMistake(name)
	}
	if _, ok := parsePort(port, 1); !ok {
		return quote(port) + " is not a port", "write a number from 1 to 65535, or no port at all"
	}
	return hostMistake(host)
}

// splitPort cuts "host:port" at the port. An IPv6 address stands in brackets.
func splitPort(text string) (host, port string, found bool) {
	i := strings.LastIndexByte(text, ':')
	if i < 0 || strings.HasSuffix(text, "]") {
		return text, "", false
	}
	if strings.Contains(text[:i], ":") && !strings.HasPrefix(text, "[") {
		return text, "", false // an IPv6 address without brackets
	}
	return text[:i], text[i+1:], true
}

// nameMistake checks a DNS name (RFC 1123, section 2.1) or an IP address; shown
// is how it was written.
func nameMistake(name, shown string) (message, hint string) {
	if address, isLiteral := cutBrackets(name); isLiteral {
		if ip, err := netip.ParseAddr(address); err != nil || !ip.Is6() || ip.Zone() != "" {
			return quote(shown) + " is not an IPv6 address", ""
		}
		return "", ""
	}
	if _, err := netip.ParseAddr(name); err == nil {
		if strings.Contains(name, ":") {
			return quote(shown) + " is an IPv6 address without brackets", "write " + quote("["+name+"]")
		}
		return "", ""
	}
	switch {
	case name == "":
		return "is empty", ""
	case strings.Contains(name, "*"):
		return quote(shown) + " has a wildcard", "write each name"
	case strings.HasSuffix(name, "."):
		return quote(shown) + " ends with a dot", "write " + quote(strings.TrimRight(shown, "."))
	case len(name) > 253:
		return quote(shown) + " is longer than 253 bytes", ""
	}
	return labelsMistake(name, shown)
}

func cutBrackets(name string) (inside string, found bool) {
	if strings.HasPrefix(name, "[") && strings.HasSuffix(name, "]") {
		return name[1 : len(name)-1], true
	}
	return name, false
}

func labelsMistake(name, shown string) (message, hint string) {
	for label := range strings.SplitSeq(name, ".") {
		switch {
		case label == "":
			return quote(shown) + " has an empty part between two dots", ""
		case len(label) > 63:
			return quote(shown) + " has a part longer than 63 bytes", ""
		case strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-"):
			return quote(shown) + " has a part that begins or ends with a hyphen", ""
		}
	}
	if i := strings.IndexFunc(name, notInName); i >= 0 {
		return quote(shown) + " is not a host name", punycodeHint(name)
	}
	return "", ""
}

func notInName(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '.':
		return false
	}
	return true
}

// punycodeHint helps with names such as "bücher.example", which DNS, HTTP and
// certificates know in their ASCII form only (RFC 5891).
func punycodeHint(name string) string {
	if ascii, err := idna.Lookup.ToASCII(name); err == nil {
		return "write " + quote(ascii)
	}
	return "a host name holds letters, digits, hyphens and dots"
}

// serverHost is a server name without its port.
func serverHost(serverName string) string {
	host, _, _ := splitPort(serverName)
	return host
}

func isIP(host string) bool {
	address, _ := cutBrackets(host)
	_, err := netip.ParseAddr(address)
	return err == nil
}
