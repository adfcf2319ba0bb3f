package acme

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vestibule/acme/ovhtest"
	"vestibule/configs"
)

// reads waits until an operator reads all the words of a name's error.
func reads(t *testing.T, m *Manager, name string, words ...string) Certificate {
	t.Helper()
	var c Certificate
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		c = find(m, name)
		if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(c.Error, word) }) {
			return c
		}
	}
	t.Fatalf("%q lacks one of %q", c.Error, words)
	return c
}

const host = "matrix.example.org"

// Faults that vestibule gets over by itself: the operator reads nothing.
func TestPassingFaults(t *testing.T) {
	t.Parallel()
	later := http.Header{"Retry-After": {"1"}}
	for name, faults := range map[string][]ovhtest.Fault{
		"429":                  {{Method: "POST", Path: "/record", Status: 429, Header: later}},
		"500 twice":            {{Method: "POST", Path: "/record", Status: 500, Times: 2}},
		"502 with HTML":        {{Method: "POST", Path: "/refresh", Status: 502, Body: "<html>Bad gateway</html>"}},
		"answer lost":          {{Method: "POST", Path: "/record", After: true, Drop: true}},
		"one hangs":            {{Method: "POST", Path: "/refresh", Delay: ovhtest.Forever}},
		"time hangs":           {{Method: "GET", Path: "/auth/time", Delay: ovhtest.Forever}},
		"deletion answer lost": {{Method: "DELETE", Path: "/record", After: true, Drop: true}},
		"not JSON":             {{Method: "GET", Path: "/domain/zone", Status: 200, Body: "<html>hello</html>"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{})
			for _, fault := range faults {
				w.ovh.Fault(fault)
			}
			m := w.start(t)
			obtained(t, m, host)
			w.clean(t, "example.org")
			if n := w.ca.ordered(); n != 1 || w.log.has("level=ERROR") {
				t.Errorf("%d orders\n%s", n, w.log.String())
			}
			if name == "429" {
				calls := w.ovh.CallsTo("POST", "/record")
				if len(calls) < 2 || calls[1].Time.Sub(calls[0].Time) < time.Second {
					t.Errorf("Retry-After was not heeded: %v", calls)
				}
			}
		})
	}
}

// Faults found before the order: they cost nothing, and once they are mended the
// certificate comes by itself.
func TestFaultsBeforeTheOrder(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		options worldOptions
		spoil   func(w *world)
		words   []string
		mend    func(w *world)
	}{
		"missing right": {
			spoil: func(w *world) {
				w.ovh.AddConsumer(appKey, consumerKey, slices.DeleteFunc(rights("example.org"), func(r ovhtest.Rule) bool { return r.Method == "DELETE" })...)
			},
			words: []string{
				"the OVH token lacks the right DELETE /domain/zone/example.org/record/* (hint: make a new token at https://127.0.0.1",
				"/createToken/?POST=/domain/zone/example.org/record&POST=/domain/zone/example.org/refresh&DELETE=/domain/zone/example.org/record/*",
			},
			mend: func(w *world) { w.ovh.AddConsumer(appKey, consumerKey, rights("example.org")...) },
		},
		"wrong secret": {
			spoil: func(w *world) { w.ovh.AddApplication(appKey, "another") },
			words: []string{"the application secret is wrong", "(hint: check application_secret_file"},
			mend:  func(w *world) { w.ovh.AddApplication(appKey, appSecret) },
		},
		"unknown consumer": {
			spoil: func(w *world) { w.ovh.RemoveConsumer(consumerKey) },
			words: []string{"OVH does not accept the consumer key", "OVH says: This credential does not exist", "(query "},
			mend:  func(w *world) { w.ovh.AddConsumer(appKey, consumerKey, rights("example.org")...) },
		},
		"502 with HTML": {
			spoil: func(w *world) {
				w.ovh.Fault(ovhtest.Fault{Path: "/auth/currentCredential", Status: 502, Body: "<html>Bad gateway</html>", Times: ovhtest.Forever})
			},
			words: []string{"OVH's API is out of order: it answers GET /auth/currentCredential with 502"},
			mend:  func(w *world) { w.ovh.ClearFaults() },
		},
		"hang": {
			spoil: func(w *world) {
				w.ovh.Fault(ovhtest.Fault{Path: "/auth/currentCredential", Delay: ovhtest.Forever, Times: ovhtest.Forever})
			},
			words: []string{"OVH's API does not answer GET /auth/currentCredential in time"},
			mend:  func(w *world) { w.ovh.ClearFaults() },
		},
		"429 for long": {
			spoil: func(w *world) {
				w.ovh.Fault(ovhtest.Fault{Path: "/auth/currentCredential", Status: 429, Header: http.Header{"Retry-After": {"7"}}})
			},
			words: []string{"OVH is asked too often", "wants to be left alone for 7s"},
			mend:  func(*world) {},
		},
		"zone not in the account": {
			options: worldOptions{ovh: ovhtest.Options{Zones: []string{"example.net"}, ForeignZones: []string{"example.org"}}},
			words:   []string{"no zone of this OVH account holds _acme-challenge.matrix.example.org; it has example.net"},
			mend: func(w *world) {
				w.ovh.AddZone("example.org")
				w.ovh.AddConsumer(appKey, consumerKey, rights("example.org")...)
			},
		},
		"configured zone not in the account": {
			options: worldOptions{ovh: ovhtest.Options{Zones: []string{"example.net", "example.org"}}},
			spoil: func(w *world) {
				w.cfg.Certificates.ACME.Challenges[0].Zone = "matrix.example.org"
				w.ovh.AddConsumer(appKey, consumerKey, ovhtest.Everything)
			},
			words: []string{"the zone matrix.example.org (configured) is not in this OVH account"},
		},
		"zone not delegated to OVH": {
			spoil: func(w *world) { w.ovh.SetNS("example.org", "ns1.registrar.example", "ns2.registrar.example") },
			words: []string{"the zone example.org is in the OVH account, but the Internet asks ns1.registrar.example, ns2.registrar.example for it", "set its name servers to "},
			mend:  func(w *world) { w.ovh.SetNS("example.org") },
		},
		"black-holed resolver": {
			spoil: func(w *world) { w.ovh.SetResolver(ovhtest.BlackHole) },
			words: []string{"no DNS server knows whether _acme-challenge.matrix.example.org has CNAME records", "does not answer", "check `resolvers`"},
			mend:  func(w *world) { w.ovh.SetResolver(ovhtest.Fresh) },
		},
		"resolver fails": {
			spoil: func(w *world) { w.ovh.SetResolver(ovhtest.ServFail) },
			words: []string{"no DNS server knows", "answers SERVFAIL"},
			mend:  func(w *world) { w.ovh.SetResolver(ovhtest.Fresh) },
		},
		"CAA": {
			spoil: func(w *world) { w.ovh.SetCAA("example.org", `0 issue "other-ca.example"`) },
			words: []string{
				`the CAA records of example.org forbid this authority to issue for matrix.example.org: issue "other-ca.example"`,
				`add the record: example.org. CAA 0 issue "pebble.letsencrypt.org"`,
			},
			mend: func(w *world) { w.ovh.SetCAA("example.org") },
		},
		"CNAME out of the account": {
			options: worldOptions{ovh: ovhtest.Options{Zones: []string{"example.org"}, ForeignZones: []string{"other.example"}}},
			spoil:   func(w *world) { w.ovh.SetCNAME("_acme-challenge.matrix.example.org", "x.other.example") },
			words:   []string{"_acme-challenge.matrix.example.org is a CNAME to x.other.example, where no record can be made", "no zone of this OVH account holds x.other.example"},
			mend:    func(w *world) { w.ovh.SetCNAME("_acme-challenge.matrix.example.org", "") },
		},
		"delegate without CNAME": {
			options: worldOptions{ovh: ovhtest.Options{Zones: []string{"example.org", "example.net"}}},
			spoil: func(w *world) {
				w.entry().Delegate = map[string]string{"_acme-challenge.matrix.example.org": "x.example.net"}
			},
			words: []string{"there is no CNAME (hint: add the record: _acme-challenge.matrix.example.org. CNAME x.example.net.)"},
			mend:  func(w *world) { w.ovh.SetCNAME("_acme-challenge.matrix.example.org", "x.example.net") },
		},
		"delegate and another CNAME": {
			options: worldOptions{ovh: ovhtest.Options{Zones: []string{"example.org", "example.net"}}},
			spoil: func(w *world) {
				w.entry().Delegate = map[string]string{"_acme-challenge.matrix.example.org": "x.example.net"}
				w.ovh.SetCNAME("_acme-challenge.matrix.example.org", "y.example.net")
			},
			words: []string{"is to be delegated to x.example.net, but its CNAME leads to y.example.net"},
			mend:  func(w *world) { w.ovh.SetCNAME("_acme-challenge.matrix.example.org", "x.example.net") },
		},
		"clock of another day": {
			spoil: func(w *world) { w.ovh.SetSkew(48 * time.Hour) },
			words: []string{"this machine's clock is wrong by 48h0m0s, compared with OVH's (hint: run an NTP client"},
			mend:  func(w *world) { w.ovh.SetSkew(0) },
		},
		"no such profile": {
			spoil: func(w *world) { w.cfg.Certificates.ACME.Profile = "lasting" },
			words: []string{`the authority has no profile "lasting"`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.options)
			if c.spoil != nil {
				c.spoil(w)
			}
			m := w.start(t)
			m.Manage(t.Context(), []string{host})
			told := reads(t, m, host, c.words...)
			if told.State != Failed || told.NextAttempt.IsZero() || strings.Contains(told.Error, "<html") {
				t.Errorf("%+v", told)
			}
			if n := w.ca.ordered(); n != 0 {
				t.Errorf("it cost %d orders", n)
			}
			if !w.log.has("certificate not obtained") {
				t.Error("the log says nothing")
			}
			if c.mend == nil {
				return
			}
			c.mend(w)
			eventually(t, "it recovers", func() bool { return find(m, host).State == Valid })
			for _, zone := range []string{"example.org"} {
				w.clean(t, zone)
			}
		})
	}
}

// A clock that is wrong does no harm, is told, and may step at any time.
func TestClock(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{ovh: ovhtest.Options{Zones: []string{"example.org"}, Skew: 10 * time.Minute}})
	m := w.start(t)
	obtained(t, m, host)
	if !w.log.has(`msg="this machine's clock is wrong; run an NTP client" by=10m0s`) {
		t.Error(w.log.String())
	}
	w.ovh.SetSkew(-10 * time.Minute)
	obtained(t, m, host, "auth.example.org")
	w.clean(t, "example.org")
	if w.log.has("level=ERROR") {
		t.Error(w.log.String())
	}
}

// The authority asks any of the name servers, so the slowest counts, and a dead one
// does not.
func TestNameServers(t *testing.T) {
	t.Parallel()
	t.Run("stale", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, worldOptions{})
		w.ovh.SetNameServer(1, ovhtest.Stale)
		w.entry().PropagationTimeout = configs.Duration(2 * time.Second)
		m := w.start(t)
		m.Manage(t.Context(), []string{host})
		eventually(t, "progress is told", func() bool {
			return strings.Contains(find(m, host).Progress, "waiting for DNS: 1 of 2 name servers show the record; not yet ")
		})
		reads(t, m, host, "the DNS record was not seen everywhere within 2s: 1 of 2 name servers show the record; not yet ", "raise propagation_timeout")
		w.ovh.SetNameServer(1, ovhtest.Fresh)
		eventually(t, "it recovers", func() bool { return find(m, host).State == Valid })
		w.clean(t, "example.org")
	})
	for name, behaviour := range map[string]ovhtest.Behaviour{
		"dead": ovhtest.BlackHole, "refused": ovhtest.Refused, "servfail": ovhtest.ServFail,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{})
			w.ovh.SetNameServer(1, behaviour)
			obtained(t, w.start(t), host)
			if !w.log.has("no answer from ") {
				t.Error(w.log.String())
			}
		})
	}
	for name, behaviour := range map[string]ovhtest.Behaviour{
		"truncates": ovhtest.Truncate, "TCP only": ovhtest.TCPOnly, "UDP only": ovhtest.UDPOnly,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{})
			w.ovh.SetNameServer(0, behaviour)
			w.ovh.SetNameServer(1, behaviour)
			obtained(t, w.start(t), host)
		})
	}
	t.Run("none reachable", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, worldOptions{})
		p := propagation{resolver: &resolver{servers: w.entry().Resolvers, timeout: w.pace().dnsTimeout, port: w.ovh.DNSPort()}, zone: "example.org", name: "a.example.org", value: "v"}
		servers, err := p.servers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		w.ovh.AddRecord("a.example.org", "TXT", `"v"`)
		w.ovh.SetNameServer(0, ovhtest.BlackHole)
		w.ovh.SetNameServer(1, ovhtest.BlackHole)
		if v := p.look(t.Context(), servers); !v.complete() || len(v.silent) != 2 {
			t.Errorf("the configured resolver is not believed: %s", v)
		}
		w.ovh.SetResolver(ovhtest.BlackHole)
		if v := p.look(t.Context(), servers); v.complete() || len(v.silent) != 3 {
			t.Errorf("nobody answers, yet %s", v)
		}
		p.resolver.servers = nil // the system's are never believed
		w.ovh.SetResolver(ovhtest.Fresh)
		v := p.look(t.Context(), servers)
		ctx, cancel := context.WithTimeout(t.Context(), 0)
		defer cancel()
		err = p.late(ctx, v)
		if v.complete() || err == nil || !strings.Contains(err.Error(), "none of the name servers of example.org answers: ") || !strings.Contains(err.Error(), "reach port 53") {
			t.Errorf("%s: %v", v, err)
		}
	})
	t.Run("port 53 closed", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, worldOptions{})
		w.ovh.SetNameServer(0, ovhtest.BlackHole)
		w.ovh.SetNameServer(1, ovhtest.BlackHole)
		obtained(t, w.start(t), host)
	})
	t.Run("all twice", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, worldOptions{})
		obtained(t, w.start(t), host)
		looks := map[string]int{}
		for _, q := range w.ovh.Queries() {
			if q.Type == "TXT" && q.Server != ovhtest.Resolver {
				looks[fmt.Sprint(q.Server, q.Network)]++
			}
		}
		for _, server := range []string{"0udp", "0tcp", "1udp", "1tcp"} {
			if looks[server] < 2 {
				t.Errorf("%v", looks)
			}
		}
	})
	t.Run("slow publication", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, worldOptions{ovh: ovhtest.Options{Zones: []string{"example.org"}, PublishDelay: 2 * time.Second}})
		obtained(t, w.start(t), host)
	})
}

// A CNAME is followed before the order, with `delegate` or without.
func TestCNAME(t *testing.T) {
	t.Parallel()
	for name, delegate := range map[string]map[string]string{
		"without delegate": nil,
		"with delegate":    {"_acme-challenge.matrix.example.org": "x.example.net"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{ovh: ovhtest.Options{Zones: []string{"example.org", "example.net"}}})
			w.ovh.SetCNAME("_acme-challenge.matrix.example.org", "x.example.net")
			w.entry().Delegate = delegate
			obtained(t, w.start(t), host)
			w.clean(t, "example.net")
			if calls := w.ovh.CallsTo("POST", "/domain/zone/example.org/"); len(calls) != 0 {
				t.Errorf("%+v", calls)
			}
		})
	}
	t.Run("wildcard", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, worldOptions{ovh: ovhtest.Options{Zones: []string{"example.org", "example.net"}}})
		w.ovh.SetCNAME("*.matrix.example.org", "x.example.net")
		obtained(t, w.start(t), host)
		w.clean(t, "example.org")
		if calls := w.ovh.CallsTo("POST", "/domain/zone/example.net/"); len(calls) != 0 {
			t.Errorf("%+v", calls)
		}
	})
}

// Records of others are never touched, however many there are.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	for _, text := range strings.Fields("a b c d e f g") {
		w.ovh.AddRecord("_acme-challenge.matrix.example.org", "TXT", `"`+text+`"`)
	}
	before := w.texts("example.org")
	obtained(t, w.start(t), host)
	eventually(t, "only ours are gone", func() bool { return slices.Equal(w.texts("example.org"), before) })
	if !w.log.has("other programs left challenge records behind") || !w.log.has("count=7") {
		t.Error(w.log.String())
	}
}

// A record that could not be published is taken back.
func TestRefreshFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	w.ovh.Fault(ovhtest.Fault{Method: "POST", Path: "/refresh", Status: 403, Body: `{"class":"Client::Forbidden","message":"Locked"}`, Times: 2})
	m := w.start(t)
	m.Manage(t.Context(), []string{host})
	reads(t, m, host, "POST /domain/zone/example.org/refresh", "Locked")
	eventually(t, "it recovers", func() bool { return find(m, host).State == Valid })
	w.clean(t, "example.org")
	eventually(t, "nothing is noted any more", func() bool {
		records, err := m.journal().entries(t.Context(), "")
		return err == nil && len(records) == 0
	})
}

// The authority's own refusals: the operator reads what it says, and it is left
// alone for as long as it asks.
func TestAuthorityRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	secret := strings.Repeat("Abc_-9", 8)[:43]
	w.ca.refuse(429, "rateLimited", "too many certificates, found "+secret, http.Header{"Retry-After": {"3"}})
	m := w.start(t)
	m.Manage(t.Context(), []string{host})
	c := reads(t, m, host, "ordering the certificate: the authority says: too many certificates, found [redacted]", "it is tried again later")
	if wait := time.Until(c.NextAttempt); wait < 2*time.Second {
		t.Errorf("tried again in %v", wait)
	}
	if w.log.has(secret) {
		t.Error("a challenge's value is in the log")
	}
	eventually(t, "it recovers", func() bool { return find(m, host).State == Valid })
	if n := w.ca.ordered(); n != 2 {
		t.Errorf("%d orders", n)
	}
	stats := m.Stats()
	if len(stats) != 1 || stats[0].Failed != 1 || stats[0].Obtained != 1 || stats[0].LastFailure.IsZero() || stats[0].LastSuccess.IsZero() {
		t.Errorf("%+v", stats)
	}
}

// Certificates in the storage are served though the authority and OVH are gone.
func TestEverythingDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	first := w.start(t)
	obtained(t, first, host)
	serial := find(first, host).Serial
	first.Close()
	w.ca.server.Close()
	w.ovh.Close()
	second := w.start(t)
	second.Manage(t.Context(), []string{host, "auth.example.org"})
	eventually(t, "the certificate is served", func() bool { return find(second, host).Serial == serial })
	reads(t, second, "auth.example.org", "the certificate authority at "+w.ca.directory()+" is not there", "connection refused")
}

// A restart costs nothing.
func TestRestartACME(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	first := w.start(t)
	obtained(t, first, host)
	serial := find(first, host).Serial
	first.Close()
	calls := len(w.ovh.Calls())
	second := w.start(t)
	obtained(t, second, host)
	if find(second, host).Serial != serial || w.ca.ordered() != 1 || len(w.ovh.Calls()) != calls {
		t.Error("a restart asked for something")
	}
}

// One bad name, zone or account holds up nobody.
func TestIndependence(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{ovh: ovhtest.Options{Zones: []string{"example.org", "example.net"}}})
	w.ovh.Fault(ovhtest.Fault{Path: "/domain/zone/example.net", Delay: ovhtest.Forever, Times: ovhtest.Forever})
	m := w.start(t)
	began := time.Now()
	m.Manage(t.Context(), []string{"a.example.net", "b.example.net", "c.example.net", host})
	eventually(t, "the good name is obtained", func() bool { return find(m, host).State == Valid })
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("it took %v", took)
	}
	reads(t, m, "a.example.net", "does not answer")
}

// Nothing secret is in the log, whatever happens, at any level.
func TestLogHoldsNoSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	w.ovh.Fault(ovhtest.Fault{Method: "POST", Path: "/record", Status: 500})
	w.ovh.Fault(ovhtest.Fault{Method: "POST", Path: "/record", After: true, Drop: true})
	w.ovh.Fault(ovhtest.Fault{Method: "DELETE", Path: "/record", Status: 403, Times: 2})
	m := w.start(t)
	obtained(t, m, host, "*.example.org")
	m.Close()
	secrets := []string{appKey, appSecret, consumerKey}
	for _, call := range w.ovh.CallsTo("POST", "/record") {
		_, value, _ := strings.Cut(call.Body, `"target":"`)
		value, _, _ = strings.Cut(value, `"`)
		secrets = append(secrets, value)
	}
	if len(secrets) < 5 || !w.log.has("level=DEBUG") {
		t.Fatalf("%q\n%s", secrets, w.log.String())
	}
	for _, secret := range secrets {
		if len(secret) < 8 || w.log.has(secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
}

func TestSettingsProblems(t *testing.T) {
	t.Parallel()
	for want, spoil := range map[string]func(w *world){
		"certificates.acme.email: is required with issuer: acme":                               func(w *world) { w.cfg.Certificates.ACME.Email = "" },
		"certificates.acme.roots_file: open /nowhere/ca.pem: no such file or directory":        func(w *world) { w.cfg.Certificates.ACME.RootsFile = "/nowhere/ca.pem" },
		"certificates.acme.challenges[0].dns01.ovh: reading consumer_key_file: open /nowhere:": func(w *world) { w.entry().OVH.ConsumerKeyFile = "/nowhere" },
	} {
		w := newWorld(t, worldOptions{})
		spoil(w)
		_, err := New(w.cfg, nil)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		if left, _ := filepath.Glob(w.cfg.Certificates.Storage.Directory + "/*"); len(left) > 0 {
			t.Errorf("left %q", left)
		}
	}
}

// TestGivenUpWhileMaking: a record that OVH makes after the order was given up stays noted, and is deleted.
func TestGivenUpWhileMaking(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	m := w.start(t)
	account := m.settings().entries[0].dns.account
	slow := &late{account.transport, make(chan struct{}), make(chan struct{})}
	account.transport = slow
	r := &record{Name: host, Account: account.identity(), Zone: "example.org", Sub: "_acme-challenge.matrix", Value: "ours", Created: time.Now()}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-slow.reached
		cancel()
	}()
	if err := m.storage.Lock(t.Context(), issueLock(host)); err != nil { // as an order has it, or the first sweep would be in between
		t.Fatal(err)
	}
	if err := m.journal().publish(ctx, account, r); err == nil {
		t.Fatal("published")
	}
	<-slow.served
	unlock(m.storage, issueLock(host), m.log)
	if left := w.texts("example.org"); len(left) != 1 {
		t.Fatalf("not made: %q", left)
	}
	eventually(t, "it is deleted", func() bool {
		m.sweepAll(t.Context()) // which does nothing while another one is at it
		return len(w.texts("example.org")) == 0
	})
}

// late carries POST /record out after its caller has gone, as servers do.
type late struct {
	next            http.RoundTripper
	reached, served chan struct{}
}

func (l *late) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/record") {
		return l.next.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	kept := r.Clone(context.WithoutCancel(r.Context()))
	kept.Body = io.NopCloser(bytes.NewReader(body))
	close(l.reached)
	<-r.Context().Done()
	go func() {
		defer close(l.served)
		time.Sleep(500 * time.Millisecond)
		if response, err := l.next.RoundTrip(kept); err == nil {
			response.Body.Close()
		}
	}()
	return nil, r.Context().Err()
}
