package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Credentials come whole, from one place.
func TestCredentials(t *testing.T) {
	directory := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(directory, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key, secret, consumer := file("key", "AK\n"), file("secret", "\ufeff AS \r\n"), file("consumer", "CK")
	application := OVH{ApplicationKeyFile: key, ApplicationSecretFile: secret, ConsumerKeyFile: consumer}
	client := OVH{ClientIDFile: key, ClientSecretFile: secret}
	elsewhere := "https://ovh.example/1.0"
	tests := []struct {
		name        string
		ovh         OVH
		environment string // VARIABLE=value, separated by spaces
		want        string // the credentials, or the error
	}{
		{"an application from files", application, "", "application https://eu.api.ovh.com/1.0 AK AS CK"},
		{"files, and a stray environment", application, "OVH_ENDPOINT=ovh-us OVH_CLIENT_ID=x OVH_CONSUMER_KEY=y OVH_ACCESS_TOKEN=z",
			"application https://eu.api.ovh.com/1.0 AK AS CK"},
		{"a client from files", client, "", "oauth2 https://eu.api.ovh.com/1.0 AK AS https://www.ovh.com/auth/oauth2/token"},
		{"a client of Canada", with(client, "ovh-ca", ""), "", "oauth2 https://ca.api.ovh.com/1.0 AK AS https://ca.ovh.com/auth/oauth2/token"},
		{"a region by its URL", with(client, "https://api.us.ovhcloud.com/1.0", ""), "",
			"oauth2 https://api.us.ovhcloud.com/1.0 AK AS https://us.ovhcloud.com/auth/oauth2/token"},
		{"a client elsewhere", with(client, elsewhere+"/", "https://ovh.example/token"), "",
			"oauth2 https://ovh.example/1.0 AK AS https://ovh.example/token"},
		{"a client elsewhere without token_url", with(client, elsewhere, ""), "", "token_url: is required with an endpoint of your own"},
		{"a token from a file", OVH{AccessTokenFile: key}, "", "token https://eu.api.ovh.com/1.0 AK"},
		{"an application from the environment", OVH{}, "OVH_ENDPOINT=ovh-ca OVH_APPLICATION_KEY=a OVH_APPLICATION_SECRET=b OVH_CONSUMER_KEY=c",
			"application https://ca.api.ovh.com/1.0 a b c"},
		{"an endpoint that wins over the environment's", OVH{Endpoint: "ovh-eu"}, "OVH_ENDPOINT=ovh-ca OVH_ACCESS_TOKEN=t", "token https://eu.api.ovh.com/1.0 t"},
		{"a client from the environment", OVH{}, "OVH_CLIENT_ID=i OVH_CLIENT_SECRET=s", "oauth2 https://eu.api.ovh.com/1.0 i s https://www.ovh.com/auth/oauth2/token"},

		{"nothing", OVH{}, "", "there are no OVH credentials, in files or in the environment " +
			"(hint: write application_key_file, application_secret_file and consumer_key_file)"},
		{"two kinds", OVH{ApplicationKeyFile: key, ApplicationSecretFile: secret, ConsumerKeyFile: consumer, AccessTokenFile: key}, "",
			"access_token_file is another kind of credentials than application_key_file (hint: keep one kind)"},
		{"two kinds in the environment", OVH{}, "OVH_CLIENT_ID=i OVH_ACCESS_TOKEN=t", "OVH_ACCESS_TOKEN is another kind of credentials than OVH_CLIENT_ID (hint: keep one kind)"},
		{"half a kind", OVH{ConsumerKeyFile: consumer}, "", "application_key_file is required beside consumer_key_file"},
		{"half a kind in the environment", OVH{}, "OVH_APPLICATION_KEY=a OVH_APPLICATION_SECRET=b", "OVH_CONSUMER_KEY is required beside OVH_APPLICATION_KEY"},
		{"an endpoint of the environment", OVH{}, "OVH_ENDPOINT=ovh-fr OVH_ACCESS_TOKEN=t", `endpoint: "ovh-fr" is not known (hint: did you mean "ovh-eu"?)`},
		{"a missing file", OVH{AccessTokenFile: directory + "/none"}, "", "reading access_token_file: open DIR/none: no such file or directory"},
		{"a directory", OVH{AccessTokenFile: directory}, "", "reading access_token_file: read DIR: is a directory"},
		{"an empty file", OVH{AccessTokenFile: file("empty", " \n")}, "", "reading access_token_file: DIR/empty is empty"},
		{"a label before the value", OVH{AccessTokenFile: file("label", "token: x")}, "", "reading access_token_file: DIR/label holds more than the one value that belongs there"},
		{"a large file", OVH{AccessTokenFile: file("large", strings.Repeat("x", 4097))}, "", "reading access_token_file: DIR/large is larger than 4 KiB"},
		{"the largest file", OVH{AccessTokenFile: file("largest", strings.Repeat("x", 4096))}, "", "token https://eu.api.ovh.com/1.0 " + strings.Repeat("x", 4096)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.ovh.Credentials(environment(test.environment))
			text := reveal(got)
			if err != nil {
				text = strings.ReplaceAll(err.Error(), directory, "DIR")
			}
			if text != test.want {
				t.Errorf("got  %s\nwant %s", text, test.want)
			}
		})
	}
}

func with(ovh OVH, endpoint, tokenURL string) OVH {
	ovh.Endpoint, ovh.TokenURL = endpoint, tokenURL
	return ovh
}

// environment gives the variables of "A=1 B=2".
func environment(text string) func(string) string {
	return func(name string) string {
		for pair := range strings.FieldsSeq(text) {
			if key, value, _ := strings.Cut(pair, "="); key == name {
				return value
			}
		}
		return ""
	}
}

// reveal gives all of the credentials that is not empty.
func reveal(c OVHCredentials) string {
	return strings.Join(strings.Fields(strings.Join([]string{
		c.Kind, c.Endpoint, c.ApplicationKey, c.ApplicationSecret.Reveal(), c.ConsumerKey.Reveal(),
		c.ClientID, c.ClientSecret.Reveal(), c.TokenURL, c.AccessToken.Reveal(),
	}, " ")), " ")
}

// What validate says of the files that hold credentials.
func TestCheckCredentials(t *testing.T) {
	const site = "\nsites: [ { server_name: example.com, synapse: { main: \"http://synapse:8008\" } } ]\n"
	tests := []struct{ name, ovh, want string }{
		{"a part of a kind is missing", "{ application_key_file: a, consumer_key_file: b }",
			`K.application_secret_file: is required beside application_key_file`},
		{"two kinds", "{ client_id_file: a, client_secret_file: b, access_token_file: c }",
			`K.access_token_file: is another kind of credentials than client_id_file (hint: keep one kind)`},
		{"a token URL without a client", "{ access_token_file: a, token_url: \"https://ovh.example/token\" }",
			`K.token_url: is only for an OAuth 2.0 client (hint: remove it)`},
		{"no token URL", "{ endpoint: \"https://ovh.example/1.0\", client_id_file: a, client_secret_file: b }",
			`K.token_url: is required with an endpoint of your own (hint: write the URL that gives access tokens)`},
		{"a token URL that is none", "{ client_id_file: a, client_secret_file: b, token_url: ovh.example }",
			`K.token_url: "ovh.example" has no scheme (hint: write "https://ovh.example")`},
		{"a file that is missing", "{ access_token_file: none }",
			`K.access_token_file: warning: reading none: no such file or directory`},
		{"a file for everybody", "{ access_token_file: open }",
			`K.access_token_file: warning: every user of this machine can read open (hint: run: chmod 0640 open)`},
		{"a call in the clear", "{ endpoint: \"http://192.0.2.1/1.0\", access_token_file: a }",
			`K.endpoint: warning: "http://192.0.2.1/1.0" is not encrypted: whoever listens on the way can read the credentials (hint: write https://)`},
		{"a call on this machine", "{ endpoint: \"http://127.0.0.1:1/1.0\", access_token_file: a }", ""},
		{"the environment", "{ endpoint: ovh-eu }", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := writeFiles(t, map[string]string{
				"main.yaml": "certificates: { acme: { email: ops@example.com, challenges: [ { zone: example.com, dns01: { ovh: " + test.ovh + " } } ] } }" + site,
				"a":         "1", "b": "2", "c": "3", "open": "4",
			})
			directory := filepath.Dir(path) + "/"
			if err := os.Chmod(directory+"open", 0o644); err != nil {
				t.Fatal(err)
			}
			got := strings.ReplaceAll(withoutPlaces(path), "certificates.acme.challenges[0].dns01.ovh", "K")
			if got = strings.ReplaceAll(got, directory, ""); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// withoutPlaces gives what Load says about what is written, wherever it is.
func withoutPlaces(path string) string {
	_, problems := Load(path)
	for i := range problems {
		problems[i].Place = Place{}
	}
	return problems.Error()
}
