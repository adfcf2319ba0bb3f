package configs

import (
	"crypto/tls"
	"crypto/x509"
	"maps"
	"net"
	"slices"
	"strings"
	"time"
)

// ACME is the account at a certificate authority and the ways to prove control.
type ACME struct {
	// Email names the account; the authority may write there. Required.
	Email string `yaml:"email"`
	// Directory is the authority's URL. Optional. Defaults to Let's Encrypt's.
	Directory string `yaml:"directory"`
	// Staging uses Let's Encrypt's test authority instead, whose certificates
	// nobody believes and whose limits are wide. Optional. Defaults to false.
	Staging bool `yaml:"staging"`
	// RootsFile holds the roots of a private authority, PEM, to verify Directory
	// by. Optional. Defaults to the system's roots.
	RootsFile string `yaml:"roots_file"`
	// Profile asks for a kind of certificate, by a word of the authority's, such
	// as "shortlived" (draft-aaron-acme-profiles). Optional.
	Profile string `yaml:"profile"`
	// Challenges are the ways to prove control over names; the first whose zone
	// holds the name is taken. At least one is required.
	Challenges []Challenge `yaml:"challenges"`

	Place Place `yaml:"-"`
}

// Challenge is one way to prove control over the names of a zone. Exactly one
// of dns01 and http01 is required.
type Challenge struct {
	// Zone is a domain, such as "example.com", for which this is the way: for
	// itself and all below it. With dns01 it is a zone of the account's, too.
	// Optional. Without it, the way for all names.
	Zone string `yaml:"zone"`
	// DNS01 proves control by TXT records. Wildcards can be proven in no other
	// way.
	DNS01 *DNS01 `yaml:"dns01"`
	// HTTP01 proves control on the http entrypoint, which the name must point to
	// and which the authority reaches on port 80. Write {}.
	HTTP01 *HTTP01 `yaml:"http01"`

	Place Place `yaml:"-"`
}

// HTTP01 answers challenges on the http entrypoint.
type HTTP01 struct{}

// DNS01 answers challenges with TXT records.
type DNS01 struct {
	// OVH publishes the records. Required.
	OVH *OVH `yaml:"ovh"`
	// Delegate maps the name of a record to where its CNAME leads, such as
	// "_acme-challenge.example.com" to "x.other.example", which is written
	// instead. Optional.
	Delegate map[string]string `yaml:"delegate"`
	// Resolvers are asked instead of the system's, such as "192.0.2.53:53".
	// Optional.
	Resolvers []string `yaml:"resolvers"`
	// PropagationTimeout is how long a record may take until every name server
	// of its zone has it, from 30s to 2h. Optional. Defaults to 15m.
	PropagationTimeout Duration `yaml:"propagation_timeout"`
}

// The directories of Let's Encrypt (letsencrypt.org, "ACME Protocol Updates" and
// "Staging Environment").
const (
	letsEncrypt        = "https://acme-v02.api.letsencrypt.org/directory"
	letsEncryptStaging = "https://acme-staging-v02.api.letsencrypt.org/directory"
)

// DirectoryURL is where the authority is asked for certificates.
func (a *ACME) DirectoryURL() string {
	switch {
	case a.Staging:
		return letsEncryptStaging
	case a.Directory == "":
		return letsEncrypt
	}
	return a.Directory
}

// Challenge is how control over a name, a wildcard or an address is proven: the
// first entry whose zone holds it. It is nil when there is none.
func (c *Config) Challenge(name string) *Challenge {
	if acme := c.Certificates.ACME; acme != nil {
		if i := acme.challenge(name); i >= 0 {
			return &acme.Challenges[i]
		}
	}
	return nil
}

// challenge gives the place of the first entry that holds a name, or -1.
func (a *ACME) challenge(name string) int {
	return slices.IndexFunc(a.Challenges, func(c Challenge) bool { return c.holds(name) })
}

// holds tells whether a name lies in the zone; without a zone, every name does.
func (c *Challenge) holds(name string) bool {
	name = strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(name, "*."), "."))
	return c.Zone == "" || name == c.Zone || strings.HasSuffix(name, "."+c.Zone)
}

func (a *ACME) normalise() {
	for i := range a.Challenges {
		challenge := &a.Challenges[i]
		lower(&challenge.Zone)
		if challenge.DNS01 != nil {
			challenge.DNS01.normalise()
		}
	}
}

// normalise writes the names in lower case, as DNS compares them.
func (d *DNS01) normalise() {
	delegate := make(map[string]string, len(d.Delegate))
	for record, target := range d.Delegate {
		delegate[strings.ToLower(record)] = strings.ToLower(target)
	}
	d.Delegate = delegate
}

func (a *ACME) check(at spot, issuer string) {
	at.require("email")
	at.key("email").valid(a.Email, emailMistake)
	directory := at.key("directory")
	directory.valid(a.Directory, directoryMistake)
	if directory.written() && a.Staging {
		directory.fail("cannot go together with staging: true", "keep one of them")
	}
	if roots := at.key("roots_file"); roots.written() {
		a.RootsFile = roots.resolve(a.RootsFile)
		roots.checkRoots(a.RootsFile)
	}
	challenges := at.key("challenges")
	if issuer == "acme" && len(a.Challenges) == 0 {
		challenges.fail("at least one is required", "write [{ dns01: { ovh: { … } } }] or [{ http01: {} }]")
	}
	for i := range a.Challenges {
		a.Challenges[i].check(challenges.index(i))
		a.checkReached(challenges.index(i), i)
	}
}

// checkReached reports an entry that is never come to: the first that fits a
// name is taken.
func (a *ACME) checkReached(at spot, i int) {
	for j, earlier := range a.Challenges[:i] {
		if earlier.Zone == "" || a.Challenges[i].Zone != "" && earlier.holds(a.Challenges[i].Zone) {
			at.fail("is never used: "+indexed("challenges", j)+" fits the same names, and the first that fits is taken",
				"write the narrower zone first")
			return
		}
	}
}

// emailMistake catches slips of the keyboard; whether mail arrives is not for
// us to find out.
func emailMistake(email string) (message, hint string) {
	if address, found := strings.CutPrefix(email, "mailto:"); found {
		return quote(email) + " has a scheme", "write " + quote(address)
	}
	user, domain, found := strings.Cut(email, "@")
	mistake, _ := hostMistake(domain)
	if !found || user == "" || mistake != "" || !strings.Contains(domain, ".") ||
		strings.ContainsFunc(user, func(r rune) bool { return r <= ' ' || strings.ContainsRune(`<>,;:"()`, r) }) {
		return quote(email) + " is not an e-mail address", `write "ops@example.com"`
	}
	return "", ""
}

// directoryMistake says what is wrong with an authority's URL, which is always
// https (RFC 8555, section 6.1).
func directoryMistake(text string) (message, hint string) {
	if message, hint = urlMistake(text); message != "" {
		return message, hint
	}
	if rest, found := strings.CutPrefix(text, "http://"); found {
		return quote(text) + " is not encrypted", "write " + quote("https://"+rest)
	}
	return "", ""
}

func (c *Challenge) check(at spot) {
	at.key("zone").valid(c.Zone, zoneMistake)
	dns01, http01 := at.key("dns01"), at.key("http01")
	switch {
	case dns01.written() && http01.written():
		http01.fail("cannot go together with dns01", "write an entry for each")
	case !dns01.written() && !http01.written():
		at.fail("needs dns01 or http01", "write dns01: { ovh: { … } } or http01: {}")
	}
	if c.DNS01 != nil {
		c.DNS01.check(dns01)
	}
}

// zoneMistake says what is wrong with a DNS zone.
func zoneMistake(zone string) (message, hint string) {
	if rest, found := strings.CutPrefix(zone, "*."); found {
		return quote(zone) + " has a wildcard", "write " + quote(rest) + ", which holds all names below it"
	}
	if isIP(zone) {
		return quote(zone) + " is an address, not a zone", ""
	}
	return hostMistake(zone)
}

func (d *DNS01) check(at spot) {
	switch {
	case d.OVH != nil:
		d.OVH.check(at.key("ovh"))
	case !at.key("ovh").written():
		at.key("ovh").fail("is required", "write ovh: { endpoint: ovh-eu, … }")
	}
	d.checkDelegate(at.key("delegate"))
	for i, resolver := range d.Resolvers {
		at.key("resolvers").index(i).failIf(resolverMistake(resolver))
	}
	const least, most = 30 * time.Second, 2 * time.Hour
	if timeout := at.key("propagation_timeout"); timeout.written() && (d.PropagationTimeout.Std() < least || d.PropagationTimeout.Std() > most) {
		timeout.fail(quote(timeout.node.value)+" is out of range", "write a duration from 30s to 2h")
	}
}

const challengeLabel = "_acme-challenge."

func (d *DNS01) checkDelegate(at spot) {
	if !at.written() || at.node.kind != mappingNode {
		return
	}
	for _, f := range at.node.fields {
		record := at.key(f.key)
		record.failIf(recordMistake(strings.ToLower(f.key)))
		record.valid(f.value.value, func(target string) (string, string) {
			if strings.EqualFold(target, f.key) {
				return quote(target) + " leads to itself", "write where the CNAME leads"
			}
			return recordNameMistake(target)
		})
	}
}

// recordMistake says what is wrong with the name of the record that proves
// control over a name (RFC 8555, section 8.4). That of a wildcard has no star.
func recordMistake(record string) (message, hint string) {
	name, found := strings.CutPrefix(record, challengeLabel)
	if bare, wildcard := strings.CutPrefix(name, "*."); wildcard {
		return quote(record) + " has a wildcard", "write " + quote(challengeLabel+bare)
	}
	if !found {
		return quote(record) + " does not begin with " + challengeLabel, "write " + quote(challengeLabel+name)
	}
	return recordNameMistake(record)
}

// recordNameMistake is hostMistake for names of records, in which labels may
// begin with an underscore (RFC 8552).
func recordNameMistake(name string) (message, hint string) {
	message, hint = hostMistake(strings.ReplaceAll(name, "_", "x"))
	if message == "" || name == "" {
		return message, hint
	}
	if trimmed := strings.TrimSuffix(name, "."); trimmed != name {
		return quote(name) + " ends with a dot", "write " + quote(trimmed)
	}
	return quote(name) + " is not the name of a record", "a name holds letters, digits, hyphens, underscores and dots"
}

// resolverMistake says what is wrong with a DNS server's address.
func resolverMistake(resolver string) (message, hint string) {
	if scheme, _, found := strings.Cut(resolver, "://"); found {
		return quote(resolver) + " has a scheme: " + scheme, `write the address and the port alone, as in "192.0.2.53:53"`
	}
	host, port, err := net.SplitHostPort(resolver)
	if err != nil {
		host = strings.Trim(resolver, "[]")
		if mistake, _ := hostMistake(host); mistake == "" || isIP(host) {
			return quote(resolver) + " has no port", "write " + quote(net.JoinHostPort(host, "53"))
		}
		return quote(resolver) + " is not an address", `write "192.0.2.53:53"`
	}
	if _, ok := parsePort(port, 1); !ok {
		return quote(port) + " is not a port", "write a number from 1 to 65535"
	}
	if isIP(host) {
		return "", ""
	}
	return hostMistake(host)
}

// checkProofs wants a way to prove control over every name that the authority
// is to be asked for, one that can work.
func (c *Config) checkProofs(at spot) {
	acme := at.key("acme")
	if c.Certificates.ACME == nil || acme.mistaken() {
		return
	}
	challenges := acme.key("challenges")
	c.checkHTTP01(challenges)
	c.checkDelegates(challenges)
	if c.Certificates.Issuer != "acme" {
		return
	}
	for _, name := range c.asked() {
		c.checkProof(challenges, name)
	}
}

func (c *Config) checkProof(at spot, name string) {
	i := c.Certificates.ACME.challenge(name)
	if i < 0 {
		at.fail("no entry fits "+name, "add one whose zone holds it, or one without zone for all names")
		return
	}
	challenge := c.Certificates.ACME.Challenges[i]
	switch {
	case challenge.HTTP01 != nil && strings.HasPrefix(name, "*."):
		at.index(i).fail(name+" cannot be proven by http01", "write a dns01 entry before this one")
	case challenge.DNS01 != nil && isIP(name):
		at.index(i).fail(name+" is an address, which no DNS zone holds", "write an http01 entry before this one")
	}
}

// asked lists the names that no certificate file holds. It is empty as long as a
// file is missing here: that one may hold any name.
func (c *Config) asked() []string {
	var leaves []*x509.Certificate
	for _, file := range c.Certificates.Files {
		pair, err := tls.LoadX509KeyPair(file.Certificate, file.Key)
		if err != nil {
			return nil
		}
		leaves = append(leaves, pair.Leaf)
	}
	return slices.DeleteFunc(c.CertificateNames(), func(name string) bool {
		if mistake, _ := hostMistake(strings.TrimPrefix(name, "*.")); mistake != "" && !isIP(name) {
			return true // reported where it is written
		}
		return slices.ContainsFunc(leaves, func(leaf *x509.Certificate) bool { return leafHolds(leaf, name) })
	})
}

// leafHolds tells whether a certificate holds for a name; for a wildcard, if it
// names the same one.
func leafHolds(leaf *x509.Certificate, name string) bool {
	if strings.HasPrefix(name, "*.") {
		return slices.ContainsFunc(leaf.DNSNames, func(held string) bool { return strings.EqualFold(held, name) })
	}
	return leaf.VerifyHostname(name) == nil
}

// checkHTTP01 reports challenges that nobody would answer.
func (c *Config) checkHTTP01(at spot) {
	for i, challenge := range c.Certificates.ACME.Challenges {
		if challenge.HTTP01 != nil && c.Entrypoints.HTTP.off() {
			at.index(i).key("http01").fail("is answered on the entrypoint http, which has no address",
				"write entrypoints: { http: { addresses: [\":80\"] } }")
		}
	}
}

// checkDelegates warns of a delegation that is for no name of ours: most likely
// a slip of the keyboard.
func (c *Config) checkDelegates(at spot) {
	var records []string
	for _, name := range c.CertificateNames() {
		records = append(records, challengeLabel+strings.TrimPrefix(name, "*."))
	}
	for i, challenge := range c.Certificates.ACME.Challenges {
		if challenge.DNS01 == nil {
			continue
		}
		for _, record := range slices.Sorted(maps.Keys(challenge.DNS01.Delegate)) {
			if slices.Contains(records, record) {
				continue
			}
			hint := ""
			if meant := nearest(record, records); meant != "" {
				hint = "did you mean " + quote(meant) + "?"
			}
			at.index(i).key("dns01").key("delegate").key(record).warn("is for a name that needs no certificate", hint)
		}
	}
}
