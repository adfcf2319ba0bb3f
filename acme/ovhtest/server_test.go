package ovhtest_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"vestibule/acme/ovhtest"
)

// The laboratory says where everything listens.
func TestFixedAddresses(t *testing.T) {
	port := freePort(t)
	s := start(t, ovhtest.Options{
		Address:             net.JoinHostPort("127.0.0.60", strconv.Itoa(port)),
		NameServerAddresses: []string{"127.0.0.61", "127.0.0.62"},
		ResolverAddress:     "127.0.0.63",
		DNSPort:             port,
	})
	got := append(s.NameServers(), s.Resolver(), s.URL, s.TokenURL)
	want := fmt.Sprintf("[127.0.0.61:%d 127.0.0.62:%[1]d 127.0.0.63:%[1]d http://127.0.0.60:%[1]d/1.0 http://127.0.0.60:%[1]d/auth/oauth2/token]", port)
	if fmt.Sprint(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if _, err := ovhtest.New(ovhtest.Options{DNSPort: port, ResolverAddress: "127.0.0.63"}); err == nil || !strings.Contains(err.Error(), "starting the name servers: ") {
		t.Errorf("a port taken: %v", err)
	}
	if _, err := ovhtest.New(ovhtest.Options{Address: "127.0.0.60:" + strconv.Itoa(port)}); err == nil || !strings.Contains(err.Error(), "starting the API: ") {
		t.Errorf("an address taken: %v", err)
	}
	if _, err := ovhtest.New(ovhtest.Options{NameServerAddresses: []string{"localhost"}}); err == nil {
		t.Error("a name as address is taken")
	}
}

// freePort is free for TCP on every loopback address of the test.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.63:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestBothFamilies(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 on loopback: ", err)
	}
	l.Close()
	s := start(t, ovhtest.Options{NameServerAddresses: []string{"127.0.0.1", "::1"}})
	if got := show(ask(t, "udp", s.Resolver(), "ns2.ovh.net.", dns.TypeAAAA)); got != "NOERROR ns2.ovh.net. AAAA ::1" {
		t.Errorf("got %s", got)
	}
	if got := show(ask(t, "udp", s.NameServers()[1], "example.org.", dns.TypeSOA)); got != "NOERROR AA example.org. SOA ns1.ovh.net." {
		t.Errorf("got %s", got)
	}
}

// Behind TLS, what was signed begins with https.
func TestHandlerBehindTLS(t *testing.T) {
	s := start(t, ovhtest.Options{})
	secure := httptest.NewTLSServer(s.Handler())
	defer secure.Close()
	now := time.Now().Unix()
	url := secure.URL + "/1.0/domain/zone"
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Ovh-Application", applicationKey)
	r.Header.Set("X-Ovh-Consumer", consumerKey)
	r.Header.Set("X-Ovh-Timestamp", fmt.Sprint(now))
	r.Header.Set("X-Ovh-Signature", ovhtest.Signature(applicationSecret, consumerKey, "GET", url, "", now))
	response, err := secure.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("got %s", response.Status)
	}
}

// Many at once lose nothing; the race detector watches.
func TestConcurrency(t *testing.T) {
	s := start(t, ovhtest.Options{})
	c := callerOf(s)
	const count = 20
	var all sync.WaitGroup
	for i := range count {
		all.Go(func() {
			c.record(t, "example.org", "TXT", "a", fmt.Sprint(i))
			c.refresh(t, "example.org")
			texts(t, s.NameServers()[i%2], "a.example.org.")
			s.AddRecord("b.example.org", "TXT", fmt.Sprint(i))
			s.SetNameServerDelay(i%2, 0)
			s.Calls()
			s.Queries()
		})
	}
	all.Wait()
	for name, records := range map[string][]ovhtest.Record{"working": s.Records("example.org"), "published": s.Published("example.org")} {
		if len(records) != 2+2*count {
			t.Errorf("%s: %d records", name, len(records))
		}
	}
}
