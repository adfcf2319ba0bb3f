package proxy

import (
	"net/netip"
	"testing"
)

func TestDropped(t *testing.T) {
	gone := func(name string) {
		t.Helper()
		if !dropped(name, []string{"close, X-Secret-Hop"}) {
			t.Errorf("%s was kept", name)
		}
	}
	kept := func(name string) {
		t.Helper()
		if dropped(name, []string{"close, X-Secret-Hop"}) {
			t.Errorf("%s was dropped", name)
		}
	}
	gone("Connection")
	gone("X-Secret-Hop") // named by Connection
	gone("Keep-Alive")
	gone("TE")
	gone("Transfer-Encoding")
	gone("transfer_encoding") // read as Transfer-Encoding by CGI-like gateways
	gone("Content-Length")
	gone("content.length")
	gone("Host")
	gone("HTTP2-Settings")
	gone("X-Forwarded-For")
	gone("x-forwarded-for")
	gone("X_Forwarded_For")
	gone("X.Forwarded.For")
	gone("X-Forwarded-Anything")
	gone("X-Real-IP")
	gone("x_real_ip")
	gone("Forwarded")
	kept("Authorization")
	kept("X-Lab-Id")
	kept("X-ForwardedFor") // another name altogether
	kept("Cookie")
	kept("X_Custom")
}

func TestIdentify(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	is := func(name, peer string, header Header, client string, secure bool) {
		t.Helper()
		req := &Request{Peer: netip.MustParseAddrPort(peer), Header: header}
		id := identify(req, proxies)
		if id.client.String() != client || id.secure != secure {
			t.Errorf("%s: %s secure=%v; want %s secure=%v", name, id.client, id.secure, client, secure)
		}
	}
	forged := Header{{"X-Forwarded-For", "1.2.3.4"}, {"X-Forwarded-Proto", "https"}}
	is("a stranger may claim nothing", "192.0.2.1:9", forged, "192.0.2.1", false)
	is("an IPv4 peer on an IPv6 socket", "[::ffff:192.0.2.1]:9", nil, "192.0.2.1", false)
	is("a trusted proxy speaks for its client", "10.0.0.1:9", forged, "1.2.3.4", true)
	is("only what trusted hops wrote counts", "10.0.0.1:9",
		Header{{"X-Forwarded-For", "6.6.6.6, 1.2.3.4, 10.9.9.9"}}, "1.2.3.4", false)
	is("fields are read from the last", "10.0.0.1:9",
		Header{{"X-Forwarded-For", "6.6.6.6"}, {"x-forwarded-for", "1.2.3.4"}}, "1.2.3.4", false)
	is("nonsense ends the chain", "10.0.0.1:9", Header{{"X-Forwarded-For", "1.2.3.4, unknown"}}, "10.0.0.1", false)
	is("IPv6 with a port", "[fd00::1]:9", Header{{"X-Forwarded-For", "[2001:db8::7]:443"}}, "2001:db8::7", false)
	is("an empty chain is the proxy itself", "10.0.0.1:9", Header{{"X-Forwarded-For", ""}}, "10.0.0.1", false)
	is("all hops trusted: the first", "10.0.0.1:9", Header{{"X-Forwarded-For", "10.0.0.3, 10.0.0.2"}}, "10.0.0.3", false)
}

func TestMask(t *testing.T) {
	for in, want := range map[string]string{"192.0.2.77": "192.0.2.0", "2001:db8:1:2::3": "2001:db8:1::"} {
		if got := mask(netip.MustParseAddr(in)).String(); got != want {
			t.Errorf("%s masked to %s, want %s", in, got, want)
		}
	}
}
