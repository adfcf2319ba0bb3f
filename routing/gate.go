package routing

import "net/netip"

// gate lets some addresses pass. A nil gate lets all.
type gate struct {
	allowed []netip.Prefix
	list    string // what the addresses are called in explain
}

func (g *gate) admits(client netip.Addr) bool {
	if g == nil {
		return true
	}
	client = client.Unmap().WithZone("")
	for _, prefix := range g.allowed {
		if prefix.Contains(client) {
			return true
		}
	}
	return false
}

// why explains a refusal.
func (g *gate) why(client netip.Addr) string {
	if g.admits(client) {
		return "the path is not written plainly"
	}
	if g.list == "" {
		return "closed here"
	}
	if !client.IsValid() {
		return "an address that is not known is not among " + g.list
	}
	return client.Unmap().String() + " is not among " + g.list
}
