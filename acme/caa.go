package acme

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// caaQuery is what an authority asks of CAA records (RFC 8659) before it issues.
type caaQuery struct {
	name       string // may be a wildcard
	identities []string
	method     string // "dns-01" or "http-01"
	account    string // URI, "" before there is one
}

// checkCAA refuses what the authority would refuse: it would cost an order. CAA
// records of the name count, else of its parent, and so on; the first set found is
// the only one (RFC 8659, section 3).
func (r *resolver) checkCAA(ctx context.Context, query caaQuery) error {
	if len(query.identities) == 0 {
		return nil // the authority does not say who it is, so nothing can be compared
	}
	for owner := strings.TrimPrefix(query.name, "*."); owner != ""; {
		reply, err := r.lookup(ctx, owner, dns.TypeCAA)
		if err != nil {
			return err
		}
		if set := records[*dns.CAA](reply); len(set) > 0 {
			return query.judge(owner, set)
		}
		_, owner, _ = strings.Cut(owner, ".")
	}
	return nil
}

// judge applies a set of records. A wildcard goes by issuewild if there is one;
// without any record of its tag everything is allowed (sections 4.2 and 4.3).
func (q caaQuery) judge(owner string, set []*dns.CAA) error {
	tag := "issue"
	if strings.HasPrefix(q.name, "*.") && hasTag(set, "issuewild") {
		tag = "issuewild"
	}
	for _, record := range set {
		known := slices.Contains([]string{"issue", "issuewild", "iodef", "issuemail", "issuevmc", "contactemail", "contactphone"}, strings.ToLower(record.Tag))
		if record.Flag&128 != 0 && !known {
			return newFault("remove that record", "a CAA record of %s has the critical tag %q, which every authority must refuse", owner, record.Tag)
		}
	}
	if !hasTag(set, tag) {
		return nil
	}
	var values []string
	for _, record := range set {
		if !strings.EqualFold(record.Tag, tag) {
			continue
		}
		if q.allowed(record.Value) {
			return nil
		}
		values = append(values, fmt.Sprintf("%q", record.Value))
	}
	return newFault(fmt.Sprintf("add the record: %s. CAA 0 %s %q, or remove those that are there", owner, tag, q.identities[0]),
		"the CAA records of %s forbid this authority to issue for %s: %s %s", owner, q.name, tag, strings.Join(values, ", "))
}

func hasTag(set []*dns.CAA, tag string) bool {
	return slices.ContainsFunc(set, func(r *dns.CAA) bool { return strings.EqualFold(r.Tag, tag) })
}

// allowed reads a value such as "letsencrypt.org; validationmethods=dns-01". The
// parameters are those of RFC 8657; others are the authority's own affair.
func (q caaQuery) allowed(value string) bool {
	domain, parameters, _ := strings.Cut(value, ";")
	if !slices.Contains(q.identities, canonical(domain)) {
		return false
	}
	for parameter := range strings.SplitSeq(parameters, ";") {
		key, text, _ := strings.Cut(strings.TrimSpace(parameter), "=")
		text = strings.TrimSpace(text)
		switch strings.TrimSpace(key) {
		case "validationmethods":
			if !slices.Contains(strings.Split(text, ","), q.method) {
				return false
			}
		case "accounturi":
			if q.account != "" && text != q.account {
				return false
			}
		}
	}
	return true
}
