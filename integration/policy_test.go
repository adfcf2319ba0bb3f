//go:build integration

package integration

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/federation"
)

// TestFederationPolicy has another homeserver come to front doors that federate
// with nobody, with it, and with others. The Synapse behind them is the same,
// and would answer all of it.
func TestFederationPolicy(t *testing.T) {
	laura := register(t, "laura", "LAURA")
	token, err := laura.RequestOpenIDToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		door                       frontDoor
		signed, unsigned, userinfo bool // is answered
		wellKnown                  int
	}{
		{frontDoor{name: "with-nobody", address: "127.1.0.10", admin: "127.0.0.1:9187", federation: "with: none"},
			false, false, false, http.StatusNotFound},
		{frontDoor{name: "with-callers", address: "127.1.0.11", admin: "127.0.0.1:9188", federation: "with: none, openid: open"},
			false, false, true, http.StatusOK},
		{frontDoor{name: "with-peer", address: "127.1.0.12", admin: "127.0.0.1:9189", federation: `with: ["p?er.*"]`},
			true, true, true, http.StatusOK},
		{frontDoor{name: "with-others", address: "127.1.0.13", admin: "127.0.0.1:9190", federation: "with: [partner.test]"},
			false, true, true, http.StatusOK},
	} {
		t.Run(c.door.name, func(t *testing.T) {
			v := secondDoor(t, c.door)
			roots := doorRoots(t, v)
			if status := wellKnownStatus(t, c.door, roots); status != c.wellKnown {
				t.Errorf("/.well-known/matrix/server answers %d, want %d", status, c.wellKnown)
			}
			peer, ctx := lab.peer.through(c.door, roots), t.Context()
			profile, err := peer.QueryProfile(ctx, serverName, laura.UserID)
			if err == nil && profile.DisplayName != "laura" {
				err = fmt.Errorf("of %s", profile.DisplayName)
			}
			wantAnswer(t, "a profile", err, c.signed)
			_, err = peer.SendTransaction(ctx, &federation.ReqSendTransaction{
				Destination: serverName, Origin: peerName, TxnID: c.door.name, PDUs: []federation.PDU{}, EDUs: []federation.EDU{},
			})
			wantAnswer(t, "a transaction", err, c.signed)
			_, err = peer.ServerKeys(ctx, serverName)
			wantAnswer(t, "keys", err, c.unsigned)
			_, err = peer.Version(ctx, serverName)
			wantAnswer(t, "the version", err, c.unsigned)
			user, err := peer.GetOpenIDUserInfo(ctx, serverName, token.AccessToken)
			if err == nil && user.Sub != laura.UserID {
				err = fmt.Errorf("of %s", user.Sub)
			}
			wantAnswer(t, "userinfo", err, c.userinfo)
			wantDenied(t, v, c.signed, c.signed, c.unsigned, c.unsigned, c.userinfo)
		})
	}
}

// wellKnownStatus is how a front door answers whoever looks for the homeserver.
func wellKnownStatus(t *testing.T, door frontDoor, roots *x509.CertPool) int {
	t.Helper()
	c := newClient(nil)
	c.through(door.address, roots)
	response, err := c.do(http.MethodGet, "https://"+serverName+"/.well-known/matrix/server")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// wantAnswer tells a refusal by the front door from any other failure.
func wantAnswer(t *testing.T, what string, err error, answered bool) {
	t.Helper()
	var refusal mautrix.HTTPError
	refused := errors.As(err, &refusal) && refusal.IsStatus(http.StatusForbidden) && refusal.RespError != nil &&
		refusal.RespError.ErrCode == "M_FORBIDDEN" && refusal.RespError.Err == "This homeserver does not federate with you."
	if answered && err != nil || !answered && !refused {
		t.Errorf("%s: %v", what, err)
	}
}

// wantDenied counts the refusals, so that none of them came from Synapse.
func wantDenied(t *testing.T, v *vestibule, answered ...bool) {
	t.Helper()
	want := 0.0
	for _, yes := range answered {
		if !yes {
			want++
		}
	}
	counts, err := v.sample("vestibule_requests_total", "class")
	if err != nil || counts["deny"] != want {
		t.Errorf("%v requests were denied, want %v (%v)", counts["deny"], want, err)
	}
}
