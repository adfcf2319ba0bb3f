package proxy

import (
	"testing"

	"vestibule/configs"
	"vestibule/routing"
)

// A server that followed SRV records and names no host is shown the certificate
// for the server name; everybody else that for the site's host.
func TestDefaultHost(t *testing.T) {
	cfg := &configs.Config{Sites: []*configs.Site{
		{ServerName: "example.com", Host: "matrix.example.com", Federation: configs.Federation{Delegation: "srv"}},
		{ServerName: "example.org", Host: "matrix.example.org", Federation: configs.Federation{Delegation: "well_known"}},
	}}
	for _, test := range []struct {
		role routing.Entrypoint
		site string
		want string
	}{
		{routing.HTTPS, "example.com", "matrix.example.com"},
		{routing.Federation, "example.com", "example.com"},
		{routing.Federation, "", "example.com"}, // the first
		{routing.Federation, "example.org", "matrix.example.org"},
	} {
		if got := defaultHost(cfg, test.role, &configs.Entrypoint{DefaultSite: test.site}); got != test.want {
			t.Errorf("%v, default site %q: %q, want %q", test.role, test.site, got, test.want)
		}
	}
}
