package configs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestChallenge(t *testing.T) {
	http01, dns01 := &HTTP01{}, &DNS01{OVH: &OVH{}}
	cfg := Default()
	if cfg.Challenge("example.com") != nil {
		t.Error("a challenge without acme")
	}
	cfg.Certificates.ACME = &ACME{Challenges: []Challenge{
		{Zone: "internal.example.com", HTTP01: http01},
		{Zone: "example.com", DNS01: dns01},
		{Zone: "example.org", HTTP01: http01},
	}}
	for name, want := range map[string]string{
		"example.com":            "example.com",
		"matrix.Example.com":     "example.com",
		"*.example.com":          "example.com",
		"*.internal.example.com": "internal.example.com",
		"internal.example.com.":  "internal.example.com",
		"a.b.example.org":        "example.org",
		"notexample.com":         "", // another zone
		"com":                    "",
		"192.0.2.1":              "", // in no zone
	} {
		got := ""
		if challenge := cfg.Challenge(name); challenge != nil {
			got = challenge.Zone
		}
		if got != want {
			t.Errorf("%s: zone %q, want %q", name, got, want)
		}
	}
	cfg.Certificates.ACME.Challenges = append(cfg.Certificates.ACME.Challenges, Challenge{HTTP01: http01})
	if challenge := cfg.Challenge("192.0.2.1"); challenge == nil || challenge.Zone != "" {
		t.Errorf("an entry without zone does not fit an address: %v", challenge)
	}
}

func TestDirectoryURL(t *testing.T) {
	for _, test := range []struct {
		acme ACME
		want string
	}{
		{ACME{}, "https://acme-v02.api.letsencrypt.org/directory"},
		{ACME{Directory: letsEncrypt, Staging: true}, "https://acme-staging-v02.api.letsencrypt.org/directory"},
		{ACME{Directory: "https://acme.example.com/directory"}, "https://acme.example.com/directory"},
	} {
		if got := test.acme.DirectoryURL(); got != test.want {
			t.Errorf("%+v: got %s, want %s", test.acme, got, test.want)
		}
	}
}

// Warnings and what is right, beside the mistakes of testdata/invalid.
func TestCheckACME(t *testing.T) {
	tests := []struct{ name, file, want string }{
		{"everything", `
certificates:
  extra_names: ["*.example.com", turn.example.org]
  acme:
    email: first+last@mail.example.com
    directory: https://acme.example.com/directory
    profile: shortlived
    challenges:
      - zone: Matrix.example.com
        http01: {}
      - zone: example.com
        dns01:
          ovh: { endpoint: ovh-ca }
          delegate: { _acme-challenge.EXAMPLE.com: _x.other_zone.example }
          resolvers: ["192.0.2.53:53", "[2001:db8::53]:53", "dns.example:5353"]
          propagation_timeout: 30s
      - http01: {}
  export: { directory: /export, names: [turn.example.org, "*.example.com"], owner: "turnserver:991" }
`, ""},
		{"another issuer needs no challenge", `
certificates: { issuer: internal, acme: { email: ops@example.com, staging: true, challenges: [ { zone: example.org, http01: {} } ] } }
`, ""},
		{"a delegation for nobody", `
certificates:
  acme:
    email: ops@example.com
    challenges: [ { dns01: { ovh: {}, delegate: { _acme-challenge.matrx.example.com: x.example.net, _acme-challenge.example.net: y.example.net } } } ]
`, `certificates.acme.challenges[0].dns01.delegate._acme-challenge.matrx.example.com: warning: is for a name that needs no certificate ` +
			`(hint: did you mean "_acme-challenge.matrix.example.com"?)
certificates.acme.challenges[0].dns01.delegate._acme-challenge.example.net: warning: is for a name that needs no certificate`},
		{"a name in a certificate file is not asked for", `
certificates:
  files: [ { certificate: a.pem, key: a.key } ]
  extra_names: [turn.example.org, "*.example.net"]
  acme: { email: ops@example.com, challenges: [ { zone: example.com, http01: {} } ] }
`, ""},
		{"a name beside those of a certificate file", `
certificates:
  files: [ { certificate: a.pem, key: a.key } ]
  extra_names: [turn.example.net]
  acme: { email: ops@example.com, challenges: [ { zone: example.org, http01: {} } ] }
`, `certificates.acme.challenges: no entry fits matrix.example.com (hint: add one whose zone holds it, or one without zone for all names)`},
		{"a file that is missing here may hold any name", `
certificates:
  files: [ { certificate: none.pem, key: a.key } ]
  acme: { email: ops@example.com, challenges: [ { zone: example.org, http01: {} } ] }
`, "certificates.files[0].certificate: warning: reading none.pem: no such file or directory"},
		{"an export for everybody", `
certificates: { issuer: internal, export: { directory: /export, names: [matrix.example.com], mode: "0644" } }
`, `certificates.export.mode: warning: private keys of this mode are open to every user of the machine (hint: write "0640" and an owner)`},
	}
	certificate, key := selfSigned(t, "*.example.org", "*.example.net")
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := writeFiles(t, map[string]string{"a.pem": certificate, "a.key": key, "main.yaml": test.file + `
sites:
  - server_name: example.com
    synapse: { main: "http://synapse:8008" }
`})
			if got := strings.ReplaceAll(withoutPlaces(path), filepath.Dir(path)+"/", ""); got != test.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, test.want)
			}
		})
	}
}

// selfSigned gives a certificate for names and its key, as PEM.
func selfSigned(t *testing.T, names ...string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: names, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

// What is left unsaid, and names as DNS compares them. Who finds a server through
// SRV records asks it for a certificate of its server name.
func TestACMEDefaults(t *testing.T) {
	cfg := mustLoad(t, "testdata/valid/acme.yaml")
	acme := cfg.Certificates.ACME
	check(t, map[string]any{
		"issuer":    cfg.Certificates.Issuer,
		"directory": acme.DirectoryURL(),
		"zone":      acme.Challenges[0].Zone,
		"timeout":   acme.Challenges[0].DNS01.PropagationTimeout.Std(),
		"delegate":  acme.Challenges[0].DNS01.Delegate,
		"other":     acme.Challenges[1].DNS01.PropagationTimeout.Std(),
		"export":    *cfg.Certificates.Export,
		"names":     cfg.CertificateNames(),
	}, map[string]any{
		"issuer":    "acme",
		"directory": letsEncrypt,
		"zone":      "example.com",
		"timeout":   15 * time.Minute,
		"delegate":  map[string]string{"_acme-challenge.example.com": "target.example.net"},
		"other":     2 * time.Hour,
		"export":    Export{Directory: "/export", Names: []string{"example.com"}, Mode: "0640", Place: Place{"testdata/valid/acme.yaml", 11, 3}},
		"names":     []string{"example.com", "matrix.example.com"},
	})
}

// TestCertificateWithoutNames: clients look at nothing else, and serve refuses it.
func TestCertificateWithoutNames(t *testing.T) {
	certificate, key := selfSigned(t)
	got := problemsOf(t, map[string]string{"c.pem": certificate, "k.pem": key,
		"main.yaml": "certificates: { issuer: files, files: [{ certificate: c.pem, key: k.pem }] }\nsites: [{ server_name: example.com, synapse: { main: \"http://a:1\" } }]\n"})
	if !strings.Contains(got, "certificates.files[0].certificate: ") || !strings.Contains(got, "names no host in subjectAltName") {
		t.Error(got)
	}
}
