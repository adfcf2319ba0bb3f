package ovhtest_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/miekg/dns"

	"vestibule/acme/ovhtest"
)

// A record is not seen before its zone is refreshed, nor gone before the next
// refresh.
func TestRefreshPublishes(t *testing.T) {
	s := start(t, ovhtest.Options{})
	c := callerOf(s)
	const name = "_acme-challenge.example.org."
	r := c.record(t, "example.org", "TXT", "_acme-challenge", "value")
	if r.Target != `"value"` || r.Text() != "value" || r.TTL != 60 || r.Zone != "example.org" {
		t.Errorf("got %+v", r)
	}
	before := ask(t, "udp", s.Resolver(), "example.org.", dns.TypeSOA).Answer[0].(*dns.SOA).Serial
	seen := func(want ...string) {
		t.Helper()
		for _, server := range append(s.NameServers(), s.Resolver()) {
			if got := texts(t, server, name); !slices.Equal(got, want) {
				t.Errorf("%s: got %q, want %q", server, got, want)
			}
		}
	}
	seen()
	c.refresh(t, "example.org")
	seen("value")
	after := ask(t, "tcp", s.NameServers()[0], "example.org.", dns.TypeSOA).Answer[0].(*dns.SOA).Serial
	if after != before+1 {
		t.Errorf("the serial went from %d to %d", before, after)
	}
	c.do(t, "DELETE", fmt.Sprintf("/domain/zone/example.org/record/%d", r.ID), "").want(t, http.StatusOK, "null")
	seen("value")
	c.refresh(t, "example.org")
	seen()
}
