package acme

import (
	"testing"
)

// The apex, hosts and a wildcard together: two of the records share a name.
func TestObtain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	m := w.start(t)
	names := []string{"example.org", "matrix.example.org", "auth.example.org", "*.example.org"}
	obtained(t, m, names...)
	server := serve(t, m.GetCertificate)
	for sni, name := range map[string]string{
		"example.org": "example.org", "matrix.example.org": "matrix.example.org",
		"auth.example.org": "auth.example.org", "element.example.org": "element.example.org",
	} {
		server.given(t, w.ca.root(t), sni, name)
	}
	w.clean(t, "example.org")
	if n := w.ca.ordered(); n != len(names) {
		t.Errorf("%d orders for %d names", n, len(names))
	}
	for _, name := range names {
		if c := find(m, name); c.State != Valid || c.Issuer != "acme" || c.Error != "" {
			t.Errorf("%+v", c)
		}
	}
	eventually(t, "progress is over", func() bool { return find(m, "example.org").Progress == "" })
}

// obtained waits until every name has a certificate of its own.
func obtained(t *testing.T, m *Manager, names ...string) {
	t.Helper()
	m.Manage(t.Context(), names)
	for _, name := range names {
		eventually(t, name+" is obtained", func() bool { return find(m, name).State == Valid })
	}
}
