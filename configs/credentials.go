package configs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// The kinds of OVHCredentials.
const (
	OVHApplication = "application" // an application key, its secret and a consumer key
	OVHClient      = "oauth2"      // an OAuth 2.0 client, which OVH calls a service account
	OVHToken       = "token"       // an access token somebody else renews
)

// OVHCredentials are what an account at OVH is used with, all of one Kind; the
// fields of the other kinds are zero.
type OVHCredentials struct {
	Kind     string // OVHApplication, OVHClient or OVHToken
	Endpoint string // URL of the API without a slash at the end, such as "https://eu.api.ovh.com/1.0"

	ApplicationKey    string
	ApplicationSecret Secret
	ConsumerKey       Secret

	ClientID     string
	ClientSecret Secret
	TokenURL     string

	AccessToken Secret
}

// ovhSecret is one value of the credentials: where it may come from.
type ovhSecret struct {
	kind     string
	key      string // in the configuration
	variable string // in the environment
	file     *string
}

// secrets lists the values, kind by kind.
func (o *OVH) secrets() []ovhSecret {
	return []ovhSecret{
		{OVHApplication, "application_key_file", "OVH_APPLICATION_KEY", &o.ApplicationKeyFile},
		{OVHApplication, "application_secret_file", "OVH_APPLICATION_SECRET", &o.ApplicationSecretFile},
		{OVHApplication, "consumer_key_file", "OVH_CONSUMER_KEY", &o.ConsumerKeyFile},
		{OVHClient, "client_id_file", "OVH_CLIENT_ID", &o.ClientIDFile},
		{OVHClient, "client_secret_file", "OVH_CLIENT_SECRET", &o.ClientSecretFile},
		{OVHToken, "access_token_file", "OVH_ACCESS_TOKEN", &o.AccessTokenFile},
	}
}

// Credentials reads the files or, when the configuration names none, the
// variables OVH_* that getenv gives. Files never mix with the environment. An
// error names the key and the file, or the variable.
func (o *OVH) Credentials(getenv func(string) string) (OVHCredentials, error) {
	values, err := o.fileValues()
	endpoint := o.Endpoint
	if err == nil && len(values) == 0 {
		values, err = o.environmentValues(getenv)
		if endpoint == "" {
			endpoint = getenv("OVH_ENDPOINT")
		}
	}
	if err != nil {
		return OVHCredentials{}, err
	}
	c := OVHCredentials{
		ApplicationKey:    values["application_key_file"],
		ApplicationSecret: NewSecret(values["application_secret_file"]),
		ConsumerKey:       NewSecret(values["consumer_key_file"]),
		ClientID:          values["client_id_file"],
		ClientSecret:      NewSecret(values["client_secret_file"]),
		AccessToken:       NewSecret(values["access_token_file"]),
	}
	for _, secret := range o.secrets() {
		if values[secret.key] != "" {
			c.Kind = secret.kind
		}
	}
	return c, c.setEndpoint(endpoint, o.TokenURL)
}

// setEndpoint turns the name of an endpoint into URLs.
func (c *OVHCredentials) setEndpoint(endpoint, tokenURL string) error {
	if endpoint == "" {
		endpoint = defaultOVHRegion
	}
	endpoint = strings.TrimSuffix(endpoint, "/")
	if message, hint := endpointMistake(endpoint); message != "" {
		return hinted(fmt.Errorf("endpoint: %s", message), hint)
	}
	known, found := region(endpoint)
	c.Endpoint = endpoint
	if found {
		c.Endpoint = known.api
	}
	if c.Kind != OVHClient {
		return nil
	}
	if c.TokenURL = tokenURL; tokenURL == "" {
		c.TokenURL = known.token
	}
	if c.TokenURL == "" {
		return errors.New("token_url: is required with an endpoint of your own")
	}
	return nil
}

// fileValues reads the files that are named, by key; none at all is no error.
func (o *OVH) fileValues() (map[string]string, error) {
	return collect(o.secrets(), func(s ovhSecret) string { return s.key }, func(s ovhSecret) (string, error) {
		if *s.file == "" {
			return "", nil
		}
		value, err := readSecret(*s.file)
		if err != nil {
			return "", fmt.Errorf("reading %s: %w", s.key, err)
		}
		return value, nil
	})
}

func (o *OVH) environmentValues(getenv func(string) string) (map[string]string, error) {
	variable := func(s ovhSecret) string { return s.variable }
	values, err := collect(o.secrets(), variable, func(s ovhSecret) (string, error) {
		return strings.TrimSpace(getenv(s.variable)), nil
	})
	if err == nil && len(values) == 0 {
		err = hinted(errors.New("there are no OVH credentials, in files or in the environment"),
			"write application_key_file, application_secret_file and consumer_key_file")
	}
	return values, err
}

// collect gets the values of one whole kind, by key. Name is what an error
// calls a value.
func collect(secrets []ovhSecret, name func(ovhSecret) string, get func(ovhSecret) (string, error)) (map[string]string, error) {
	values := map[string]string{}
	var first *ovhSecret
	for _, secret := range secrets {
		value, err := get(secret)
		switch {
		case err != nil:
			return nil, err
		case value == "":
			continue
		case first == nil:
			first = &secret
		case secret.kind != first.kind:
			return nil, hinted(fmt.Errorf("%s is another kind of credentials than %s", name(secret), name(*first)), "keep one kind")
		}
		values[secret.key] = value
	}
	for _, secret := range secrets {
		if first != nil && secret.kind == first.kind && values[secret.key] == "" {
			return nil, fmt.Errorf("%s is required beside %s", name(secret), name(*first))
		}
	}
	return values, nil
}

// hinted adds a remedy to an error, if there is one.
func hinted(err error, hint string) error {
	if hint == "" {
		return err
	}
	return fmt.Errorf("%w (hint: %s)", err, hint)
}

// maxSecretSize bounds a file with one secret, in bytes: OVH's have 16 or 32,
// and an access token is a JWT of some hundred.
const maxSecretSize = 4 << 10

var (
	errSecretEmpty  = errors.New("is empty")
	errSecretLarge  = errors.New("is larger than 4 KiB")
	errSecretBlanks = errors.New("holds more than the one value that belongs there")
)

// readSecret gives what a file holds, without the blanks around it. A secret of
// OVH is one word: a label before it was copied by mistake.
func readSecret(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxSecretSize+1))
	if err != nil {
		return "", err
	}
	value := strings.TrimSpace(strings.TrimPrefix(string(data), "\ufeff"))
	switch {
	case len(data) > maxSecretSize:
		err = errSecretLarge
	case value == "":
		err = errSecretEmpty
	case strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }):
		err = errSecretBlanks
	}
	if err != nil {
		return "", fmt.Errorf("%s %w", path, err)
	}
	return value, nil
}

// checkSecret reports a file that holds no secret, and warns of one that
// everybody on the machine can read.
func (s spot) checkSecret(path string) {
	if _, err := readSecret(path); err != nil {
		s.unreadable(err)
		return
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o004 != 0 {
		s.warn("every user of this machine can read "+path, "run: chmod 0640 "+path)
	}
}
