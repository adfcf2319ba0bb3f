package acme

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"vestibule/configs"
)

// ovhRule is a right of a consumer key: a method, or "*", and a path; a "*" at the
// end of the path stands for anything, slashes too.
type ovhRule struct {
	Method string `json:"method"`
	Path   string `json:"path"`
}

func (r ovhRule) String() string { return r.Method + " " + r.Path }

// grants tells whether the rule covers another one.
func (r ovhRule) grants(wanted ovhRule) bool {
	if r.Method != "*" && r.Method != wanted.Method {
		return false
	}
	before, open := strings.CutSuffix(r.Path, "*")
	if open {
		return strings.HasPrefix(wanted.Path, before)
	}
	return r.Path == wanted.Path
}

// neededRights are what a record takes to be made, published and deleted.
func neededRights(zone string) []ovhRule {
	return []ovhRule{
		{http.MethodPost, zonePath(zone, "/record")},
		{http.MethodPost, zonePath(zone, "/refresh")},
		{http.MethodDelete, zonePath(zone, "/record/*")},
	}
}

// usefulRights let a record be found again whose id was lost in a crash.
func usefulRights(zone string) []ovhRule {
	return []ovhRule{
		{http.MethodGet, zonePath(zone, "/record")},
		{http.MethodGet, zonePath(zone, "/record/*")},
	}
}

// allRights are those, and what it takes to see that the zone is OVH's.
func allRights(zone string) []ovhRule {
	return slices.Concat(neededRights(zone), usefulRights(zone), []ovhRule{{http.MethodGet, zonePath(zone, "")}})
}

// checkRights finds out, without changing anything, whether the account may do
// what is needed in a zone. It also finds wrong credentials.
func (a *ovhAccount) checkRights(ctx context.Context, zone string) error {
	rules, err := a.knownRights(ctx)
	if err != nil {
		return err
	}
	if rules == nil {
		return a.probeRights(ctx, zone)
	}
	missing := lacking(rules, neededRights(zone))
	if len(missing) > 0 {
		a.rights.forget() // they may be granted before the next attempt
		return newFault("make a new token at "+createTokenURL(a.credentials.Endpoint, allRights(zone)),
			"the OVH token lacks the right %s", joinRules(missing))
	}
	if missing := lacking(rules, usefulRights(zone)); len(missing) > 0 {
		a.log.WarnContext(ctx, "the OVH token lacks rights that help after a crash", "zone", zone, "rights", joinRules(missing))
	}
	return nil
}

func lacking(rules, wanted []ovhRule) []ovhRule {
	var missing []ovhRule
	for _, want := range wanted {
		if !slices.ContainsFunc(rules, func(r ovhRule) bool { return r.grants(want) }) {
			missing = append(missing, want)
		}
	}
	return missing
}

func joinRules(rules []ovhRule) string {
	texts := make([]string, len(rules))
	for i, rule := range rules {
		texts[i] = rule.String()
	}
	return strings.Join(texts, ", ")
}

// knownRights are the rules of the consumer key; nil when they cannot be known,
// as with a service account, whose rights are policies.
func (a *ovhAccount) knownRights(ctx context.Context) ([]ovhRule, error) {
	if a.credentials.Kind != configs.OVHApplication {
		return nil, nil
	}
	return a.rights.get(ctx, a.pace.patience, func(ctx context.Context) ([]ovhRule, time.Duration, error) {
		var credential struct {
			Status     string     `json:"status"`
			Expiration *time.Time `json:"expiration"`
			Rules      []ovhRule  `json:"rules"`
		}
		err := a.call(ctx, http.MethodGet, "/auth/currentCredential", nil, &credential)
		if unknowable(err) {
			return nil, a.pace.memory, nil
		}
		if err != nil {
			return nil, 0, err
		}
		if credential.Status != "" && credential.Status != "validated" {
			return nil, 0, newFault("open the link OVH gave with the token, log in and confirm, or make a new token",
				"the OVH consumer key is not in force: its status is %s", credential.Status)
		}
		if credential.Expiration != nil && time.Until(*credential.Expiration) < 30*24*time.Hour {
			a.log.WarnContext(ctx, "the OVH token ends soon", "expiration", credential.Expiration)
		}
		return append([]ovhRule{}, credential.Rules...), a.pace.memory, nil
	})
}

// unknowable tells whether an error only means that the question is not allowed.
func unknowable(err error) bool {
	var refused *ovhError
	if !errors.As(err, &refused) {
		return false
	}
	return refused.status == http.StatusNotFound ||
		refused.status == http.StatusForbidden && refused.says("not been granted", "not granted")
}

// probeRights tries the calls in a way that changes no record: an empty record
// is refused as wrong, record 0 does not exist, and a refresh publishes what the
// zone holds anyway. Only a refusal for want of rights counts.
func (a *ovhAccount) probeRights(ctx context.Context, zone string) error {
	probes := []struct {
		right ovhRule
		path  string
		in    any
	}{
		{neededRights(zone)[0], zonePath(zone, "/record"), struct{}{}},
		{neededRights(zone)[1], zonePath(zone, "/refresh"), nil},
		{neededRights(zone)[2], zonePath(zone, "/record/0"), nil},
	}
	for _, probe := range probes {
		err := a.callOnce(ctx, probe.right.Method, probe.path, probe.in, nil)
		var refused *ovhError
		if !errors.As(err, &refused) {
			if err != nil {
				return err
			}
			continue
		}
		switch {
		case refused.status == http.StatusForbidden && refused.says("granted"):
			refused.path = probe.right.Path
			return refused
		case refused.status == http.StatusBadRequest && !refused.says("out of time", "signature"):
		case refused.status == http.StatusNotFound:
		default:
			return refused
		}
	}
	return nil
}
