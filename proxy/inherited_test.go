package proxy

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vestibule/configs"
)

// passed are sockets as systemd passes them, by name; it keeps them open itself.
func passed(t *testing.T, pairs ...any) *Inherited {
	t.Helper()
	in := &Inherited{}
	for i := 0; i < len(pairs); i += 2 {
		file, err := pairs[i+1].(interface{ File() (*os.File, error) }).File()
		if err != nil {
			t.Fatal(err)
		}
		in.sockets = append(in.sockets, inheritedSocket{pairs[i].(string), file})
	}
	return in
}

// listenAs is a configuration that listens on these addresses for https alone.
func listenAs(addresses ...configs.Address) *configs.Config {
	cfg := configs.Default()
	e := &cfg.Entrypoints
	e.HTTP.Addresses, e.Admin.Addresses, e.Federation.Addresses, e.HTTPS.Addresses = nil, nil, nil, addresses
	return cfg
}

// TestInherited: an address takes all sockets of its name, leaves them to systemd when
// they are closed, and the others unclaimed.
func TestInherited(t *testing.T) {
	path := filepath.Join(t.TempDir(), "https.sock")
	tcp, other := listenLocally(t), listenLocally(t)
	unix, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []net.Listener{tcp, other, unix} {
		defer l.Close()
	}
	in := passed(t, "https", tcp, "spare", other, "https", unix)
	own := freeAddress(t)
	ls, err := in.Listen(listenAs("fd:https", configs.Address(own)))
	if err != nil {
		t.Fatal(err)
	}
	if got := in.Unclaimed(); !slices.Equal(got, []string{"spare"}) {
		t.Errorf("unclaimed: %q", got)
	}
	if want := []string{tcp.Addr().String(), path, own}; !slices.Equal(ls.Routed[0].Entrypoint.Addresses, want) {
		t.Errorf("open: %q, want %q", ls.Routed[0].Entrypoint.Addresses, want)
	}
	dial := func(l net.Listener) {
		t.Helper()
		c, err := net.Dial(l.Addr().Network(), l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	for _, l := range ls.Routed[0].Listeners {
		dial(l)
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	ls.Close()
	for _, l := range []net.Listener{tcp, unix} { // a connection waits for who comes next
		dial(l)
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
}

func TestInheritedErrors(t *testing.T) {
	datagram, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer datagram.Close()
	listener := listenLocally(t)
	defer listener.Close()
	connection, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	pipe := &Inherited{sockets: []inheritedSocket{{"https", reader}}}
	const noListener = "what systemd passed is no listening stream socket (hint: the .socket unit needs ListenStream= and no Accept=yes)"
	const unit = " (hint: let systemd start it, with a .socket unit that says FileDescriptorName=https and Service=vestibule.service; docs/operating.md shows one)"
	for _, c := range []struct {
		in   *Inherited
		want string
	}{
		{nil, "systemd passed no sockets to this process" + unit},
		{&Inherited{}, "systemd passed no sockets to this process" + unit},
		{&Inherited{foreign: "12"}, fmt.Sprintf("systemd passed no sockets to this process, but to process 12, while this is %d; a script has to start it with exec", os.Getpid()) + unit},
		{passed(t, "vestibule.socket", listener, "http", listener, "http", listener), `systemd passed no socket of this name, only "vestibule.socket", "http"` +
			" (hint: write FileDescriptorName=https under [Socket] in the .socket unit, or one of these names here)"},
		{passed(t, "https", datagram), noListener},
		{passed(t, "https", listener, "https", connection), noListener},
		{pipe, noListener},
	} {
		ls, err := c.in.Listen(listenAs("fd:https"))
		if want := "opening entrypoints.https: fd:https: " + c.want; ls != nil || err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

func TestInheritedNames(t *testing.T) {
	for _, c := range []struct{ fds, names, want string }{
		{"2", "https:http", "https http"},
		{"2", "https:", "https "},
		{"2", "", "unknown unknown"},
		{"0", "", ""},
		{"1", "https:http", `reading which sockets systemd passes: LISTEN_FDS is 1, but LISTEN_FDNAMES is "https:http"`},
		{"", "https", ""},
		{"-1", "https", `reading how many sockets systemd passes: LISTEN_FDS is "-1"`},
	} {
		names, err := inheritedNames(c.fds, c.names)
		got := strings.Join(names, " ")
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%q %q: %s, want %s", c.fds, c.names, got, c.want)
		}
	}
}

// TestInheritForeign: what was meant for a parent is not taken, and not handed on.
func TestInheritForeign(t *testing.T) {
	t.Setenv("LISTEN_PID", "1")
	t.Setenv("LISTEN_FDS", "1")
	t.Setenv("LISTEN_FDNAMES", "https")
	in, err := Inherit()
	if err != nil || len(in.sockets) > 0 || in.foreign != "1" {
		t.Errorf("%+v %v", in, err)
	}
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if _, set := os.LookupEnv(name); set {
			t.Errorf("%s is still set", name)
		}
	}
}
