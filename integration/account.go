//go:build integration

package integration

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"vestibule/acme/ovhtest"
)

// account is how a homeserver's front door may change its zone at OVH.
type account func(names *ovhtest.Server, zone string) map[string]string

// The three kinds of credentials. Each returns the secrets, by the key of the
// configuration that names their file.

func application(names *ovhtest.Server, zone string) map[string]string {
	key, secret, consumer := rand.Text(), rand.Text(), rand.Text()
	names.AddApplication(key, secret)
	names.AddConsumer(key, consumer, rights(zone)...)
	return map[string]string{"application_key_file": key, "application_secret_file": secret, "consumer_key_file": consumer}
}

func serviceAccount(names *ovhtest.Server, zone string) map[string]string {
	id, secret := rand.Text(), rand.Text()
	names.AddOAuthClient(id, secret, rights(zone)...)
	return map[string]string{"client_id_file": id, "client_secret_file": secret}
}

func bearerToken(names *ovhtest.Server, zone string) map[string]string {
	token := rand.Text()
	names.AddAccessToken(token, rights(zone)...)
	return map[string]string{"access_token_file": token}
}

// rights are what docs/ovh.md has operators grant for a zone, and nothing else.
func rights(zone string) []ovhtest.Rule {
	path := "/domain/zone/" + zone
	return append(ovhtest.LeastRules(zone),
		ovhtest.Rule{Method: "GET", Path: path},
		ovhtest.Rule{Method: "GET", Path: path + "/record"},
		ovhtest.Rule{Method: "GET", Path: path + "/record/*"})
}

// proof is the entry of certificates.acme.challenges by which a front door proves
// control over a zone, with an account at OVH. The secrets go to files in
// directory.
func (l *laboratory) proof(zone string, of account, directory string) (string, error) {
	ovh := "endpoint: " + l.names.URL
	secrets := of(l.names, zone)
	if _, found := secrets["client_id_file"]; found {
		ovh += ", token_url: " + l.names.TokenURL
	}
	problems := []error{os.MkdirAll(directory, 0o700)}
	for key, secret := range secrets {
		file := filepath.Join(directory, key)
		ovh += fmt.Sprintf(", %s: %s", key, file)
		problems = append(problems, os.WriteFile(file, []byte(secret+"\n"), 0o600))
	}
	return fmt.Sprintf("zone: %s, dns01: { ovh: { %s } }", zone, ovh), errors.Join(problems...)
}
