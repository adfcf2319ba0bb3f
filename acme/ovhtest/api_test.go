package ovhtest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

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

func TestZones(t *testing.T) {
	s := start(t, ovhtest.Options{Zones: []string{"matrix.example.org", "example.org"}, ForeignZones: []string{"example.net"}})
	c := callerOf(s)
	c.do(t, "GET", "/domain/zone", "").want(t, http.StatusOK, `["example.org","matrix.example.org"]`)
	c.do(t, "GET", "/domain/zone/", "").want(t, http.StatusOK, `["example.org","matrix.example.org"]`)
	var zone struct {
		Name        string
		NameServers []string
	}
	a := c.do(t, "GET", "/domain/zone/example.org", "")
	if err := json.Unmarshal([]byte(a.body), &zone); err != nil {
		t.Fatal(err)
	}
	if zone.Name != "example.org" || !slices.Equal(zone.NameServers, []string{"ns1.ovh.net", "ns2.ovh.net"}) {
		t.Errorf("got %s", a.body)
	}
	serial := ask(t, "udp", s.Resolver(), "example.org.", dns.TypeSOA).Answer[0].(*dns.SOA).Serial
	c.do(t, "GET", "/domain/zone/example.org/soa", "").want(t, http.StatusOK, fmt.Sprintf(
		`{"email":"tech.ovh.net.","expire":3600000,"nxDomainTtl":60,"refresh":86400,"serial":%d,"server":"ns1.ovh.net.","ttl":3600}`, serial))

	for _, name := range []string{"example.net", "Example.org", "example.org.", "org", "ovh.net"} {
		for _, call := range []string{"GET ", "GET /record", "POST /refresh", "DELETE /record/1"} {
			method, path, _ := strings.Cut(call, " ")
			c.do(t, method, "/domain/zone/"+name+path, "").refused(t, 404, "Client::NotFound", "This service does not exist", "")
		}
	}
	c.do(t, "GET", "/domain/zone/example.org/unheard", "").refused(t, 404, "Client::NotFound", "Got an invalid (or empty) URL", "")
}

// A zone may come and go, and what it holds stays.
func TestZoneChangesHands(t *testing.T) {
	s := start(t, ovhtest.Options{ForeignZones: []string{"example.net"}})
	c := callerOf(s)
	s.AddRecord("a.example.net", "TXT", "value")
	s.AddZone("example.net")
	s.AddZone("example.com")
	c.do(t, "GET", "/domain/zone", "").want(t, http.StatusOK, `["example.com","example.net","example.org"]`)
	s.DropZone("example.net")
	c.do(t, "GET", "/domain/zone", "").want(t, http.StatusOK, `["example.com","example.org"]`)
	if got := texts(t, s.Resolver(), "a.example.net."); !slices.Equal(got, []string{"value"}) {
		t.Errorf("got %q", got)
	}
}

func TestRecords(t *testing.T) {
	s := start(t, ovhtest.Options{Zones: []string{"example.org", "example.com"}})
	c := callerOf(s)
	const path = "/domain/zone/example.org/record"
	apex := c.record(t, "example.org", "TXT", "", "v=spf1 -all")
	one := c.record(t, "example.org", "TXT", "_acme-challenge", "one")
	two := c.record(t, "example.org", "TXT", "_acme-challenge", "two")
	twin := c.record(t, "example.org", "TXT", "_acme-challenge", "two")
	host := c.record(t, "example.org", "A", "_acme-challenge", "192.0.2.1")
	c.record(t, "example.com", "TXT", "_acme-challenge", "elsewhere")
	if two.ID == twin.ID {
		t.Errorf("both have id %d", two.ID)
	}

	list := func(query string, want ...int64) {
		t.Helper()
		var got []int64
		a := c.do(t, "GET", path+query, "")
		if err := json.Unmarshal([]byte(a.body), &got); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %d, want %d", query, got, want)
		}
	}
	list("?fieldType=TXT", apex.ID, one.ID, two.ID, twin.ID)
	list("?fieldType=TXT&subDomain=_acme-challenge", one.ID, two.ID, twin.ID)
	list("?subDomain=_acme-challenge", one.ID, two.ID, twin.ID, host.ID)
	list("?fieldType=TXT&subDomain=", apex.ID)
	list("?subDomain=_acme")
	list("?fieldType=NS", s.Records("example.org")[0].ID, s.Records("example.org")[1].ID)
	c.do(t, "GET", path+"?fieldType=MX", "").want(t, http.StatusOK, "[]")

	c.do(t, "GET", fmt.Sprintf("%s/%d", path, one.ID), "").want(t, http.StatusOK, fmt.Sprintf(
		`{"id":%d,"zone":"example.org","fieldType":"TXT","subDomain":"_acme-challenge","target":"\"one\"","ttl":60}`, one.ID))
	c.do(t, "PUT", fmt.Sprintf("%s/%d", path, one.ID), `{"target":"other"}`).want(t, http.StatusOK, "null")
	c.do(t, "DELETE", fmt.Sprintf("%s/%d", path, two.ID), "").want(t, http.StatusOK, "null")
	gone := fmt.Sprintf("The requested object (id = %d) does not exist", two.ID)
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		c.do(t, method, fmt.Sprintf("%s/%d", path, two.ID), "").refused(t, 404, "Client::NotFound", gone, "")
	}
	want := []string{"v=spf1 -all", "other", "two", ""}
	var got []string
	for _, r := range s.Records("example.org")[2:] {
		got = append(got, r.Text())
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRecordsRefused(t *testing.T) {
	c := callerOf(start(t, ovhtest.Options{}))
	bad := func(body string) {
		t.Helper()
		a := c.do(t, "POST", "/domain/zone/example.org/record", body)
		if a.status != http.StatusBadRequest {
			t.Errorf("%s: got %d %s", body, a.status, a.body)
		}
	}
	bad(``)
	bad(`[]`)
	bad(`{"fieldType":"TXT","target":"a","unknown":1}`)
	bad(`{"fieldType":"WHAT","target":"a"}`)
	bad(`{"fieldType":"A","target":"example.org"}`)
	bad(`{"fieldType":"A","target":""}`)
	bad(`{"fieldType":"TXT","target":"a","ttl":59}`)
	bad(`{"fieldType":"TXT","target":"a\nb.example.org. 60 IN A 192.0.2.1"}`)
	bad(`{"fieldType":"TXT","subDomain":"a\nb","target":"a"}`)
	c.do(t, "DELETE", "/domain/zone/example.org/record/one", "").refused(t, 400, "Client::BadRequest", "Given data (one) is not valid for type long", "")
}

// A text is stored in quotes, in strings of 255 bytes, and read back whole.
func TestTextIsQuoted(t *testing.T) {
	s := start(t, ovhtest.Options{})
	c := callerOf(s)
	for i, text := range []string{"plain", "", `back\slash and "quotes"`, strings.Repeat("x", 600), "a;b c"} {
		sub := fmt.Sprint("n", i)
		r := c.record(t, "example.org", "TXT", sub, text)
		c.refresh(t, "example.org")
		if !strings.HasPrefix(r.Target, `"`) || !strings.HasSuffix(r.Target, `"`) {
			t.Errorf("%q is stored as %s", text, r.Target)
		}
		rr := ask(t, "tcp", s.Resolver(), sub+".example.org.", dns.TypeTXT).Answer[0].(*dns.TXT)
		got := strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(strings.Join(rr.Txt, ""))
		if got != text || r.Text() != text {
			t.Errorf("got %q and %q, want %q", got, r.Text(), text)
		}
	}
	if r := c.record(t, "example.org", "TXT", "quoted", `"as it is"`); r.Target != `"as it is"` {
		t.Errorf("got %s", r.Target)
	}
}

// What becomes public is the zone at the time of the refresh, a while later.
func TestPublishDelay(t *testing.T) {
	s := start(t, ovhtest.Options{PublishDelay: 300 * time.Millisecond})
	c := callerOf(s)
	c.record(t, "example.org", "TXT", "a", "before")
	asked := time.Now()
	c.refresh(t, "example.org")
	c.record(t, "example.org", "TXT", "a", "after")
	s.SetA("b.example.org", "192.0.2.1") // an edit does not lose what is on its way
	var got []string
	for len(got) == 0 && time.Since(asked) < 5*time.Second {
		time.Sleep(10 * time.Millisecond)
		got = texts(t, s.Resolver(), "a.example.org.")
	}
	if took := time.Since(asked); took < 300*time.Millisecond {
		t.Errorf("it took %v", took)
	}
	if !slices.Equal(got, []string{"before"}) {
		t.Errorf("got %q", got)
	}
	published := s.Published("example.org")
	if len(published) != 4 || len(s.Records("example.org")) != 5 {
		t.Errorf("published %+v of %+v", published, s.Records("example.org"))
	}
}

// Calls are told in order, with what was sent and answered.
func TestCalls(t *testing.T) {
	s := start(t, ovhtest.Options{})
	s.AddAccessToken("token")
	callerOf(s).do(t, "GET", "/domain/zone/example.org/record?fieldType=TXT", "")
	a := caller{server: s, token: "token"}.do(t, "POST", "/domain/zone/nowhere.example/record", "{}")
	calls := s.Calls()
	if len(calls) != 2 {
		t.Fatalf("got %+v", calls)
	}
	for i := range calls {
		if since := time.Since(calls[i].Time); since < 0 || since > time.Minute {
			t.Errorf("call %d was %v ago", i, since)
		}
		calls[i].Time = time.Time{}
	}
	want := ovhtest.Call{Method: "GET", Path: "/domain/zone/example.org/record?fieldType=TXT", Credential: consumerKey, Status: 200, QueryID: calls[0].QueryID}
	if calls[0] != want {
		t.Errorf("got %+v, want %+v", calls[0], want)
	}
	want = ovhtest.Call{Method: "POST", Path: "/domain/zone/nowhere.example/record", Body: "{}", Credential: "token", Status: 404, QueryID: a.header.Get("X-Ovh-QueryID")}
	if calls[1] != want {
		t.Errorf("got %+v, want %+v", calls[1], want)
	}
	if got := len(s.CallsTo("POST", "/record")); got != 1 {
		t.Errorf("got %d calls", got)
	}
}
