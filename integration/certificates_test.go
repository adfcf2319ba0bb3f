//go:build integration

package integration

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"

	"vestibule/acme/ovhtest"
)

// TestCertificates looks at what the front door obtained while it started.
func TestCertificates(t *testing.T) {
	checkCertificates(t, hs1())
}

// checkCertificates connects to a front door as clients and servers do, under
// every name, and wants nothing left of how control over them was proven.
func checkCertificates(t *testing.T, h *homeserver) {
	t.Helper()
	for _, port := range []int{443, h.front.federationPort()} {
		for _, name := range h.door.names {
			checkCertificate(t, name, net.JoinHostPort(name, strconv.Itoa(port)), name)
		}
	}
	if h.srv != "" {
		checkCertificate(t, h.name, net.JoinHostPort(h.front.address, strconv.Itoa(h.port)), "")
	}
	deadline := time.Now().Add(10 * time.Second)
	for slices.ContainsFunc(lab.names.Published(h.name), isText) {
		if time.Now().After(deadline) {
			t.Fatalf("a TXT record is left: %+v", lab.names.Published(h.name))
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func checkCertificate(t *testing.T, name, address, asked string) {
	t.Helper()
	shown := certificate(t, name, address, asked)
	if !slices.Equal(shown.DNSNames, []string{name}) {
		t.Errorf("%s, asked for %q, shows a certificate for %q", address, asked, shown.DNSNames)
	}
	if life := shown.NotAfter.Sub(shown.NotBefore).Round(time.Hour); life != 90*24*time.Hour {
		t.Errorf("the certificate of %s lives for %v", name, life)
	}
}

// certificate is what is shown at an address to who asks for a name, or for none
// if it is "". The authority must have issued it for the first name.
func certificate(t *testing.T, name, address, asked string) *x509.Certificate {
	t.Helper()
	config := &tls.Config{
		ServerName:         asked,
		InsecureSkipVerify: true, // as it cannot verify without asking for a name
		VerifyConnection: func(state tls.ConnectionState) error {
			options := x509.VerifyOptions{DNSName: name, Roots: lab.roots, Intermediates: x509.NewCertPool()}
			for _, issuer := range state.PeerCertificates[1:] {
				options.Intermediates.AddCert(issuer)
			}
			_, err := state.PeerCertificates[0].Verify(options)
			return err
		},
	}
	raw, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	connection := tls.Client(raw, config)
	defer connection.Close()
	if err := connection.Handshake(); err != nil {
		t.Fatalf("%s, asked for %q: %v", address, asked, err)
	}
	return connection.ConnectionState().PeerCertificates[0]
}

// TestRenewal has an operator renew a certificate that is in use.
func TestRenewal(t *testing.T) {
	name := "matrix." + serverName
	address := net.JoinHostPort(name, "443")
	before := certificate(t, name, address, name)
	renew := exec.Command(lab.vestibule.binary, "certificates", "renew", name, "--config", lab.vestibule.configuration)
	if output, err := renew.CombinedOutput(); err != nil {
		t.Fatalf("vestibule certificates renew: %v: %s", err, output)
	}
	if after := certificate(t, name, address, name); after.SerialNumber.Cmp(before.SerialNumber) == 0 {
		t.Error("the old certificate is still shown")
	}
	checkCertificates(t, hs1())
}

// TestHTTP01 starts a front door without any right to change a zone: the
// authority comes to its port 80 instead.
func TestHTTP01(t *testing.T) {
	const name, address = "http01.test", "127.1.0.8"
	lab.names.SetA(name, address)
	lab.names.SetA("matrix."+name, address)
	v := secondDoor(t, frontDoor{
		name: "http01", serverName: name, address: address, admin: "127.0.0.1:9186",
		certificates: lab.authority.section(name, "http01: {}"), root: lab.authority.root,
	})
	for _, n := range v.names {
		checkCertificate(t, n, net.JoinHostPort(n, "443"), n)
	}
}

func isText(r ovhtest.Record) bool { return r.FieldType == "TXT" }
