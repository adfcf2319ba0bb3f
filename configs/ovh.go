package configs

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// OVH is an account at OVHcloud. Its secrets are in files of their own, one
// value each. When no file is named they are in the environment:
// OVH_APPLICATION_KEY, OVH_APPLICATION_SECRET and OVH_CONSUMER_KEY, or
// OVH_CLIENT_ID and OVH_CLIENT_SECRET, or OVH_ACCESS_TOKEN. One kind of account
// is to be given, whole.
type OVH struct {
	// Endpoint is "ovh-eu", "ovh-ca", "ovh-us" or the URL of an API of the same
	// kind. Optional. Defaults to OVH_ENDPOINT when the secrets are in the
	// environment, else to ovh-eu.
	Endpoint string `yaml:"endpoint"`

	// ApplicationKeyFile, ApplicationSecretFile and ConsumerKeyFile belong to an
	// application and what it was allowed.
	ApplicationKeyFile    string `yaml:"application_key_file"`
	ApplicationSecretFile string `yaml:"application_secret_file"`
	ConsumerKeyFile       string `yaml:"consumer_key_file"`
	// ClientIDFile and ClientSecretFile belong to an OAuth 2.0 client, a service
	// account.
	ClientIDFile     string `yaml:"client_id_file"`
	ClientSecretFile string `yaml:"client_secret_file"`
	// TokenURL is where that client gets its tokens. Optional, unless Endpoint is
	// a URL.
	TokenURL string `yaml:"token_url"`
	// AccessTokenFile holds a token that somebody else renews.
	AccessTokenFile string `yaml:"access_token_file"`
}

// ovhRegion is one of OVHcloud's three separate clouds: an account of one is
// unknown to the others.
type ovhRegion struct{ name, api, token string }

// ovhRegions are the endpoints with a name (github.com/ovh/go-ovh, Endpoints
// and the token URLs of its OAuth 2.0 client).
var ovhRegions = []ovhRegion{
	{"ovh-eu", "https://eu.api.ovh.com/1.0", "https://www.ovh.com/auth/oauth2/token"},
	{"ovh-ca", "https://ca.api.ovh.com/1.0", "https://ca.ovh.com/auth/oauth2/token"},
	{"ovh-us", "https://api.us.ovhcloud.com/1.0", "https://us.ovhcloud.com/auth/oauth2/token"},
}

const defaultOVHRegion = "ovh-eu"

// region finds the region that an endpoint names, by its word or by its URL.
func region(endpoint string) (ovhRegion, bool) {
	i := slices.IndexFunc(ovhRegions, func(r ovhRegion) bool { return endpoint == r.name || endpoint == r.api })
	if i < 0 {
		return ovhRegion{}, false
	}
	return ovhRegions[i], true
}

// isURL tells a URL from a word.
func isURL(endpoint string) bool { return strings.Contains(endpoint, "://") }

// endpointMistake says what is wrong with an endpoint.
func endpointMistake(endpoint string) (message, hint string) {
	if _, known := region(endpoint); known {
		return "", ""
	}
	words := make([]string, len(ovhRegions))
	for i, r := range ovhRegions {
		words[i] = r.name
	}
	if !isURL(endpoint) {
		if meant := nearest(endpoint, words); meant != "" {
			return quote(endpoint) + " is not known", "did you mean " + quote(meant) + "?"
		}
		return quote(endpoint) + " is not known", "write " + enumerate(append(words, "a URL"))
	}
	return callMistake(endpoint)
}

// callMistake says what is wrong with a URL that is called with credentials.
func callMistake(text string) (message, hint string) {
	if message, hint = urlMistake(text); message != "" {
		return message, hint
	}
	if before, _, found := cutAny(text, "?#"); found {
		return quote(text) + " has a query or a fragment", "write " + quote(before)
	}
	return "", ""
}

// inTheClear tells whether a call to the URL can be read on its way.
func inTheClear(text string) bool {
	parsed, err := url.Parse(text)
	if err != nil || parsed.Scheme != "http" || parsed.Hostname() == "localhost" {
		return false
	}
	address, err := netip.ParseAddr(parsed.Hostname())
	return err != nil || !address.IsLoopback()
}

// check looks at what is written; whether OVH knows the credentials is for its
// API to say.
func (o *OVH) check(at spot) {
	at.key("endpoint").valid(o.Endpoint, endpointMistake)
	at.key("token_url").valid(o.TokenURL, callMistake)
	for _, key := range []spot{at.key("endpoint"), at.key("token_url")} {
		if text := key.node; text != nil && inTheClear(text.value) {
			key.warn(quote(text.value)+" is not encrypted: whoever listens on the way can read the credentials", "write https://")
		}
	}
	for _, secret := range o.secrets() {
		secret.check(at.key(secret.key))
	}
	o.checkKinds(at)
}

// checkKinds wants the files of one kind of credentials, all of them, or none.
func (o *OVH) checkKinds(at spot) {
	var first *ovhSecret
	for _, secret := range o.secrets() {
		switch {
		case !at.key(secret.key).written():
		case first == nil:
			first = &secret
		case secret.kind != first.kind:
			at.key(secret.key).fail("is another kind of credentials than "+first.key, "keep one kind")
			return
		}
	}
	for _, secret := range o.secrets() {
		if first != nil && secret.kind == first.kind && !at.key(secret.key).written() {
			at.key(secret.key).fail("is required beside "+first.key, "")
		}
	}
	o.checkTokenURL(at, first)
}

func (o *OVH) checkTokenURL(at spot, first *ovhSecret) {
	key := at.key("token_url")
	_, known := region(o.Endpoint)
	switch {
	case first == nil:
	case first.kind != OVHClient && key.written():
		key.fail("is only for an OAuth 2.0 client", "remove it")
	case first.kind == OVHClient && isURL(o.Endpoint) && !known && !key.written():
		key.fail("is required with an endpoint of your own", "write the URL that gives access tokens")
	}
}

// check reads the file: a secret that is missing would otherwise be found out
// when a certificate is due.
func (s *ovhSecret) check(at spot) {
	if !at.written() {
		return
	}
	if *s.file == "" {
		at.reject("is empty", "")
		return
	}
	*s.file = at.resolve(*s.file)
	at.checkSecret(*s.file)
}
