package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vestibule/configs"
)

// plain speaks HTTP/1.1 without TLS to an address.
func (f *front) plain(network, address string) *http.Client {
	tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial(network, address) }}
	f.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

// TestInternal: a site's own plain entrypoint serves that site whatever the
// Host says, and the admin API only when told to.
func TestInternal(t *testing.T) {
	for _, admin := range []bool{false, true} {
		main, other := newBackend(t, "main"), newBackend(t, "other")
		f := newFront(t, fmt.Sprintf("%s\n  - server_name: example.net\n    synapse: { main: %q }\n",
			oneSite(main, fmt.Sprintf("    internal: { addresses: [INTERNAL], admin_api: %v }", admin)), other.url()))
		c := f.plain("tcp", f.internal)
		for _, host := range []string{"matrix-synapse:8008", "127.0.0.1", "matrix.example.net", "nobody.example.org"} {
			if _, text := do(t, c, "GET", "http://"+host+"/_matrix/client/versions", nil); text != "main" {
				t.Errorf("Host %s: %q answered", host, text)
			}
			if got := main.last(t).field; got.Get("Host") != host || got.Get("X-Forwarded-Proto") != "http" {
				t.Errorf("Host %s arrives as %s, by %s", host, got.Get("Host"), got.Get("X-Forwarded-Proto"))
			}
		}
		resp, _ := do(t, c, "GET", "http://x/_synapse/admin/v1/server_version", nil)
		if want := map[bool]int{false: 403, true: 200}[admin]; resp.StatusCode != want {
			t.Errorf("admin_api: %v: %s", admin, resp.Status)
		}
		if resp, _ := do(t, f.client(f.https, true), "GET", "https://matrix.example.com/_synapse/admin/v1/server_version", nil); resp.StatusCode != 403 {
			t.Errorf("admin_api: %v opened the public entrypoint: %s", admin, resp.Status)
		}
		if !strings.Contains(f.written(), `"entrypoint":"internal"`) {
			t.Errorf("not logged as internal: %s", f.log)
		}
	}
}

// TestBehindProxy: without TLS of its own the front door believes what trusted
// proxies say of the client, and nothing that others say.
func TestBehindProxy(t *testing.T) {
	for trusted, want := range map[string][3]string{
		"127.0.0.0/8":  {"203.0.113.7", "https", "203.0.113.7"},
		"192.0.2.0/24": {"127.0.0.1", "http", "127.0.0.1"},
	} {
		main := newBackend(t, "main")
		f := &front{t: t}
		cfg := f.load("trusted_proxies: [" + trusted + "]\nentrypoints: { https: { tls: false } }\n" + oneSite(main, ""))
		f.open(cfg)
		c := f.plain("tcp", f.https)
		do(t, c, "GET", "http://matrix.example.com/_matrix/client/versions", nil,
			"X-Forwarded-For", "6.6.6.6, 203.0.113.7", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "evil.example", "X-Real-IP", "6.6.6.6")
		s := main.last(t)
		got := [3]string{s.field.Get("X-Forwarded-For"), s.field.Get("X-Forwarded-Proto"), s.field.Get("X-Real-IP")}
		if got != want || strings.Contains(s.head, "6.6.6.6") || strings.Contains(s.head, "evil") {
			t.Errorf("trusting %s: %v, want %v\n%s", trusted, got, want, s.head)
		}
		eventually(t, "the request is logged", func() bool { return strings.Contains(f.log.String(), `"client":"`+want[0]+`"`) })
	}
}

// TestUnixEntrypoint: the peer of a Unix socket is trusted by the socket's mode.
func TestUnixEntrypoint(t *testing.T) {
	main := newBackend(t, "main")
	f := &front{t: t}
	cfg := f.load("entrypoints: { https: { tls: false } }\n" + oneSite(main, ""))
	path := filepath.Join(t.TempDir(), "front.sock")
	f.openAt(cfg, "unix:"+path)
	do(t, f.plain("unix", path), "GET", "http://matrix.example.com/_matrix/client/versions", nil, "X-Forwarded-For", "203.0.113.7", "X-Forwarded-Proto", "https")
	if s := main.last(t); s.field.Get("X-Forwarded-For") != "203.0.113.7" || s.field.Get("X-Forwarded-Proto") != "https" {
		t.Errorf("the back end got:\n%s", s.head)
	}
	do(t, f.plain("unix", path), "GET", "http://matrix.example.com/_matrix/client/versions", nil)
	if s := main.last(t); strings.Contains(s.head, "X-Forwarded-For") || strings.Contains(s.head, "X-Real-IP") {
		t.Errorf("an address was made up:\n%s", s.head)
	}
	f.server.Stop(0)
	if l, err := net.Listen("unix", path); err != nil {
		t.Errorf("the socket was left behind: %v", err)
	} else {
		l.Close()
	}
}

// TestFallback: hosts and paths that nobody claims go to the fallback, unchanged.
func TestFallback(t *testing.T) {
	main, traefik := newBackend(t, "main"), newBackend(t, "traefik")
	f := newFront(t, fmt.Sprintf("fallback: %q\n", traefik.url())+oneSite(main, ""))
	c := f.client(f.https, true)
	for _, url := range []string{"https://jitsi.example.org/room?x=%2f", "https://matrix.example.com/hydrogen//a%2Fb"} {
		_, text := do(t, c, "GET", url, nil)
		_, target, _ := strings.Cut(strings.TrimPrefix(url, "https://"), "/")
		if s := traefik.last(t); text != "traefik" || s.line != "GET /"+target+" HTTP/1.1" {
			t.Errorf("%s: %q answered, having got %q", url, text, s.line)
		}
	}
	if _, text := do(t, c, "GET", "https://matrix.example.com/_matrix/client/versions", nil); text != "main" {
		t.Errorf("%q answered", text)
	}
}

// TestListenErrors: an entrypoint that cannot be opened is named, with what to
// do, and nothing stays open.
func TestListenErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	busy := taken.Addr().String()
	_, port, _ := net.SplitHostPort(busy)
	dir := t.TempDir()
	socket, err := net.Listen("unix", filepath.Join(dir, "taken.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	hint := " (hint: another program has this address; `ss -ltnp 'sport = :" + port + "'` names it. Stop it, or give this entrypoint another address)"
	is := func(name string, change func(*configs.Config), want string) {
		t.Helper()
		cfg := configs.Default()
		cfg.Sites = []*configs.Site{{ServerName: "example.com"}}
		free := freeAddress(t)
		e := &cfg.Entrypoints
		e.HTTP.Addresses, e.Admin.Addresses, e.HTTPS.Addresses, e.Federation.Addresses = []configs.Address{configs.Address(free)}, nil, nil, nil
		change(cfg)
		_, err := Listen(cfg)
		if err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", name, err, want)
		}
		if l, err := net.Listen("tcp", free); err != nil {
			t.Errorf("%s: %s stays open: %v", name, free, err)
		} else {
			l.Close()
		}
	}
	inUse := "listen tcp " + busy + ": bind: address already in use" + hint
	is("https", func(c *configs.Config) { c.Entrypoints.HTTPS.Addresses = []configs.Address{configs.Address(busy)} }, "opening entrypoints.https: "+inUse)
	is("the second of two", func(c *configs.Config) {
		c.Entrypoints.Federation.Addresses = []configs.Address{"127.0.0.1:0", configs.Address(busy)}
	}, "opening entrypoints.federation: "+inUse)
	is("internal", func(c *configs.Config) { c.Sites[0].Internal.Addresses = []configs.Address{configs.Address(busy)} },
		"opening internal of site example.com: "+inUse)
	is("not ours", func(c *configs.Config) { c.Entrypoints.HTTPS.Addresses = []configs.Address{"192.0.2.1:443"} },
		"opening entrypoints.https: listen tcp 192.0.2.1:443: bind: cannot assign requested address (hint: this machine does not have this address; `ip addr` lists those it has)")
	is("a socket in use", func(c *configs.Config) {
		c.Entrypoints.HTTPS.Addresses = []configs.Address{configs.Address("unix:" + dir + "/taken.sock")}
	}, "opening entrypoints.https: listen unix "+dir+"/taken.sock: bind: address already in use (hint: another program listens on this socket. Stop it, or give this entrypoint another path)")
}

// TestRedirects: whatever is asked over http is at https, on the port clients
// see, also for a browser that asks from a page elsewhere.
func TestRedirects(t *testing.T) {
	main := newBackend(t, "main")
	f := &front{t: t}
	f.open(f.load("entrypoints: { https: { public_port: 443 } }\n" + oneSite(main, "")))
	is := func(method, host, target string, status int, location string) {
		t.Helper()
		c, err := net.Dial("tcp", f.http)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(30 * time.Second))
		fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: %s\r\n\r\n", method, target, host)
		resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != status || resp.Header.Get("Location") != location {
			t.Errorf("%s %s: %s to %q; want %d to %q", method, target, resp.Status, resp.Header.Get("Location"), status, location)
		}
		matrix := strings.HasPrefix(target, "/_matrix") || strings.HasPrefix(target, "/.well-known/matrix")
		if got := resp.Header.Get("Access-Control-Allow-Origin"); matrix != (got == "*") {
			t.Errorf("%s %s: Access-Control-Allow-Origin %q", method, target, got)
		}
		if status == 400 && matrix && !strings.Contains(string(text), `"errcode"`) {
			t.Errorf("%s %s: %q", method, target, text)
		}
	}
	is("GET", "matrix.example.com", "/_matrix/client/versions?x=%2f", 301, "https://matrix.example.com/_matrix/client/versions?x=%2f")
	is("HEAD", "matrix.example.com:80", "/.well-known/matrix/client", 301, "https://matrix.example.com/.well-known/matrix/client")
	is("POST", "matrix.example.com", "/_matrix/client/v3/login", 308, "https://matrix.example.com/_matrix/client/v3/login")
	is("GET", "matrix.example.com", "//evil.example/x", 301, "https://matrix.example.com//evil.example/x")
	is("GET", "[2001:db8::1]:80", "/", 301, "https://[2001:db8::1]/")
	is("GET", "", "/_matrix/client/versions", 400, "")
	is("GET", "matrix.example.com", "http://evil.example/", 400, "")
	is("OPTIONS", "matrix.example.com", "*", 400, "")
	eventually(t, "they are logged", func() bool {
		return strings.Count(f.log.String(), `"entrypoint":"http"`) == 8
	})
}

// TestServerErrors: a panic is a fault of ours and is told as one.
func TestComplaints(t *testing.T) {
	main := newBackend(t, "main")
	f := newFront(t, oneSite(main, ""))
	f.proxy.state.Load().table = nil
	resp, err := f.client(f.https, false).Get("https://matrix.example.com/_matrix/client/versions")
	if err == nil {
		resp.Body.Close()
		t.Errorf("answered %s", resp.Status)
	}
	eventually(t, "an error is logged", func() bool { return strings.Contains(f.messages.String(), `"level":"ERROR"`) })
	if n := gauge(t, f, "vestibule_requests_in_flight"); n != 0 {
		t.Errorf("%v requests are said to be under way", n)
	}
}
