package acme

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// tokenMargin is how long before its end a token is replaced.
const tokenMargin = time.Minute

// oauth2Token is an access token of the service account (RFC 6749, section 4.4).
// go-ovh would ask for it at the three public token endpoints only.
func (a *ovhAccount) oauth2Token(ctx context.Context) (string, error) {
	return a.token.get(ctx, a.pace.call, func(ctx context.Context) (string, time.Duration, error) {
		config := clientcredentials.Config{
			ClientID:     a.credentials.ClientID,
			ClientSecret: a.credentials.ClientSecret.Reveal(),
			TokenURL:     a.credentials.TokenURL,
			Scopes:       []string{"all"},
		}
		ctx = context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Transport: a.transport})
		token, err := config.Token(ctx)
		if err != nil {
			return "", 0, a.tokenFailure(err)
		}
		life := time.Hour
		if !token.Expiry.IsZero() {
			life = max(time.Until(token.Expiry)-tokenMargin, time.Until(token.Expiry)/2)
		}
		return token.AccessToken, life, nil
	})
}

// tokenFailure leaves out the answer's body, which may be anything.
func (a *ovhAccount) tokenFailure(err error) error {
	e := &ovhError{method: http.MethodPost, path: tokenPath(a.credentials.TokenURL)}
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) || refused.Response == nil {
		e.cause = err
		return e
	}
	e.status, e.class, e.message = refused.Response.StatusCode, "token", refused.ErrorCode
	e.wait = retryAfter(refused.Response.Header)
	return e
}

func tokenPath(address string) string {
	parsed, err := url.Parse(address)
	if err != nil {
		return address
	}
	return parsed.Path
}
