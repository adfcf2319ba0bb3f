package acme

import (
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// caa parses records such as `0 issue "letsencrypt.org"`, separated by newlines.
func caa(t *testing.T, text string) []*dns.CAA {
	t.Helper()
	var set []*dns.CAA
	for line := range strings.Lines(text) {
		rr, err := dns.NewRR("example.org. CAA " + strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		set = append(set, rr.(*dns.CAA))
	}
	return set
}

func TestCAA(t *testing.T) {
	query := caaQuery{name: "example.org", identities: []string{"letsencrypt.org", "other.example"}, method: "dns-01", account: "https://ca/acct/1"}
	star := query
	star.name = "*.example.org"
	for _, c := range []struct {
		query caaQuery
		text  string
		fine  bool
	}{
		{query, `0 issue "letsencrypt.org"`, true},
		{query, `0 issue "LetsEncrypt.org"`, true},
		{query, `0 ISSUE " letsencrypt.org ; "`, true},
		{query, `0 issue ";"`, false},
		{query, "0 issue \"pki.example\"\n0 issue \"other.example\"", true},
		{query, `0 issue "letsencrypt.org.example"`, false},
		{query, `0 iodef "mailto:a@example.org"`, true}, // says nothing of issuing
		{query, `0 issuewild ";"`, true},                // not a wildcard
		{star, `0 issuewild ";"`, false},                // nobody
		{star, "0 issue \"letsencrypt.org\"", true},     // without issuewild, issue counts
		{star, "0 issue \";\"\n0 issuewild \"other.example\"", true},
		{query, `128 future "x"`, false}, // critical and unknown
		{query, `0 future "x"`, true},
		{query, `0 issue "letsencrypt.org; validationmethods=dns-01"`, true},
		{query, `0 issue "letsencrypt.org; validationmethods=http-01,dns-01"`, true},
		{query, `0 issue "letsencrypt.org; validationmethods=http-01"`, false},
		{query, `0 issue "letsencrypt.org; accounturi=https://ca/acct/1"`, true},
		{query, `0 issue "letsencrypt.org; accounturi=https://ca/acct/2"`, false},
	} {
		if err := c.query.judge("example.org", caa(t, c.text)); (err == nil) != c.fine {
			t.Errorf("%s for %s: %v", c.text, c.query.name, err)
		}
	}
	query.account = ""
	if err := query.judge("example.org", caa(t, `0 issue "letsencrypt.org; accounturi=https://ca/acct/2"`)); err != nil {
		t.Errorf("before there is an account, it is not known to be another: %v", err)
	}
}

// The closest set counts, and a name's own hides its parent's.
func TestCAAClimbs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	r := &resolver{servers: []string{w.ovh.Resolver()}, timeout: w.pace().dnsTimeout}
	query := caaQuery{name: "a.matrix.example.org", identities: []string{"pebble.letsencrypt.org"}}
	if err := r.checkCAA(t.Context(), query); err != nil {
		t.Errorf("no records: %v", err)
	}
	w.ovh.SetCAA("example.org", `0 issue ";"`)
	if err := r.checkCAA(t.Context(), query); err == nil {
		t.Error("the parent's parent is not asked")
	}
	w.ovh.SetCAA("matrix.example.org", `0 issue "pebble.letsencrypt.org"`)
	if err := r.checkCAA(t.Context(), query); err != nil {
		t.Errorf("the parent does not count: %v", err)
	}
	query.identities = nil
	w.ovh.SetCAA("matrix.example.org", `0 issue ";"`)
	if err := r.checkCAA(t.Context(), query); err != nil {
		t.Errorf("an authority without identities cannot be compared: %v", err)
	}
}

// FuzzCAAValue: whatever stands in a record, only an authority it names may issue.
func FuzzCAAValue(f *testing.F) {
	for _, value := range []string{"letsencrypt.org", ";", "letsencrypt.org; validationmethods=dns-01; x=1", " LETSENCRYPT.org. ;;=;", "=;letsencrypt.org"} {
		f.Add(value)
	}
	query := caaQuery{name: "example.org", identities: []string{"letsencrypt.org"}, method: "dns-01"}
	f.Fuzz(func(t *testing.T, value string) {
		domain, parameters, _ := strings.Cut(value, ";")
		named := canonical(domain) == "letsencrypt.org"
		if allowed := query.allowed(value); allowed && !named {
			t.Errorf("%q allows it", value)
		} else if !allowed && named && !strings.Contains(parameters, "validationmethods") {
			t.Errorf("%q forbids it", value)
		}
	})
}
