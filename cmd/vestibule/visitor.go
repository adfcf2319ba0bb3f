package main

import (
	"net/netip"
	"slices"

	"vestibule/configs"
)

// visitor is a range of addresses that every gate takes alike. Gates compare
// with prefixes, so between two edges of prefixes nothing changes, and the first
// address of a range stands for all of it.
type visitor struct {
	first, last netip.Addr
	listed      bool // under admins, or in some route's allow
}

// mostVisitors bounds the ranges that are told apart.
const mostVisitors = 1024

// visitors cuts all addresses at the edges of what configurations let in, and
// counts the ranges beyond the most. The first is an ordinary visitor, who is in
// no list, if there is one left.
func visitors(cfgs ...*configs.Config) (list []visitor, left int) {
	prefixes := gates(cfgs)
	edges := edgesOf(prefixes)
	for i, first := range edges[:min(len(edges), mostVisitors)] {
		v := visitor{first: first, last: lastOf(netip.PrefixFrom(first, 0))}
		if i+1 < len(edges) && edges[i+1].BitLen() == first.BitLen() {
			v.last = edges[i+1].Prev()
		}
		v.listed = slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(first) })
		list = append(list, v)
	}
	slices.SortStableFunc(list, func(a, b visitor) int {
		switch {
		case a.listed == b.listed:
			return 0
		case b.listed:
			return -1
		}
		return 1
	})
	return list, len(edges) - len(list)
}

// gates lists what some gate of the configurations lets in.
func gates(cfgs []*configs.Config) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, cfg := range cfgs {
		prefixes = append(prefixes, cfg.Admins...)
		for _, site := range cfg.Sites {
			for _, route := range site.Routes {
				prefixes = append(prefixes, route.Allow...)
			}
		}
	}
	return prefixes
}

// edgesOf are the first addresses of ranges that prefixes do not tell apart.
func edgesOf(prefixes []netip.Prefix) []netip.Addr {
	edges := []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	for _, p := range prefixes {
		edges = append(edges, p.Masked().Addr())
		if next := lastOf(p).Next(); next.IsValid() {
			edges = append(edges, next)
		}
	}
	slices.SortFunc(edges, netip.Addr.Compare)
	return slices.Compact(edges)
}

// lastOf is the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	bytes := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 1 << (7 - bit%8)
	}
	last, _ := netip.AddrFromSlice(bytes)
	return last
}

// String is the range as an operator would write it.
func (v visitor) String() string {
	if !v.listed {
		return "anywhere else"
	}
	for bits := range v.first.BitLen() + 1 {
		p := netip.PrefixFrom(v.first, bits)
		if p.Masked().Addr() != v.first || lastOf(p) != v.last {
			continue
		}
		if p.IsSingleIP() {
			return v.first.String()
		}
		return p.String()
	}
	return v.first.String() + " to " + v.last.String()
}
