package acme

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"
)

// placement is where the record for a name goes.
type placement struct {
	name string // of the record, after aliases
	zone string
	how  string // the zone was found, for messages
}

// sub is the record's name relative to the zone, as OVH wants it.
func (p placement) sub() string {
	return strings.TrimSuffix(strings.TrimSuffix(p.name, p.zone), ".")
}

const challengeLabel = "_acme-challenge."

// place finds the record's name and zone: whoever has delegated the challenge
// with a CNAME gets the record where that leads.
func (e *dnsEntry) place(ctx context.Context, name string) (placement, error) {
	record := challengeLabel + strings.TrimPrefix(name, "*.")
	target, err := e.follow(ctx, record)
	if err != nil {
		return placement{}, err
	}
	zone, how, err := e.findZone(ctx, target)
	if err != nil && target != record {
		return placement{}, newFault("let the CNAME lead into a zone of this OVH account, or remove it",
			"%s is a CNAME to %s, where no record can be made", record, target).because(err)
	}
	return placement{name: target, zone: zone, how: how}, err
}

// follow tells where the record for a name really goes. A CNAME that is there
// must be the one that `delegate` names, if it names one.
func (e *dnsEntry) follow(ctx context.Context, record string) (string, error) {
	target, err := e.resolver.alias(ctx, record)
	if err != nil {
		return "", err
	}
	want := canonical(e.delegate[record])
	switch {
	case want == "" && target == "":
		return record, nil
	case want == "" || want == target:
		return target, nil
	case target == "":
		return "", newFault(fmt.Sprintf("add the record: %s. CNAME %s.", record, want),
			"%s is to be delegated to %s, but there is no CNAME", record, want)
	}
	return "", newFault(fmt.Sprintf("change the record to: %s. CNAME %s. or correct `delegate`", record, want),
		"%s is to be delegated to %s, but its CNAME leads to %s", record, want, target)
}

// findZone finds the zone a record goes into: the configured one, else the longest
// in the account that holds it, else, when the account may not be asked, the one
// that DNS tells.
func (e *dnsEntry) findZone(ctx context.Context, record string) (zone, how string, err error) {
	if e.zone != "" && within(record, e.zone) {
		return e.zone, "configured", nil
	}
	zones, err := e.account.listZones(ctx)
	switch {
	case unknowable(err):
		zone, err = e.resolver.climb(ctx, record)
		return zone, "found in DNS", err
	case err != nil:
		return "", "", err
	}
	for _, candidate := range zones {
		if within(record, candidate) && !isPublicSuffix(candidate) && len(candidate) > len(zone) {
			zone = candidate
		}
	}
	if zone == "" {
		e.account.zones.forget() // it may be added before the next attempt
		return "", "", newFault("use the account that holds the zone, or http01, or a CNAME at "+record+" into a zone of this account",
			"no zone of this OVH account holds %s; it has %s", record, enumerate(zones))
	}
	return zone, "in the account", nil
}

// enumerateMax is how many zones a sentence can hold.
const enumerateMax = 5

func enumerate(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	if len(names) > enumerateMax {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:enumerateMax], ", "), len(names)-enumerateMax)
	}
	return strings.Join(names, ", ")
}

func within(name, zone string) bool { return name == zone || strings.HasSuffix(name, "."+zone) }

// isPublicSuffix tells whether names of strangers are registered below a zone.
// Suffixes nobody listed, such as a network's own "test", are not public.
func isPublicSuffix(zone string) bool {
	suffix, listed := publicsuffix.PublicSuffix(zone)
	return suffix == zone && (listed || strings.Contains(zone, "."))
}

// listZones are the zones in the account.
func (a *ovhAccount) listZones(ctx context.Context) ([]string, error) {
	return a.zones.get(ctx, a.pace.patience, func(ctx context.Context) ([]string, time.Duration, error) {
		var zones []string
		if err := a.call(ctx, http.MethodGet, "/domain/zone", nil, &zones); err != nil {
			return nil, 0, err
		}
		for i, zone := range zones {
			zones[i] = canonical(zone)
		}
		slices.Sort(zones)
		return zones, a.pace.memory, nil
	})
}

// climb finds the zone of a name through its SOA record, from below. It ends with
// an error rather than at a name where nobody's own zone can be.
func (r *resolver) climb(ctx context.Context, name string) (string, error) {
	for zone := name; zone != ""; {
		if suffix, _ := publicsuffix.PublicSuffix(zone); suffix == zone {
			break
		}
		found, err := r.isZone(ctx, zone)
		if err != nil {
			return "", err
		}
		if found {
			return zone, nil
		}
		_, zone, _ = strings.Cut(zone, ".")
	}
	return "", newFault("set `zone` of the challenge", "DNS knows no zone that holds %s", name)
}

// checkDelegation makes sure that the world asks OVH for the zone: records in a
// zone that is registered elsewhere are seen by nobody.
func (e *dnsEntry) checkDelegation(ctx context.Context, at placement) error {
	var zone struct {
		NameServers []string `json:"nameServers"`
	}
	err := e.account.call(ctx, http.MethodGet, zonePath(at.zone, ""), nil, &zone)
	switch {
	case notFound(err):
		return newFault("correct `zone`, or use the account that holds it", "the zone %s (%s) is not in this OVH account", at.zone, at.how)
	case unknowable(err):
		return nil // the rights for records are enough
	case err != nil:
		return err
	}
	hosts, err := e.resolver.nameServers(ctx, at.zone)
	if err != nil {
		return err
	}
	for i, host := range zone.NameServers {
		zone.NameServers[i] = canonical(host)
	}
	shared := slices.ContainsFunc(hosts, func(host string) bool { return slices.Contains(zone.NameServers, host) })
	if shared || len(zone.NameServers) == 0 {
		return nil
	}
	remedy := "at the registrar, set its name servers to " + strings.Join(zone.NameServers, " and ") + "; or use http01; or, where this network has a DNS of its own, set resolvers to a public one"
	if len(hosts) == 0 {
		return newFault(remedy, "the zone %s is in the OVH account, but is delegated to nobody", at.zone)
	}
	return newFault(remedy, "the zone %s is in the OVH account, but the Internet asks %s for it", at.zone, strings.Join(hosts, ", "))
}
