package ovhtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// inZone is an operation on the zone that the path names.
func (s *Server) inZone(answer func(*request, *zone) (any, *apiError)) operation {
	return func(c *request) (any, *apiError) {
		z := s.zones[c.PathValue("zone")]
		if z == nil || z.foreign {
			return nil, errService
		}
		return answer(c, z)
	}
}

// inRecord is an operation on the record that the path names, by its place
// among the zone's.
func (s *Server) inRecord(answer func(*request, *zone, int) (any, *apiError)) operation {
	return s.inZone(func(c *request, z *zone) (any, *apiError) {
		text := c.PathValue("id")
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, badRequest("Given data (" + text + ") is not valid for type long")
		}
		i := z.find(id)
		if i < 0 {
			message := fmt.Sprintf("The requested object (id = %d) does not exist", id)
			return nil, &apiError{Status: http.StatusNotFound, Message: message}
		}
		return answer(c, z, i)
	})
}

func badRequest(message string) *apiError {
	return &apiError{Status: http.StatusBadRequest, Message: message}
}

func (s *Server) listZones(*request) (any, *apiError) {
	names := []string{}
	for name, z := range s.zones {
		if !z.foreign {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// showZone lists our name servers, wherever the zone is delegated.
func (s *Server) showZone(_ *request, z *zone) (any, *apiError) {
	var hosts []string
	for i := range s.nameServers {
		hosts = append(hosts, nameServerName(i))
	}
	return map[string]any{
		"name": z.name, "nameServers": hosts, "hasDnsAnycast": false, "dnssecSupported": true,
		"lastUpdate": z.published(time.Now()).at.Format(time.RFC3339),
	}, nil
}

func (s *Server) showSOA(_ *request, z *zone) (any, *apiError) {
	return map[string]any{
		"server": nameServerName(0) + ".", "email": "tech.ovh.net.", "serial": z.published(time.Now()).serial,
		"refresh": soaRefresh, "expire": soaExpire, "nxDomainTtl": soaMinimum, "ttl": defaultTTL,
	}, nil
}

// refresh publishes the zone as it is now, after the delay.
func (s *Server) refresh(_ *request, z *zone) (any, *apiError) {
	z.publish(time.Now().Add(s.publishDelay), z.working)
	return nil, nil
}

// listRecords filters by equality; an empty subDomain is the apex.
func (s *Server) listRecords(c *request, z *zone) (any, *apiError) {
	query := c.URL.Query()
	ids := []int64{}
	for _, r := range z.working {
		fits := func(key, value string) bool { return !query.Has(key) || query.Get(key) == value }
		if fits("fieldType", r.FieldType) && fits("subDomain", r.SubDomain) {
			ids = append(ids, r.ID)
		}
	}
	return ids, nil
}

// createRecord takes duplicates, and whatever stands beside a CNAME.
func (s *Server) createRecord(c *request, z *zone) (any, *apiError) {
	r := Record{}
	if err := decode(c.body, &r); err != nil {
		return nil, badRequest(err.Error())
	}
	r.Zone = z.name
	r, err := r.normalize()
	if err != nil {
		return nil, badRequest(err.Error())
	}
	r = s.newRecord(r)
	z.working = append(z.working, r)
	return r, nil
}

func (s *Server) showRecord(_ *request, z *zone, i int) (any, *apiError) {
	return z.working[i], nil
}

// changeRecord leaves alone what the body leaves out, and the type.
func (s *Server) changeRecord(c *request, z *zone, i int) (any, *apiError) {
	r := z.working[i]
	changed := r
	if err := decode(c.body, &changed); err != nil {
		return nil, badRequest(err.Error())
	}
	changed.ID, changed.Zone, changed.FieldType = r.ID, r.Zone, r.FieldType
	changed, err := changed.normalize()
	if err != nil {
		return nil, badRequest(err.Error())
	}
	z.working[i] = changed
	return nil, nil
}

func (s *Server) deleteRecord(_ *request, z *zone, i int) (any, *apiError) {
	z.working = slices.Delete(z.working, i, i+1)
	return nil, nil
}

// decode takes a JSON object without unknown keys.
func decode(body []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}
