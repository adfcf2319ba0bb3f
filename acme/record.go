package acme

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// record is a TXT record of ours, as it stands in the journal.
type record struct {
	Name    string    `json:"name"`    // whose certificate it is for
	Account string    `json:"account"` // identity of the OVH account
	Zone    string    `json:"zone"`
	Sub     string    `json:"sub"` // relative to Zone, "" for its apex
	Value   string    `json:"value"`
	ID      int64     `json:"id,omitempty"` // 0 as long as it is unknown
	Created time.Time `json:"created"`
	// Doubtful tells that there may be a second record with the same value: a
	// request was repeated whose answer was lost.
	Doubtful bool `json:"doubtful,omitempty"`
}

// settling is how long a request may be carried out after nobody waits for its answer
// any more. Until then, that a record is not there does not mean that it never is.
const settling = 2 * time.Minute

var errUnsettled = errors.New("OVH may still make it: the request was given up while it was under way")

// recordTTL is the least that OVH takes, in seconds.
const recordTTL = 60

// ovhRecord is a record as the API has it.
type ovhRecord struct {
	ID        int64  `json:"id,omitempty"`
	FieldType string `json:"fieldType"`
	SubDomain string `json:"subDomain"`
	Target    string `json:"target"`
	TTL       int64  `json:"ttl"`
}

// holds tells whether it is the record with our value; OVH adds the quotes.
func (o ovhRecord) holds(r *record) bool {
	return o.FieldType == "TXT" && strings.EqualFold(o.SubDomain, r.Sub) && strings.Trim(o.Target, `"`) == r.Value
}

// create makes the record in the zone, unpublished, and notes its id. When the
// answer is lost, the record is looked for before it is made again.
func (a *ovhAccount) create(ctx context.Context, r *record) error {
	in := ovhRecord{FieldType: "TXT", SubDomain: r.Sub, Target: r.Value, TTL: recordTTL}
	ctx, cancel := context.WithTimeout(ctx, a.pace.patience)
	defer cancel()
	for delay := a.pace.retry; ; delay = min(2*delay, ovhRetryMax) {
		var made ovhRecord
		err := a.callOnce(ctx, http.MethodPost, zonePath(r.Zone, "/record"), in, &made)
		if err == nil {
			r.ID = made.ID
			return nil
		}
		var refused *ovhError
		if !errors.As(err, &refused) || !refused.uncertain() {
			return err
		}
		r.Doubtful = true
		if ids, searched := a.find(ctx, r); searched == nil && len(ids) > 0 {
			r.ID = ids[0]
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(max(refused.wait, jitter(delay))):
		}
	}
}

// find looks for our value among the zone's records; it is a digest that nobody
// else has reason to write. It needs more rights than the rest.
func (a *ovhAccount) find(ctx context.Context, r *record) ([]int64, error) {
	var ids, found []int64
	query := url.Values{"fieldType": {"TXT"}, "subDomain": {r.Sub}}
	if err := a.call(ctx, http.MethodGet, zonePath(r.Zone, "/record?"+query.Encode()), nil, &ids); err != nil {
		return nil, err
	}
	for _, id := range ids {
		var candidate ovhRecord
		err := a.call(ctx, http.MethodGet, recordPath(r.Zone, id), nil, &candidate)
		if notFound(err) {
			continue // somebody else deleted theirs meanwhile
		}
		if err != nil {
			return nil, err
		}
		if candidate.holds(r) {
			found = append(found, id)
		}
	}
	return found, nil
}

// remove deletes the record and publishes that. A record that is gone is fine.
func (a *ovhAccount) remove(ctx context.Context, r *record) error {
	if r.ID != 0 {
		if err := a.erase(ctx, r.Zone, r.ID); err != nil {
			return err
		}
	}
	if r.ID == 0 || r.Doubtful {
		if err := a.removeOthers(ctx, r); err != nil {
			return err
		}
	}
	return a.refresh(ctx, r.Zone)
}

// removeOthers deletes what holds our value under an id that was never told. When
// that may not be looked for, and the one record there surely was is gone, it has
// to be left at that.
func (a *ovhAccount) removeOthers(ctx context.Context, r *record) error {
	found, err := a.find(ctx, r)
	if r.ID != 0 && unknowable(err) {
		a.log.WarnContext(ctx, "there may be a second DNS record that cannot be looked for without more rights",
			"name", r.Name, "zone", r.Zone, "rights", joinRules(usefulRights(r.Zone)))
		return nil
	}
	if err != nil {
		return err
	}
	if len(found) == 0 && r.ID == 0 && r.Doubtful && time.Since(r.Created).Abs() < settling {
		return errUnsettled
	}
	for _, id := range found {
		if err := a.erase(ctx, r.Zone, id); err != nil {
			return err
		}
	}
	return nil
}

func (a *ovhAccount) erase(ctx context.Context, zone string, id int64) error {
	err := a.call(ctx, http.MethodDelete, recordPath(zone, id), nil, nil)
	if notFound(err) {
		return nil
	}
	return err
}

func recordPath(zone string, id int64) string {
	return zonePath(zone, "/record/"+strconv.FormatInt(id, 10))
}

func notFound(err error) bool {
	var refused *ovhError
	return errors.As(err, &refused) && refused.status == http.StatusNotFound
}
