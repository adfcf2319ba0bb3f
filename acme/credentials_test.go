package acme

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	libdnsovh "github.com/libdns/ovh"

	"github.com/libdns/libdns"

	"vestibule/acme/ovhtest"
	"vestibule/configs"
)

// secretFile is a file with a secret.
func secretFile(t *testing.T, value string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "secret")
	write(t, name, []byte(value))
	return name
}

// useOAuth2 gives the world a service account instead of an application key.
func (w *world) useOAuth2(t *testing.T, secret string) {
	w.entry().OVH = &configs.OVH{
		Endpoint: w.ovh.URL, TokenURL: w.ovh.TokenURL,
		ClientIDFile: secretFile(t, "client"), ClientSecretFile: secretFile(t, secret),
	}
}

func TestServiceAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	w.ovh.AddOAuthClient("client", "client-secret-of-a-service-account", rights("example.org")...)
	w.useOAuth2(t, "client-secret-of-a-service-account")
	m := w.start(t)
	obtained(t, m, host)
	w.clean(t, "example.org")
	if n := len(w.ovh.CallsTo("POST", "/auth/oauth2/token")); n != 1 {
		t.Errorf("%d tokens for one name", n)
	}
	w.ovh.RevokeTokens() // one that ended early is replaced
	obtained(t, m, host, "auth.example.org")
	w.clean(t, "example.org")
	if w.log.has("client-secret") || w.log.has("Bearer") {
		t.Error(w.log.String())
	}
}

func TestServiceAccountFaults(t *testing.T) {
	t.Parallel()
	t.Run("wrong secret", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, worldOptions{})
		w.ovh.AddOAuthClient("client", "right")
		w.useOAuth2(t, "wrong")
		m := w.start(t)
		m.Manage(t.Context(), []string{host})
		reads(t, m, host, "OVH refuses the service account", "invalid_client", "client_secret_file")
		if w.ca.ordered() != 0 {
			t.Error("it cost an order")
		}
	})
	t.Run("missing right", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, worldOptions{})
		w.ovh.AddOAuthClient("client", "right", rights("example.org")[2:]...) // neither POST …/record nor DELETE
		w.useOAuth2(t, "right")
		m := w.start(t)
		m.Manage(t.Context(), []string{host})
		reads(t, m, host, "the OVH token lacks the right POST /domain/zone/example.org/record", "dnsZone:apiovh:record/create")
		if w.ca.ordered() != 0 || len(w.texts("example.org")) != 0 {
			t.Error("it cost an order, or made a record")
		}
	})
	t.Run("token endpoint out of order", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, worldOptions{})
		w.ovh.AddOAuthClient("client", "right")
		w.useOAuth2(t, "right")
		w.ovh.Fault(ovhtest.Fault{Path: "/auth/oauth2/token", Status: 500, Times: 2})
		obtained(t, w.start(t), host)
	})
}

func TestAccessToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	w.ovh.AddAccessToken("an-access-token-of-somebody", rights("example.org")...)
	w.entry().OVH = &configs.OVH{Endpoint: w.ovh.URL, AccessTokenFile: secretFile(t, "an-access-token-of-somebody")}
	m := w.start(t)
	obtained(t, m, host)
	w.clean(t, "example.org")
	w.ovh.RevokeTokens()
	m.Manage(t.Context(), []string{host, "auth.example.org"})
	reads(t, m, "auth.example.org", "OVH does not accept the access token")
	if w.log.has("an-access-token") {
		t.Error(w.log.String())
	}
}

// With the least rights, nothing but records can be touched, and the zone is found
// in DNS.
func TestLeastRights(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	w.ovh.AddConsumer(appKey, consumerKey, ovhtest.LeastRules("example.org")...)
	obtained(t, w.start(t), host)
	w.clean(t, "example.org")
	if !w.log.has("the OVH token lacks rights that help after a crash") {
		t.Error(w.log.String())
	}
}

// Without the rights to look, a record whose creation was not answered cannot be
// found. The one that was made in its place is deleted, and the operator is told.
func TestLeastRightsAndLostAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	w.ovh.AddConsumer(appKey, consumerKey, ovhtest.LeastRules("example.org")...)
	w.ovh.Fault(ovhtest.Fault{Method: "POST", Path: "/record", After: true, Drop: true})
	m := w.start(t)
	obtained(t, m, host)
	eventually(t, "one record is left", func() bool {
		return len(w.ovh.Published("example.org")) == len(w.ovh.Records("example.org")) && len(w.ovh.CallsTo("DELETE", "/record/")) == 1
	})
	eventually(t, "it is told", func() bool { return w.log.has("there may be a second DNS record") })
	eventually(t, "it is let go", func() bool {
		records, err := m.journal().entries(t.Context(), "")
		return err == nil && len(records) == 0
	})
}

// Several accounts, one per entry.
func TestTwoAccounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{ovh: ovhtest.Options{Zones: []string{"example.org", "example.net"}}})
	w.ovh.AddConsumer(appKey, consumerKey, rights("example.org")...)
	w.ovh.AddAccessToken("of-the-other-account", rights("example.net")...)
	other := configs.Challenge{Zone: "example.net", DNS01: &configs.DNS01{
		OVH:       &configs.OVH{Endpoint: w.ovh.URL, AccessTokenFile: secretFile(t, "of-the-other-account")},
		Resolvers: w.entry().Resolvers, PropagationTimeout: w.entry().PropagationTimeout,
	}}
	acme := w.cfg.Certificates.ACME
	acme.Challenges = append([]configs.Challenge{other}, acme.Challenges...)
	obtained(t, w.start(t), host, "matrix.example.net")
	w.clean(t, "example.org")
	w.clean(t, "example.net")
}

// With several accounts, what is wrong with one is said with its place. Names that
// are told of the same fault do not disturb each other.
func TestPlaceOfAnAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	w.ovh.Fault(ovhtest.Fault{Path: "/auth/currentCredential", Status: 200, Body: `{"status":"pendingValidation"}`, Times: ovhtest.Forever})
	acme := w.cfg.Certificates.ACME
	acme.Challenges = append([]configs.Challenge{{Zone: "example.net", HTTP01: &configs.HTTP01{}}}, acme.Challenges...)
	m := w.start(t)
	names := []string{"a.example.org", "b.example.org", "c.example.org"}
	m.Manage(t.Context(), names)
	for _, name := range names {
		reads(t, m, name, "certificates.acme.challenges[1]: the OVH consumer key is not in force: its status is pendingValidation (hint: open the link")
	}
}

// TestStrayEnvironment cannot run beside others: the environment is of the process.
func TestStrayEnvironment(t *testing.T) {
	directory := t.TempDir()
	t.Chdir(directory)
	t.Setenv("HOME", directory)
	for _, variable := range strings.Fields("APPLICATION_KEY APPLICATION_SECRET CONSUMER_KEY CLIENT_ID CLIENT_SECRET ACCESS_TOKEN") {
		t.Setenv("OVH_"+variable, "stray")
	}
	t.Setenv("OVH_ENDPOINT", "ovh-ca")
	for _, name := range []string{"ovh.conf", ".ovh.conf"} {
		write(t, name, []byte("[default]\nendpoint=ovh-us\n[ovh-eu]\naccess_token=stray\nthis is no ini"))
	}
	w := newWorld(t, worldOptions{})
	m := w.start(t)
	m.Manage(t.Context(), []string{host})
	eventually(t, "it is obtained", func() bool { return find(m, host).State == Valid })
	for _, call := range w.ovh.Calls() {
		if call.Credential != "" && call.Credential != consumerKey {
			t.Errorf("%+v", call)
		}
	}
}

// TestEnvironment: without files, the environment is what counts.
func TestEnvironment(t *testing.T) {
	w := newWorld(t, worldOptions{})
	for variable, value := range map[string]string{
		"OVH_ENDPOINT": w.ovh.URL, "OVH_APPLICATION_KEY": appKey, "OVH_APPLICATION_SECRET": appSecret, "OVH_CONSUMER_KEY": consumerKey,
	} {
		t.Setenv(variable, value)
	}
	w.entry().OVH = &configs.OVH{}
	m := w.start(t)
	m.Manage(t.Context(), []string{host})
	eventually(t, "it is obtained", func() bool { return find(m, host).State == Valid })
}

// TestLikeLibdns holds our records against those of the ecosystem's provider: both
// can delete what the other made.
func TestLikeLibdns(t *testing.T) {
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "OVH_") {
			t.Setenv(name, "") // libdns/ovh reads it
		}
	}
	w := newWorld(t, worldOptions{})
	provider := libdnsovh.Provider{Endpoint: w.ovh.URL, ApplicationKey: appKey, ApplicationSecret: appSecret, ConsumerKey: consumerKey}
	theirs := []libdns.Record{libdns.TXT{Name: "_acme-challenge.matrix", Text: "value"}}
	if _, err := provider.AppendRecords(t.Context(), "example.org.", theirs); err != nil {
		t.Fatal(err)
	}
	want := w.ovh.Published("example.org")
	r := &record{Zone: "example.org", Sub: "_acme-challenge.matrix", Value: "value"}
	account := w.start(t).settings().entries[0].dns.account
	if err := account.remove(t.Context(), r); err != nil || len(w.texts("example.org")) != 0 {
		t.Fatalf("theirs is left: %v", err)
	}
	if err := account.create(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := account.refresh(t.Context(), "example.org"); err != nil {
		t.Fatal(err)
	}
	got := w.ovh.Published("example.org")
	if len(got) != len(want) {
		t.Fatalf("%+v, want %+v", got, want)
	}
	for i := range got {
		got[i].ID, want[i].ID = 0, 0
		if got[i] != want[i] {
			t.Errorf("%+v, want %+v", got[i], want[i])
		}
	}
	if _, err := provider.DeleteRecords(t.Context(), "example.org.", theirs); err != nil || len(w.texts("example.org")) != 0 {
		t.Errorf("ours is left: %v", err)
	}
}
