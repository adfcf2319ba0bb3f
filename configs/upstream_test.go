package configs

import "testing"

func TestUpstream(t *testing.T) {
	tests := []struct {
		upstream         Upstream
		network, address string
		tls              bool
		name             string
	}{
		{Upstream{URL: "http://synapse:8008"}, "tcp", "synapse:8008", false, ""},
		{Upstream{URL: "http://synapse"}, "tcp", "synapse:80", false, ""},
		{Upstream{URL: "https://synapse"}, "tcp", "synapse:443", true, "synapse"},
		{Upstream{URL: "https://10.0.0.5:8443", ServerName: "synapse"}, "tcp", "10.0.0.5:8443", true, "synapse"},
		{Upstream{URL: "https://[2001:db8::1]"}, "tcp", "[2001:db8::1]:443", true, "2001:db8::1"},
		{Upstream{URL: "unix:/run/synapse.sock"}, "unix", "/run/synapse.sock", false, ""},
	}
	for _, test := range tests {
		u := test.upstream
		if u.Network() != test.network || u.Address() != test.address || u.TLS() != test.tls || u.TLSName() != test.name {
			t.Errorf("%s: got %s %s %v %q", u.URL, u.Network(), u.Address(), u.TLS(), u.TLSName())
		}
	}
}
