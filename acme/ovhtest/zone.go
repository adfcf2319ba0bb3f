package ovhtest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// zone is a zone of the account, or a foreign one. Server.mu guards it.
type zone struct {
	name    string // lower case, no trailing dot
	foreign bool   // not in the account
	working []Record
	// publications are what was published, oldest first; the last whose time
	// has come is shown.
	publications []publication
	// delegation are the name servers the parent zone names, if not ours; the
	// world then sees what the zone held at the time it moved.
	delegation []string
	moved      time.Time
}

// publication is a copy of a zone. It never changes.
type publication struct {
	at      time.Time
	serial  uint32
	records []Record
	rrs     []dns.RR
}

// firstSerial follows OVHcloud's habit of dates.
const firstSerial = 2026010100

// infrastructure is the zone of the name servers' own names, as at OVHcloud.
const infrastructure = "ovh.net"

func (s *Server) addZones(o Options) {
	for _, name := range o.Zones {
		s.addZone(name, false)
	}
	for _, name := range append(o.ForeignZones, infrastructure) {
		if s.zones[name] == nil {
			s.addZone(name, true)
		}
	}
	for i, n := range s.nameServers {
		s.AddRecord(nameServerName(i), addressType(n.address), n.address.String())
	}
}

func nameServerName(i int) string { return fmt.Sprintf("ns%d.%s", i+1, infrastructure) }

// AddZone puts a zone into the account: a new one, or one that was foreign with
// what it holds.
func (s *Server) AddZone(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if z := s.zones[name]; z != nil {
		z.foreign = false
		return
	}
	s.addZone(name, false)
}

// DropZone takes a zone out of the account. The name servers go on with it, as
// if it had become another customer's.
func (s *Server) DropZone(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mustZone(name).foreign = true
}

// addZone makes a zone that holds its NS records and nothing else, published.
func (s *Server) addZone(name string, foreign bool) {
	z := &zone{name: name, foreign: foreign}
	s.zones[name] = z
	for i := range s.nameServers {
		z.working = append(z.working, s.newRecord(Record{Zone: name, FieldType: "NS", Target: nameServerName(i) + "."}))
	}
	z.publish(time.Now(), z.working)
}

func (s *Server) newRecord(r Record) Record {
	s.lastID++
	r.ID = s.lastID
	return r
}

// publish lets the records be seen from the given time on.
func (z *zone) publish(at time.Time, records []Record) {
	p := publication{at: at, serial: z.serial() + 1, records: slices.Clone(records)}
	for _, r := range records {
		if rr, err := r.rr(); err == nil { // normalize has refused the others
			p.rrs = append(p.rrs, rr)
		}
	}
	z.publications = append(z.publications, p)
}

func (z *zone) serial() uint32 {
	if len(z.publications) == 0 {
		return firstSerial
	}
	return z.publications[len(z.publications)-1].serial
}

// published is what the zone showed at a time.
func (z *zone) published(at time.Time) publication {
	for _, p := range slices.Backward(z.publications) {
		if !p.at.After(at) {
			return p
		}
	}
	return z.publications[0]
}

// edit changes the zone as it works and as it is published, now and later.
func (z *zone) edit(change func([]Record) []Record) {
	now := time.Now()
	z.working = change(z.working)
	pending := slices.DeleteFunc(slices.Clone(z.publications), func(p publication) bool { return !p.at.After(now) })
	z.publish(now, change(slices.Clone(z.published(now).records)))
	for _, p := range pending {
		z.publish(p.at, change(slices.Clone(p.records)))
	}
}

// find is the index of the working record with that id, -1 without one.
func (z *zone) find(id int64) int {
	return slices.IndexFunc(z.working, func(r Record) bool { return r.ID == id })
}

// zoneOf is the zone with the longest name that holds an absolute name, nil if
// there is none.
func (s *Server) zoneOf(name string) *zone {
	for off, end := 0, false; !end; off, end = dns.NextLabel(name, off) {
		if z := s.zones[strings.TrimSuffix(name[off:], ".")]; z != nil {
			return z
		}
	}
	return nil
}

// AddRecord adds to a zone, working and published, as if it had always been
// there. The value is as in a zone file; a name in it is absolute whether or
// not it ends in a dot. It panics when no zone holds the name or the value
// does not parse, as the other methods that change zones do.
func (s *Server) AddRecord(name, fieldType, value string) {
	s.setRecords(name, fieldType, false, value)
}

// SetCNAME makes the name an alias, of nothing if target is "".
func (s *Server) SetCNAME(name, target string) {
	if target == "" {
		s.setRecords(name, "CNAME", true)
		return
	}
	s.setRecords(name, "CNAME", true, target)
}

// SetCAA replaces the name's CAA records by the given ones, such as
// `0 issue "letsencrypt.org"`.
func (s *Server) SetCAA(name string, values ...string) {
	s.setRecords(name, "CAA", true, values...)
}

// SetA replaces the name's addresses, of both families, by the given ones.
func (s *Server) SetA(name string, addresses ...string) {
	s.setRecords(name, "A", true)
	s.setRecords(name, "AAAA", true)
	for _, address := range addresses {
		fieldType := "A"
		if strings.Contains(address, ":") {
			fieldType = "AAAA"
		}
		s.setRecords(name, fieldType, false, address)
	}
}

// SetNS sets the name servers to which the zone is delegated. The account goes
// on showing ours. Without one of ours among them the resolver sees nothing
// that is published from now on; with no host at all the zone is ours again.
func (s *Server) SetNS(zoneName string, hosts ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	z := s.mustZone(zoneName)
	z.delegation, z.moved = nil, time.Time{}
	for _, host := range hosts {
		z.delegation = append(z.delegation, dns.Fqdn(strings.ToLower(host)))
	}
	ours := slices.ContainsFunc(z.delegation, s.ours)
	if len(hosts) > 0 && !ours {
		z.moved = time.Now()
	}
}

// ours tells whether a host is one of the name servers.
func (s *Server) ours(host string) bool {
	for i := range s.nameServers {
		if host == nameServerName(i)+"." {
			return true
		}
	}
	return false
}

// setRecords adds values to a name, in place of those of the type if replace.
func (s *Server) setRecords(name, fieldType string, replace bool, values ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name = strings.ToLower(dns.Fqdn(name))
	z := s.zoneOf(name)
	if z == nil {
		panic("ovhtest: no zone holds " + name)
	}
	var added []Record
	for _, value := range values {
		added = append(added, s.mustRecord(z, name, fieldType, value))
	}
	z.edit(func(records []Record) []Record {
		return append(slices.DeleteFunc(records, func(r Record) bool {
			return replace && r.FieldType == fieldType && r.Name() == name
		}), added...)
	})
}

func (s *Server) mustRecord(z *zone, name, fieldType, value string) Record {
	switch fieldType {
	case "CNAME", "MX", "NS", "PTR", "SRV":
		value = dns.Fqdn(value)
	}
	sub := strings.TrimSuffix(strings.TrimSuffix(name, z.name+"."), ".")
	r, err := Record{Zone: z.name, FieldType: fieldType, SubDomain: sub, Target: value}.normalize()
	if err != nil {
		panic(fmt.Sprintf("ovhtest: %s %s %s: %v", name, fieldType, value, err))
	}
	return s.newRecord(r)
}

// mustZone is the zone of that very name.
func (s *Server) mustZone(name string) *zone {
	z := s.zones[strings.ToLower(strings.TrimSuffix(name, "."))]
	if z == nil {
		panic("ovhtest: no zone " + name)
	}
	return z
}

// Records are a zone's working records, oldest first.
func (s *Server) Records(zoneName string) []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mustZone(zoneName).working)
}

// Published are a zone's records as up-to-date name servers show them.
func (s *Server) Published(zoneName string) []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mustZone(zoneName).published(time.Now()).records)
}
