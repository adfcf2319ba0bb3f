package acme

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/mholt/acmez/v3/acme"
	"github.com/miekg/dns"
)

// preflight looks before an order at everything that would make it fail. Authorities
// allow few failures (Let's Encrypt: five an hour for a name), and the reasons they
// give are seldom the cause.
type preflight struct {
	issuer   *issuer
	settings *settings
	entry    *entry
	name     string
	say      func(string)
}

const (
	// diskSpace is the least that must be free, in bytes: a certificate that
	// cannot be stored is lost, and counted nevertheless.
	diskSpace = 1 << 20
	// directoryMax bounds what is read of a directory, in bytes.
	directoryMax = 1 << 20
	// skewWarning is from when on the clock is spoken of, skewFailure when
	// nothing can be expected to work any more.
	skewWarning = 10 * time.Second
	skewFailure = 24 * time.Hour
)

// run returns where the record is to go, or a fault.
func (p preflight) run(ctx context.Context) (placement, error) {
	p.say("checking everything before the order")
	if err := p.checkStorage(); err != nil {
		return placement{}, err
	}
	identities, err := p.identities(ctx)
	if err != nil {
		return placement{}, err
	}
	query := caaQuery{name: p.name, identities: identities, method: acme.ChallengeTypeHTTP01}
	if account, err := p.issuer.loadAccount(ctx, p.settings.email); err == nil {
		query.account = account.Location
	}
	var at placement
	if p.entry.dns == nil {
		err = p.checkAddress(ctx)
	} else {
		query.method = acme.ChallengeTypeDNS01
		at, err = p.checkOVH(ctx)
		err = p.placed(err)
	}
	if err != nil {
		return placement{}, err
	}
	return at, p.entry.resolver.checkCAA(ctx, query)
}

// checkStorage makes sure that what is obtained can be kept.
func (p preflight) checkStorage() error {
	directory := p.issuer.manager.directory
	var disk syscall.Statfs_t
	if err := syscall.Statfs(directory, &disk); err != nil {
		return storageProblem(directory, err)
	}
	if free := disk.Bavail * uint64(disk.Bsize); free < diskSpace {
		return storageProblem(directory, syscall.ENOSPC)
	}
	if err := tryFile(directory); err != nil {
		return storageProblem(directory, err)
	}
	return nil
}

// identities are what the authority calls itself in CAA records.
func (p preflight) identities(ctx context.Context) ([]string, error) {
	directory, err := p.readDirectory(ctx)
	if err != nil {
		return nil, p.issuer.unreachable(err)
	}
	if directory.Meta == nil {
		return nil, nil
	}
	if profile := p.settings.profile; profile != "" && directory.Meta.Profiles[profile] == "" {
		return nil, newFault("remove certificates.acme.profile, or write one it knows", "the authority has no profile %q", profile)
	}
	identities := make([]string, len(directory.Meta.CAAIdentities))
	for i, identity := range directory.Meta.CAAIdentities {
		identities[i] = canonical(identity)
	}
	return identities, nil
}

// readDirectory asks the authority for its directory (RFC 8555, section 7.1.1),
// really: acmez remembers it, and an authority that is gone is to be noticed now.
func (p preflight) readDirectory(ctx context.Context) (directory acme.Directory, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.issuer.directory, http.NoBody)
	if err != nil {
		return directory, err
	}
	response, err := p.settings.client.Do(request)
	if err != nil {
		return directory, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return directory, fmt.Errorf("it answers %d", response.StatusCode)
	}
	err = json.NewDecoder(io.LimitReader(response.Body, directoryMax)).Decode(&directory)
	if err == nil && directory.NewOrder == "" {
		err = errors.New("what it answers is not an ACME directory")
	}
	return directory, err
}

// checkAddress is for http-01: the authority must find an address.
func (p preflight) checkAddress(ctx context.Context) error {
	if isAddress(p.name) {
		return nil
	}
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		reply, err := p.entry.resolver.lookup(ctx, p.name, kind)
		if err != nil {
			return err
		}
		if len(records[*dns.A](reply))+len(records[*dns.AAAA](reply)) > 0 {
			return nil
		}
	}
	return newFault("add an A or AAAA record that leads to this machine", "%s has no address in DNS, and http01 needs one", p.name)
}

// checkOVH makes sure that a record can be made, published, seen and deleted.
func (p preflight) checkOVH(ctx context.Context) (placement, error) {
	e := p.entry.dns
	if err := p.checkClock(ctx, e.account); err != nil {
		return placement{}, err
	}
	if _, err := e.account.knownRights(ctx); err != nil {
		return placement{}, err // wrong credentials, before anything that would hide them
	}
	at, err := e.place(ctx, p.name)
	if err != nil {
		return placement{}, err
	}
	if err := e.checkDelegation(ctx, at); err != nil {
		return placement{}, err
	}
	if err := e.account.checkRights(ctx, at.zone); err != nil {
		return placement{}, err
	}
	p.countLeftovers(ctx, at)
	return at, nil
}

// placed names the entry that an error is of, when there are several.
func (p preflight) placed(err error) error {
	if f := faultOf(err); f != nil && len(p.settings.entries) > 1 {
		return f.at(p.entry.label)
	}
	return err
}

// checkClock compares our clock with OVH's. OVH's requests are signed with its
// time, so a wrong clock does no harm there, but certificates have dates. What was
// measured before does not count: the clock may have been set since.
func (p preflight) checkClock(ctx context.Context, account *ovhAccount) error {
	account.offset.forget()
	offset, err := account.clock(ctx)
	if err != nil {
		return err
	}
	const hint = "run an NTP client on this machine"
	rounded := offset.Abs().Round(time.Second)
	switch {
	case offset.Abs() >= skewFailure:
		return newFault(hint, "this machine's clock is wrong by %s, compared with OVH's", rounded)
	case offset.Abs() >= skewWarning:
		p.issuer.manager.log.WarnContext(ctx, "this machine's clock is wrong; run an NTP client", "by", rounded.String(), "compared_with", "OVH")
	}
	return nil
}

// leftoversMax is how many TXT records under a challenge name are no reason to
// speak of them; OVH and authorities have limits.
const leftoversMax = 5

// countLeftovers tells of records that are not ours and pile up. They are left
// alone: other programs may be at work.
func (p preflight) countLeftovers(ctx context.Context, at placement) {
	reply, err := p.entry.dns.resolver.lookup(ctx, at.name, dns.TypeTXT)
	if err != nil {
		return // the record is asked for again once it is made
	}
	if n := len(records[*dns.TXT](reply)); n > leftoversMax && strings.HasPrefix(at.name, challengeLabel) {
		p.issuer.manager.log.WarnContext(ctx, "other programs left challenge records behind; delete them in OVH's manager", "record", at.name, "count", n)
	}
}
