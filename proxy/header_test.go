package proxy

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/textproto"
	"strings"
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
	gone("X!Forwarded!For")                              // CGI turns "!" into "_" as well
	gone("X-Forwarded-" + strings.Repeat("Anything", 9)) // however long
	gone("Content~Length")
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

// TestForgedFields: neither spelling nor the Connection field gets a client
// around what we or the operator set.
func TestForgedFields(t *testing.T) {
	main, hook := newBackend(t, "main"), newBackend(t, "hook")
	f := newFront(t, oneSite(main, fmt.Sprintf(`    routes:
      - { name: hook, path_prefix: /hook, upstreams: [%q], request_headers: { X-Auth-User: operator, X-Gone: "" } }
`, hook.url())))
	c := f.rawConn(f.https, "http/1.1")
	fmt.Fprint(c, "POST /hook HTTP/1.1\r\nHost: matrix.example.com\r\n"+
		"Connection: X-Forwarded-For, Host, X-Auth-User, Content-Length, Transfer-Encoding, X-Hop\r\n"+
		"Keep-Alive: 5\r\nX-Hop: forged\r\nTE: trailers\r\nUpgrade: h2c\r\nHTTP2-Settings: forged\r\nProxy-Authorization: forged\r\n"+
		"X_Auth_User: forged\r\nx.auth.user: forged\r\nX-Gone: forged\r\nX_Gone: forged\r\nX-Forwarded-Host: forged\r\nX!Real!IP: forged\r\n"+
		"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Auth-User: forged\r\nX_Forwarded_For: forged\r\nX-Kept: yes\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != 200 {
		t.Fatal(resp, err)
	}
	s := hook.last(t)
	if all := s.head + s.body; strings.Contains(all, "forged") || s.body != "abc[X-Kept: yes]" {
		t.Errorf("the back end got:\n%s%s", s.head, s.body)
	}
	for name, want := range map[string]string{"Host": "matrix.example.com", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "matrix.example.com",
		"X-Forwarded-Proto": "https", "X-Auth-User": "operator", "Transfer-Encoding": "chunked", "Connection": "", "Upgrade": ""} {
		if got := strings.Join(s.field[http.CanonicalHeaderKey(name)], ","); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestAnswerFields: what a back end says to this hop alone stops here.
func TestAnswerFields(t *testing.T) {
	main := newBackend(t, "main")
	main.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
		fmt.Fprint(w, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n"+
			"HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 1\r\nUpgrade: h2c\r\nTrailer: X-T\r\n"+
			"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nX_Kept: yes\r\nContent-Length: 2\r\n\r\nok")
		return false
	})
	f := newFront(t, oneSite(main, ""))
	for _, h2 := range []bool{false, true} {
		var hints int
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			if hints++; code != 103 || h.Get("Link") != "</a>" || h.Get("X-Hop") != "" {
				t.Errorf("h2=%v: %d %v", h2, code, h)
			}
			return nil
		}})
		req, err := http.NewRequestWithContext(ctx, "GET", "https://matrix.example.com/_matrix/client/versions", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := f.client(f.https, h2).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		for _, name := range []string{"Connection", "X-Hop", "Keep-Alive", "Upgrade", "Trailer", "Link"} {
			if v := resp.Header.Get(name); v != "" {
				t.Errorf("h2=%v: %s: %s", h2, name, v)
			}
		}
		if hints != 1 || resp.Close || len(resp.Header.Values("Set-Cookie")) != 2 || resp.Header.Get("X_kept") != "yes" {
			t.Errorf("h2=%v: %d hints, %v", h2, hints, resp)
		}
	}
	old := f.rawConn(f.https, "http/1.1")
	fmt.Fprint(old, "GET /_matrix/client/versions HTTP/1.0\r\nHost: matrix.example.com\r\n\r\n")
	if line, err := bufio.NewReader(old).ReadString('\n'); !strings.HasSuffix(line, " 200 OK\r\n") {
		t.Errorf("HTTP/1.0 got %q %v; no interim answers there (RFC 9110, section 15.2)", line, err)
	}
}
