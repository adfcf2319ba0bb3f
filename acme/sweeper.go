package acme

import (
	"context"
	"slices"
	"time"

	"github.com/caddyserver/certmagic"
)

// sweepRecords deletes at the start, shortly after it, and then every hour what
// processes left behind that were killed. The second time is for the locks of such
// a process, which certmagic takes for stale ten seconds after its death.
func (m *Manager) sweepRecords() {
	waits := []time.Duration{0, m.pace.sweepAgain}
	for {
		wait := m.pace.sweep
		if len(waits) > 0 {
			wait, waits = waits[0], waits[1:]
		}
		select {
		case <-m.ctx.Done():
			return
		case <-time.After(wait):
		}
		m.sweepAll(m.ctx)
	}
}

// sweepAll sweeps the records of each name that nobody is obtaining just now.
func (m *Manager) sweepAll(ctx context.Context) {
	records, err := m.journal().entries(ctx, "")
	if err != nil {
		m.log.Warn("notes of DNS records cannot be read", "error", storageProblem(m.directory, err))
		return
	}
	var names []string
	for _, r := range records {
		names = append(names, r.Name)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if ctx.Err() != nil {
			return // the next process goes on
		}
		m.sweepUnlessBusy(ctx, name)
	}
}

func (m *Manager) sweepUnlessBusy(ctx context.Context, name string) {
	locker, ok := m.storage.(certmagic.TryLocker)
	if !ok {
		return
	}
	if locked, err := locker.TryLock(ctx, issueLock(name)); err != nil || !locked {
		return
	}
	defer unlock(m.storage, issueLock(name), m.log)
	m.sweepName(ctx, name)
}

// sweepName deletes all records noted for a name. The caller holds the name's
// lock, so none of them is in use.
func (m *Manager) sweepName(ctx context.Context, name string) {
	records, err := m.journal().entries(ctx, name)
	if err != nil {
		m.log.Warn("notes of DNS records cannot be read", "error", storageProblem(m.directory, err))
		return
	}
	for _, r := range records {
		account := m.settings().accountFor(r)
		if account == nil {
			m.log.Warn("DNS record left behind, and no OVH account is configured that could delete it",
				"name", r.Name, "zone", r.Zone, "created", r.Created)
			continue
		}
		if err := m.journal().withdraw(ctx, account, r); err != nil {
			m.log.Warn("DNS record left behind cannot be deleted yet", "name", r.Name, "zone", r.Zone, "error", plain(err))
			continue
		}
		m.log.Info("DNS record left behind was deleted", "name", r.Name, "zone", r.Zone, "created", r.Created)
	}
}

// issueLock is the lock that certmagic holds while it obtains or renews a name.
func issueLock(name string) string { return "issue_cert_" + name }

func (m *Manager) journal() journal { return journal{m.storage, m.log} }
