package ovhtest

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// Record is a line of a zone, as the API shows it.
type Record struct {
	ID        int64  `json:"id"`
	Zone      string `json:"zone"`
	FieldType string `json:"fieldType"` // "TXT"
	SubDomain string `json:"subDomain"` // relative to Zone, "" for the apex
	// Target is the value as a zone file has it: a TXT is in quotes, and a name
	// without a dot at its end is relative to Zone.
	Target string `json:"target"`
	TTL    int64  `json:"ttl"` // seconds; 0 is the zone's default
}

const (
	defaultTTL = 3600
	minimumTTL = 60
)

// fieldTypes are those of domain.zone.RecordEnum that have a type of their own
// in the DNS.
var fieldTypes = []string{"A", "AAAA", "CAA", "CNAME", "LOC", "MX", "NAPTR", "NS", "PTR", "SRV", "SSHFP", "TLSA", "TXT"}

// Name is the record's absolute name, in lower case and with its dot.
func (r Record) Name() string { return absolute(r.SubDomain, r.Zone) }

// Text is the value of a TXT without quotes and with its parts joined, else "".
func (r Record) Text() string {
	rr, err := r.rr()
	if err != nil {
		return ""
	}
	txt, ok := rr.(*dns.TXT)
	if !ok {
		return ""
	}
	return escapes.ReplaceAllStringFunc(strings.Join(txt.Txt, ""), unescapeText)
}

// escapes are those of a zone file (RFC 1035, 5.1).
var escapes = regexp.MustCompile(`\\([0-9]{3}|.)`)

func unescapeText(escape string) string {
	if code, err := strconv.ParseUint(escape[1:], 10, 8); err == nil && len(escape) == 4 {
		return string([]byte{byte(code)})
	}
	return escape[1:]
}

// normalize puts the record as OVHcloud stores it. It fails on what could not
// be published.
func (r Record) normalize() (Record, error) {
	if !slices.Contains(fieldTypes, r.FieldType) {
		return r, fmt.Errorf("unknown fieldType %q", r.FieldType)
	}
	if r.TTL != 0 && r.TTL < minimumTTL {
		return r, fmt.Errorf("ttl %d is lower than %d", r.TTL, minimumTTL)
	}
	if r.FieldType == "TXT" && !strings.HasPrefix(r.Target, `"`) {
		r.Target = quote(r.Target)
	}
	_, err := r.rr()
	return r, err
}

// quote splits a text into the strings of at most 255 bytes that a TXT is made
// of (RFC 1035, 3.3.14).
func quote(text string) string {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	parts := []string{}
	for len(text) > 255 {
		parts = append(parts, `"`+escape.Replace(text[:255])+`"`)
		text = text[255:]
	}
	return strings.Join(append(parts, `"`+escape.Replace(text)+`"`), " ")
}

// rr is the record as name servers send it.
func (r Record) rr() (dns.RR, error) {
	if strings.ContainsAny(r.SubDomain+r.Target, "\r\n") {
		return nil, errors.New("a record is one line")
	}
	ttl := r.TTL
	if ttl == 0 {
		ttl = defaultTTL
	}
	line := fmt.Sprintf("%s %d IN %s %s\n", r.Name(), ttl, r.FieldType, r.Target)
	parser := dns.NewZoneParser(strings.NewReader(line), dns.Fqdn(r.Zone), "")
	rr, ok := parser.Next()
	if err := parser.Err(); err != nil {
		return nil, err
	}
	if !ok {
		return nil, errors.New("the record is empty")
	}
	return rr, nil
}

// absolute is the name of a subdomain, in lower case and with its dot.
func absolute(subDomain, zone string) string {
	return strings.ToLower(dns.Fqdn(strings.TrimPrefix(subDomain+"."+zone, ".")))
}
