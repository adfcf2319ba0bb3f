package acme

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// issuer obtains certificates by ACME (RFC 8555): an Issuer for certmagic, which
// stores and renews them. certmagic's own ACME issuer is not used: it knows one way
// of proving control for all names, binds port 80 itself for http-01, and makes
// names wait for each other.
type issuer struct {
	manager   *Manager
	directory string // URL
	key       string
}

var _ certmagic.RenewalInfoGetter = (*issuer)(nil)

// orderPatience bounds an attempt apart from the wait for DNS.
const orderPatience = 10 * time.Minute

func newIssuer(m *Manager, directory string) *issuer {
	key := directory
	if parsed, err := url.Parse(directory); err == nil {
		key = strings.Trim(parsed.Host+strings.ReplaceAll(parsed.Path, "/", "-"), "-")
	}
	return &issuer{manager: m, directory: directory, key: key}
}

// IssuerKey is the directory of the issuer's certificates in the storage.
func (i *issuer) IssuerKey() string { return i.key }

// Issue obtains a certificate for one name. Everything that can be known to fail
// is found before the order, which the authority counts. certmagic holds the name's
// lock meanwhile.
func (i *issuer) Issue(ctx context.Context, request *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	if ctx.Value(ours{}) == nil {
		return nil, errLeft
	}
	name, err := requestName(request)
	if err != nil {
		return nil, err
	}
	s := i.manager.settings()
	e, err := s.entryFor(name)
	if err != nil {
		return nil, err
	}
	limit := orderPatience
	if e.dns != nil {
		limit += e.dns.timeout
		i.manager.sweepName(ctx, name)
	}
	ctx, cancel := context.WithTimeout(withWaits(ctx), limit)
	defer cancel()
	certificate, err := i.issue(ctx, s, e, name, request)
	if err == nil {
		return certificate, nil
	}
	if f := faultOf(err); f != nil {
		return nil, f.waiting(waited(ctx))
	}
	return nil, err
}

func requestName(request *x509.CertificateRequest) (string, error) {
	switch {
	case len(request.DNSNames) == 1:
		return canonical(request.DNSNames[0]), nil
	case len(request.IPAddresses) == 1:
		return canonical(request.IPAddresses[0].String()), nil
	}
	return "", newFault("correct the name", "the name is neither a host name nor an address")
}

func (i *issuer) issue(ctx context.Context, s *settings, e *entry, name string, request *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	before, err := i.tally(ctx, name)
	if err == nil {
		err = before.mayOrder(ctx)
	}
	if err != nil {
		return nil, err
	}
	check := preflight{issuer: i, settings: s, entry: e, name: name, say: i.manager.progress(name)}
	at, err := check.run(ctx)
	if err != nil {
		return nil, err
	}
	check.say("ordering the certificate")
	client := i.client(s)
	client.ChallengeSolvers = i.solvers(e, name, at)
	account, err := i.account(ctx, client, s.email)
	if err != nil {
		return nil, err
	}
	if err := i.begin(ctx, name, before); err != nil {
		return nil, err
	}
	chains, err := i.orderAs(ctx, client, account, s, name, request)
	if err != nil {
		return nil, i.end(ctx, name, before, err)
	}
	return &certmagic.IssuedCertificate{Certificate: chains[0].ChainPEM, Metadata: chains[0]}, nil
}

// orderAs orders as an account, or as a new one when the authority does not know it.
func (i *issuer) orderAs(ctx context.Context, client *acmez.Client, account acme.Account, s *settings, name string, request *x509.CertificateRequest) ([]acme.Certificate, error) {
	chains, err := i.order(ctx, client, account, s.profile, name, request)
	if !isProblem(err, acme.ProblemTypeAccountDoesNotExist) {
		return chains, err
	}
	if err := i.forgetAccount(ctx, s.email); err != nil {
		return nil, err
	}
	if account, err = i.account(ctx, client, s.email); err != nil {
		return nil, err
	}
	return i.order(ctx, client, account, s.profile, name, request)
}

// client is a client of the authority. It logs nothing: its messages hold what the
// authority says of records, and this package says itself what matters.
func (i *issuer) client(s *settings) *acmez.Client {
	return &acmez.Client{Client: &acme.Client{
		Directory: i.directory, HTTPClient: s.client, UserAgent: "vestibule", PollTimeout: 5 * time.Minute,
	}}
}

func (i *issuer) solvers(e *entry, name string, at placement) map[string]acmez.Solver {
	m := i.manager
	if e.dns == nil {
		return map[string]acmez.Solver{acme.ChallengeTypeHTTP01: m.http01}
	}
	return map[string]acmez.Solver{acme.ChallengeTypeDNS01: &dnsSolver{
		entry: e.dns, journal: m.journal(), pace: m.pace, log: m.log, name: name, at: at, say: m.progress(name),
	}}
}

// order opens an order and sees it through. A renewal names what it replaces, so
// that limits do not count it (RFC 9773, section 5). An authority may not want to
// hear it, as from another account than the one that ordered the old certificate;
// then it is ordered as a new one.
func (i *issuer) order(ctx context.Context, client *acmez.Client, account acme.Account, profile, name string, request *x509.CertificateRequest) ([]acme.Certificate, error) {
	parameters, err := acmez.OrderParametersFromCSR(account, request)
	if err != nil {
		return nil, err
	}
	parameters.Profile = profile
	if held := i.manager.cached(name); held != nil && i.issued(ctx, held.Leaf, name) && validNow(held.Leaf) {
		parameters.Replaces = held.Leaf
	}
	chains, err := client.ObtainCertificate(ctx, parameters)
	if parameters.Replaces != nil && notOpened(err) {
		parameters.Replaces = nil
		chains, err = client.ObtainCertificate(ctx, parameters)
	}
	if err == nil && len(chains) == 0 {
		err = errors.New("the authority offers no certificate")
	}
	return chains, err
}

// notOpened tells whether the authority did not want the order as it was. Some
// stumble over what it replaces (Pebble 2.10 with 500, for certain serial numbers),
// so its status says nothing.
func notOpened(err error) bool {
	var problem acme.Problem
	if !errors.As(err, &problem) || problem.Type == acme.ProblemTypeRateLimited || problem.Type == acme.ProblemTypeAccountDoesNotExist {
		return false
	}
	return strings.HasPrefix(err.Error(), "creating new order")
}

// issued tells whether a certificate in memory is the one this authority issued:
// that is what is stored under its name.
func (i *issuer) issued(ctx context.Context, leaf *x509.Certificate, name string) bool {
	if _, err := acme.ARIUniqueIdentifier(leaf); err != nil {
		return false
	}
	stored, err := i.manager.storage.Load(ctx, certmagic.StorageKeys.SiteCert(i.key, name))
	return err == nil && strings.HasPrefix(strings.TrimSpace(string(stored)), strings.TrimSpace(string(encodeCertificate(leaf.Raw))))
}

// GetRenewalInfo asks the authority when a certificate is best renewed (RFC 9773).
// Without an answer it is renewed all the same.
func (i *issuer) GetRenewalInfo(ctx context.Context, certificate certmagic.Certificate) (acme.RenewalInfo, error) {
	info, err := i.client(i.manager.settings()).GetRenewalInfo(ctx, certificate.Leaf)
	if err != nil && ctx.Err() == nil {
		i.manager.log.WarnContext(ctx, "authority does not say when to renew; done with a third of the life left",
			"name", certificate.Names[0], "error", i.explain("asking when to renew", err))
	}
	return info, err
}

func isProblem(err error, kind string) bool {
	var problem acme.Problem
	return errors.As(err, &problem) && problem.Type == kind
}

// failed is the error of an order.
func (i *issuer) failed(err error) *fault {
	if f := faultOf(err); f != nil {
		return f
	}
	return i.explain("ordering the certificate", err)
}

// explain turns an error of acmez into a sentence.
func (i *issuer) explain(doing string, err error) *fault {
	var problem acme.Problem
	if errors.As(err, &problem) {
		detail := problem.Detail
		for _, sub := range problem.Subproblems {
			detail += "; " + sub.Detail
		}
		return newFault(problemHint(problem), "%s: the authority says: %s", doing, redact(detail))
	}
	if errors.Is(err, context.Canceled) {
		return newFault("", "%s: given up", doing).because(err)
	}
	var network net.Error
	var address *url.Error
	if errors.As(err, &address) || errors.As(err, &network) || strings.Contains(err.Error(), "HTTP 5") {
		return i.unreachable(err)
	}
	return newFault("", "%s at %s failed", doing, i.directory).because(err)
}

func (i *issuer) unreachable(err error) *fault {
	text := err
	var address *url.Error
	if errors.As(err, &address) {
		text = address.Err
	}
	return newFault("nothing to do if it comes back; else check that this machine reaches it, and roots_file if it is a private one",
		"the certificate authority at %s is not there", i.directory).because(text)
}

func problemHint(problem acme.Problem) string {
	switch problem.Type {
	case acme.ProblemTypeRateLimited:
		return "nothing to do: it is tried again later; until then, staging: true has wider limits"
	case acme.ProblemTypeCAA:
		return "look at the CAA records of the name and its parents"
	case acme.ProblemTypeConnection, acme.ProblemTypeTLS:
		return "the authority must reach this name on port 80: look at its A and AAAA records and the firewall"
	case acme.ProblemTypeDNS, acme.ProblemTypeUnauthorized:
		return "look at the DNS records of the name, as seen from outside"
	case acme.ProblemTypeRejectedIdentifier:
		return "this authority does not issue for the name"
	case acme.ProblemTypeInvalidContact, acme.ProblemTypeUnsupportedContact:
		return "correct certificates.acme.email"
	}
	if problem.Status == http.StatusForbidden || problem.Status == http.StatusBadRequest {
		return fmt.Sprintf("see %s", problem.Type)
	}
	return ""
}
