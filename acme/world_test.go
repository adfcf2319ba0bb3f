package acme

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vestibule/acme/ovhtest"
	"vestibule/configs"
)

// world is an account at OVH with the zone example.org, the DNS, and an authority.
type world struct {
	ovh *ovhtest.Server
	ca  *pebble
	cfg *configs.Config
	log logText
}

// What the world's account at OVH is used with.
const (
	appKey, appSecret, consumerKey = "AppKey0000000001", "AppSecret000000000000000000000001", "ConsumerKey0000000000000000000001"
)

// rights are what the documentation tells operators to grant.
func rights(zone string) []ovhtest.Rule {
	return append(ovhtest.LeastRules(zone),
		ovhtest.Rule{Method: "GET", Path: "/domain/zone"},
		ovhtest.Rule{Method: "GET", Path: "/domain/zone/" + zone},
		ovhtest.Rule{Method: "GET", Path: "/domain/zone/" + zone + "/record"},
		ovhtest.Rule{Method: "GET", Path: "/domain/zone/" + zone + "/record/*"})
}

type worldOptions struct {
	ovh    ovhtest.Options
	pebble pebbleOptions
}

func newWorld(t *testing.T, o worldOptions) *world {
	t.Helper()
	if o.ovh.Zones == nil {
		o.ovh.Zones = []string{"example.org"}
	}
	o.ovh.ForeignZones = append(o.ovh.ForeignZones, "org")
	w := new(world)
	var err error
	if w.ovh, err = ovhtest.New(o.ovh); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.ovh.Close() })
	w.ovh.AddApplication(appKey, appSecret)
	var rules []ovhtest.Rule
	for _, zone := range o.ovh.Zones {
		rules = append(rules, rights(zone)...)
	}
	w.ovh.AddConsumer(appKey, consumerKey, rules...)
	o.pebble.resolver = w.ovh.Resolver()
	w.ca = startPebble(t, o.pebble)
	w.cfg = w.config(t)
	return w
}

// config is one that works.
func (w *world) config(t *testing.T) *configs.Config {
	t.Helper()
	directory := t.TempDir()
	secret := func(name, value string) string {
		file := filepath.Join(directory, name)
		write(t, file, []byte(value+"\n"))
		return file
	}
	cfg := internalConfig(filepath.Join(directory, "storage"))
	cfg.Sites = []*configs.Site{{ServerName: "example.org", Host: "matrix.example.org"}}
	cfg.Certificates.Issuer = "acme"
	cfg.Certificates.ACME = &configs.ACME{
		Email: "ops@example.org", Directory: w.ca.directory(), RootsFile: w.ca.rootsFile(t),
		Challenges: []configs.Challenge{{DNS01: &configs.DNS01{
			OVH: &configs.OVH{
				Endpoint:              w.ovh.URL,
				ApplicationKeyFile:    secret("key", appKey),
				ApplicationSecretFile: secret("secret", appSecret),
				ConsumerKeyFile:       secret("consumer", consumerKey),
			},
			Resolvers:          []string{w.ovh.Resolver()},
			PropagationTimeout: configs.Duration(20 * time.Second),
		}}},
	}
	return cfg
}

// entry is the first way to prove control.
func (w *world) entry() *configs.DNS01 { return w.cfg.Certificates.ACME.Challenges[0].DNS01 }

// pace hurries through everything but what Pebble takes.
func (w *world) pace() pace { return w.paceOn(w.ovh.DNSPort()) }

func (*world) paceOn(dnsPort string) pace {
	p := brisk
	p.retry, p.retryMax = 50*time.Millisecond, 400*time.Millisecond
	p.spent, p.spentMax = 200*time.Millisecond, time.Second
	p.ovh = ovhPace{call: time.Second, patience: 6 * time.Second, retry: 20 * time.Millisecond, gather: 50 * time.Millisecond, memory: time.Minute}
	p.dnsTimeout, p.dnsPort = 300*time.Millisecond, dnsPort
	p.lookFirst, p.lookMax = 50*time.Millisecond, 200*time.Millisecond
	p.sweep, p.sweepAgain = time.Hour, 12*time.Second
	return p
}

func (w *world) start(t *testing.T) *Manager { return w.startWith(t, w.pace()) }

func (w *world) startWith(t *testing.T, p pace) *Manager {
	t.Helper()
	log := slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	m, err := newManager(w.cfg, log, p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// texts are the TXT records that the zone holds, published or not.
func (w *world) texts(zone string) []string {
	var texts []string
	for _, records := range [][]ovhtest.Record{w.ovh.Records(zone), w.ovh.Published(zone)} {
		for _, r := range records {
			if r.FieldType == "TXT" {
				texts = append(texts, r.Name()+" "+r.Text())
			}
		}
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}

// clean asserts that nothing is left behind.
func (w *world) clean(t *testing.T, zone string) {
	t.Helper()
	eventually(t, "no record is left in "+zone, func() bool { return len(w.texts(zone)) == 0 })
}

// logText is a log that can be read while it is written.
type logText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logText) has(words string) bool { return strings.Contains(l.String(), words) }
