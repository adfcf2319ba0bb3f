package acme

import (
	"strings"
	"testing"

	"vestibule/acme/ovhtest"
)

func TestPublicSuffix(t *testing.T) {
	for zone, public := range map[string]bool{
		"org": true, "co.uk": true, "github.io": true, "io": true, // where strangers have names
		"example.org": false, "a.github.io": false, "test": false, "home.arpa": true, "lan": false,
	} {
		if isPublicSuffix(zone) != public {
			t.Errorf("%s: %v", zone, !public)
		}
	}
}

// The longest zone of the account that holds the name is the one.
func TestLongestZone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{ovh: ovhtest.Options{Zones: []string{"example.org", "matrix.example.org", "ample.org"}}})
	e := w.start(t).settings().entries[0].dns
	for name, want := range map[string]placement{
		"a.matrix.example.org": {name: "_acme-challenge.a.matrix.example.org", zone: "matrix.example.org", how: "in the account"},
		"*.matrix.example.org": {name: "_acme-challenge.matrix.example.org", zone: "matrix.example.org", how: "in the account"},
		"auth.example.org":     {name: "_acme-challenge.auth.example.org", zone: "example.org", how: "in the account"},
		"example.org":          {name: "_acme-challenge.example.org", zone: "example.org", how: "in the account"},
	} {
		if got, err := e.place(t.Context(), name); err != nil || got != want {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
	for at, want := range map[placement]string{
		{name: "_acme-challenge.example.org", zone: "example.org"}: "_acme-challenge",
		{name: "x.example.net", zone: "x.example.net"}:             "",
	} {
		if got := at.sub(); got != want {
			t.Errorf("%+v: %q", at, got)
		}
	}
}

// DNS tells the zone when the account may not be asked, and never from an error.
func TestClimb(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{ovh: ovhtest.Options{Zones: []string{"example.org"}, ForeignZones: []string{"sub.example.org"}}})
	r := &resolver{servers: []string{w.ovh.Resolver()}, timeout: w.pace().dnsTimeout}
	for name, want := range map[string]string{
		"_acme-challenge.matrix.example.org":     "example.org",
		"_acme-challenge.matrix.sub.example.org": "sub.example.org",
		"example.org":                            "example.org",
	} {
		if zone, err := r.climb(t.Context(), name); err != nil || zone != want {
			t.Errorf("%s: %q %v", name, zone, err)
		}
	}
	// org is a zone of the world, and nobody's own.
	if zone, err := r.climb(t.Context(), "_acme-challenge.nobody.org"); err == nil || !strings.Contains(err.Error(), "DNS knows no zone that holds _acme-challenge.nobody.org") {
		t.Errorf("%q %v", zone, err)
	}
	w.ovh.SetResolver(ovhtest.ServFail)
	if zone, err := r.climb(t.Context(), "_acme-challenge.matrix.example.org"); err == nil {
		t.Errorf("%q came of an error", zone)
	}
	w.ovh.SetResolver(ovhtest.Fresh)
	if zone, err := r.climb(t.Context(), "_acme-challenge.matrix.example.org"); err != nil || zone != "example.org" {
		t.Errorf("the error is remembered: %q %v", zone, err)
	}
}

// Circles of CNAMEs end.
func TestCircle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	w.ovh.SetCNAME("_acme-challenge.matrix.example.org", "a.example.org")
	w.ovh.SetCNAME("a.example.org", "b.example.org")
	w.ovh.SetCNAME("b.example.org", "a.example.org")
	r := &resolver{servers: []string{w.ovh.Resolver()}, timeout: w.pace().dnsTimeout}
	if target, err := r.alias(t.Context(), "_acme-challenge.matrix.example.org"); err == nil {
		t.Errorf("%q", target)
	}
}
