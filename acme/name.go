package acme

import (
	"net/netip"
	"strings"
)

// canonical is the form names are compared in: lower case, without the root's
// dot; addresses as Go prints them, without brackets or zone.
func canonical(name string) string {
	name = strings.ToLower(strings.TrimSuffix(strings.TrimSpace(name), "."))
	if address, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return address.Unmap().WithZone("").String()
	}
	return name
}

// isAddress tells whether a canonical name is an IP address.
func isAddress(name string) bool {
	_, err := netip.ParseAddr(name)
	return err == nil
}

// wildcard is the wildcard that a certificate for the name may hold instead: one
// star for its first label (RFC 9525, section 6.3). It is "" for a single label.
func wildcard(name string) string {
	_, rest, found := strings.Cut(name, ".")
	if !found {
		return ""
	}
	return "*." + rest
}
