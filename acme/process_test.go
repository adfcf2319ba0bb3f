package acme

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vestibule/acme/ovhtest"
	"vestibule/configs"
)

// childTask is what another process, running this test program, is to do: keep
// certificates for names until it is killed.
type childTask struct {
	Certificates configs.Certificates
	DNSPort      string
	Names        []string
}

const childVariable = "ACME_TEST_CHILD"

// beChild does the task.
func beChild(encoded string) {
	var task childTask
	if err := json.Unmarshal([]byte(encoded), &task); err != nil {
		panic(err)
	}
	w := world{cfg: &configs.Config{Certificates: task.Certificates, Sites: internalConfig("").Sites}}
	p := w.paceOn(task.DNSPort)
	m, err := newManager(w.cfg, slog.New(slog.NewTextHandler(os.Stderr, nil)), p)
	if err != nil {
		panic(err)
	}
	m.Manage(context.Background(), task.Names)
	fmt.Println("started")
	select {}
}

// spawn starts another process on the same storage, which is killed at the end.
func (w *world) spawn(t *testing.T, names ...string) *exec.Cmd {
	t.Helper()
	encoded, err := json.Marshal(childTask{w.cfg.Certificates, w.ovh.DNSPort(), names})
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command("/proc/self/exe")
	child.Env = append(os.Environ(), childVariable+"="+string(encoded))
	child.Stderr = &w.log
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		child.Process.Kill()
		child.Wait()
	})
	return child
}

// A process that is killed between making a record and deleting it leaves it
// behind; the next one deletes it, even if the name is no longer managed.
func TestKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	w.ovh.SetNameServer(1, ovhtest.Stale)
	child := w.spawn(t, host, "gone.example.org")
	eventually(t, "both records are made", func() bool { return len(w.texts("example.org")) == 2 })
	eventually(t, "both are published", func() bool { return strings.Count(w.log.String(), "waiting for DNS") >= 2 })
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	child.Wait()
	w.ovh.SetNameServer(1, ovhtest.Fresh)
	if len(w.texts("example.org")) != 2 {
		t.Fatal("nothing was left behind")
	}
	m := w.start(t)
	m.Manage(t.Context(), []string{host})
	eventually(t, "nothing is left behind", func() bool { return len(w.texts("example.org")) == 0 })
	eventually(t, "the certificate is obtained", func() bool { return find(m, host).State == Valid })
	w.clean(t, "example.org")
	eventually(t, "both are told", func() bool {
		return strings.Count(w.log.String(), `msg="DNS record left behind was deleted"`) == 2
	})
}

// A process that is killed before it learns the id of its record had noted the record
// already: the next one finds it.
func TestKilledBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	w.ovh.Fault(ovhtest.Fault{Method: "POST", Path: "/record", After: true, Drop: true, Times: ovhtest.Forever})
	w.ovh.Fault(ovhtest.Fault{Method: "GET", Path: "/record?", Delay: ovhtest.Forever, Times: ovhtest.Forever})
	child := w.spawn(t, host)
	eventually(t, "the record is made", func() bool { return len(w.texts("example.org")) == 1 })
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	child.Wait()
	w.ovh.ClearFaults()
	obtained(t, w.start(t), host)
	w.clean(t, "example.org")
}

// Records of another process that is at work are noted in the same journal, and stay.
func TestSweepBesideAProcess(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	w.ovh.SetNameServer(1, ovhtest.Stale)
	busy := w.start(t)
	busy.Manage(t.Context(), []string{host})
	eventually(t, "the record is published", func() bool { return strings.Contains(find(busy, host).Progress, "waiting for DNS") })
	w.start(t).sweepAll(t.Context())
	if left := w.texts("example.org"); len(left) != 1 || w.log.has("left behind") {
		t.Errorf("%q\n%s", left, w.log.String())
	}
	w.ovh.SetNameServer(1, ovhtest.Fresh)
	eventually(t, "the certificate is obtained", func() bool { return find(busy, host).State == Valid })
	w.clean(t, "example.org")
}

// A process that is told to stop takes its records back, and soon.
func TestStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	w.ovh.SetNameServer(1, ovhtest.Stale)
	m := w.start(t)
	m.Manage(t.Context(), []string{host})
	eventually(t, "the record is made", func() bool { return strings.Contains(find(m, host).Progress, "waiting for DNS") })
	began := time.Now()
	m.Close()
	if took := time.Since(began); took > 3*time.Second || len(w.texts("example.org")) != 0 {
		t.Errorf("after %v there is %q", took, w.texts("example.org"))
	}
	if known, err := m.from.(*issuer).tally(t.Context(), host); err != nil || known != (tally{}) {
		t.Errorf("it counts as a failure: %+v %v", known, err)
	}
}

// Two processes on one storage order each name once, and both serve it.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	names := []string{host, "auth.example.org", "*.example.org"}
	w.spawn(t, names...)
	eventually(t, "the other begins", func() bool { return w.log.has("certificate under way") })
	m := w.start(t)
	obtained(t, m, names...)
	time.Sleep(2 * time.Second) // for the orders of the other, if it made any
	if n := w.ca.ordered(); n != len(names) {
		t.Errorf("%d orders for %d names", n, len(names))
	}
	w.clean(t, "example.org")
}

// A record whose id was never learned is found by its value; others stay.
func TestSweepByValue(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	first := w.start(t)
	account := first.settings().entries[0].dns.account
	r := &record{Name: host, Account: account.identity(), Zone: "example.org", Sub: "_acme-challenge.matrix", Value: "ours", Created: time.Now()}
	if err := first.journal().write(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	first.Close()
	w.ovh.AddRecord("_acme-challenge.matrix.example.org", "TXT", `"ours"`)
	w.ovh.AddRecord("_acme-challenge.matrix.example.org", "TXT", `"theirs"`)
	write(t, filepath.Join(w.cfg.Certificates.Storage.Directory, journalPrefix, strings.Repeat("0", 32)), []byte("{"))
	second := w.start(t)
	eventually(t, "ours is gone", func() bool {
		return strings.Join(w.texts("example.org"), "\n") == "_acme-challenge.matrix.example.org. theirs"
	})
	eventually(t, "the journal is empty", func() bool {
		records, err := second.journal().entries(t.Context(), "")
		return err == nil && len(records) == 0
	})
	if !w.log.has("damaged note of a DNS record dropped") {
		t.Error(w.log.String())
	}
}

// Of two accounts that look the same, the one for the record's name deletes it: the
// other may not, or would take a record it cannot see for one that is gone.
func TestSweepBesideAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{ovh: ovhtest.Options{Zones: []string{"example.net", "example.org"}}})
	acme := w.cfg.Certificates.ACME
	acme.Challenges = nil
	for _, zone := range []string{"example.net", "example.org"} {
		w.ovh.AddAccessToken("token-of-"+zone, rights(zone)...)
		acme.Challenges = append(acme.Challenges, configs.Challenge{Zone: zone, DNS01: &configs.DNS01{
			OVH: &configs.OVH{Endpoint: w.ovh.URL, AccessTokenFile: secretFile(t, "token-of-"+zone)},
		}})
	}
	m := w.start(t)
	w.ovh.AddRecord("_acme-challenge.matrix.example.org", "TXT", `"ours"`)
	r := &record{Name: host, Zone: "example.org", Sub: "_acme-challenge.matrix", Value: "ours"}
	r.Account = m.settings().accountFor(r).identity()
	if err := m.journal().write(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	m.sweepAll(t.Context())
	if left := w.texts("example.org"); len(left) != 0 {
		t.Errorf("left %q\n%s", left, w.log.String())
	}
}

// A record of an account that is no longer configured is told, not forgotten.
func TestSweepWithoutAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	w.cfg.Certificates.ACME.Challenges[0].Zone = "example.org"
	m := w.start(t)
	r := &record{Name: "matrix.example.net", Account: "another", Zone: "example.net", Sub: "_acme-challenge.matrix", Value: "ours", ID: 1}
	if err := m.journal().write(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	m.sweepAll(t.Context())
	if records, err := m.journal().entries(t.Context(), ""); err != nil || len(records) != 1 {
		t.Errorf("%v %v", records, err)
	}
	if !w.log.has("no OVH account is configured that could delete it") {
		t.Error(w.log.String())
	}
}
