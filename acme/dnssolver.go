package acme

import (
	"context"
	"log/slog"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// dnsSolver proves control over one name, once, with a TXT record. Where the
// record goes is known before the order.
type dnsSolver struct {
	entry   *dnsEntry
	journal journal
	pace    pace
	log     *slog.Logger
	name    string
	at      placement
	say     func(string)

	made *record // by Present; acmez calls the methods one after the other
}

var _ interface {
	acmez.Solver
	acmez.Waiter
} = (*dnsSolver)(nil)

// Present makes and publishes the record.
func (s *dnsSolver) Present(ctx context.Context, challenge acme.Challenge) error {
	s.say("publishing the DNS record in zone " + s.at.zone)
	r := &record{
		Name: s.name, Account: s.entry.account.identity(), Zone: s.at.zone, Sub: s.at.sub(),
		Value: challenge.DNS01KeyAuthorization(), Created: time.Now().UTC(),
	}
	if err := s.journal.publish(ctx, s.entry.account, r); err != nil {
		return err
	}
	s.made = r
	return nil
}

// Wait returns when every name server shows the record.
func (s *dnsSolver) Wait(ctx context.Context, _ acme.Challenge) error {
	if s.made == nil {
		return nil
	}
	p := propagation{
		resolver: s.entry.resolver, zone: s.at.zone, name: s.at.name, value: s.made.Value,
		first: s.pace.lookFirst, max: s.pace.lookMax, timeout: s.entry.timeout,
		log: s.log.With("name", s.name), say: s.say,
	}
	err := p.wait(ctx)
	if err == nil {
		s.say("waiting for the authority to look at the DNS record")
	}
	return err
}

// CleanUp deletes the record, also when the order has been given up. What it
// cannot delete is in the journal.
func (s *dnsSolver) CleanUp(ctx context.Context, _ acme.Challenge) error {
	if s.made == nil {
		return nil
	}
	r := s.made
	s.made = nil
	if err := s.journal.withdraw(ctx, s.entry.account, r); err != nil {
		s.log.Warn("DNS record left behind for now, it will be deleted later", "name", s.name, "zone", r.Zone, "error", plain(err))
	}
	return nil
}
