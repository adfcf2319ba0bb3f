package proxy

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"vestibule/configs"
	"vestibule/routing"
)

// What explain shows is what forward writes: every field that arrives is either
// the client's or shown as set, and every one that is missing is shown as
// dropped.
func TestPreview(t *testing.T) {
	req := &Request{Method: "POST", Target: "/hook/x?a=1", Host: "matrix.example.com", Proto: "HTTP/1.1", Header: Header{
		{"Accept", "*/*"}, {"X-Forwarded-For", "203.0.113.9"}, {"x_real.ip", "203.0.113.9"}, {"Forwarded", "for=203.0.113.9"},
		{"Connection", "close, X-Hop"}, {"X-Hop", "1"}, {"TE", "trailers"}, {"X_Mode", "client"}, {"Cookie", "kept"}, {"Expect", "100-continue"},
	}}
	d := &routing.Decision{
		Pool: &routing.Pool{Class: "route:hook"},
		Rule: &routing.Rule{Rewrite: routing.Rewrite{Strip: "/hook", Add: "/api"},
			RequestHeaders: []routing.HeaderField{{Name: "X-Mode", Value: "door"}, {Name: "X-Gone"}}},
	}
	v := NewPreview(req, d, netip.MustParseAddr("198.51.100.7"), true)
	if v.Target != "/api/x?a=1" {
		t.Errorf("target %s", v.Target)
	}
	wantSet := Header{{"X-Mode", "door"}, {"X-Forwarded-For", "198.51.100.7"}, {"X-Real-IP", "198.51.100.7"},
		{"X-Forwarded-Proto", "https"}, {"X-Forwarded-Host", "matrix.example.com"}}
	if !slices.Equal(v.Set, wantSet) {
		t.Errorf("set %v, want %v", v.Set, wantSet)
	}
	wantDropped := []DroppedField{
		{"X-Forwarded-For", "it claims who the client is"}, {"x_real.ip", "it claims who the client is"},
		{"Forwarded", "it claims who the client is"}, {"Connection", "it is for one hop alone"}, {"X-Hop", "Connection names it"},
		{"TE", "it is for one hop alone"}, {"X_Mode", "the route sets or removes it"}, {"Expect", "it belongs to the framing"},
	}
	if !slices.Equal(v.Dropped, wantDropped) {
		t.Errorf("dropped %v, want %v", v.Dropped, wantDropped)
	}
}

// A WebSocket is asked for anew, with the same meaning.
func TestPreviewUpgrade(t *testing.T) {
	req := &Request{Method: "GET", Target: "/livekit", Host: "h", Proto: "HTTP/1.1",
		Header: Header{{"Connection", "keep-alive, Upgrade"}, {"Upgrade", "websocket"}}}
	rule := &routing.Rule{}
	v := NewPreview(req, &routing.Decision{Pool: &routing.Pool{Class: configs.ClassElementCall}, Rule: rule}, netip.Addr{}, false)
	if got, _ := v.Set.Get("Upgrade"); got != "websocket" || len(v.Dropped) != 0 {
		t.Errorf("to a component: set %v, dropped %v", v.Set, v.Dropped)
	}
	v = NewPreview(req, &routing.Decision{Pool: &routing.Pool{Class: configs.ClassSync}, Rule: rule}, netip.Addr{}, false)
	if _, ok := v.Set.Get("Upgrade"); ok || len(v.Dropped) != 2 {
		t.Errorf("to Synapse: set %v, dropped %v", v.Set, v.Dropped)
	}
}

// A client is believed as Serve believes it: only through trusted proxies, and
// an entrypoint's own list replaces the common one.
func TestAttribute(t *testing.T) {
	cfg := configs.Default()
	cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	cfg.Entrypoints.Federation.TrustedProxies = []netip.Prefix{}
	header := Header{{"X-Forwarded-For", "203.0.113.9"}, {"X-Forwarded-Proto", "https"}}
	for _, c := range []struct {
		role       routing.Entrypoint
		peer, want string
		secure     bool
	}{
		{routing.HTTPS, "10.0.0.1", "203.0.113.9", true},
		{routing.HTTPS, "192.0.2.1", "192.0.2.1", false},
		{routing.Federation, "10.0.0.1", "10.0.0.1", false},
		{routing.Internal, "10.0.0.1", "203.0.113.9", true},
	} {
		client, secure := Attribute(cfg, &Request{Entrypoint: &Entrypoint{Role: c.role}, Header: header, Peer: netip.AddrPortFrom(netip.MustParseAddr(c.peer), 0)})
		if client.String() != c.want || secure != c.secure {
			t.Errorf("%s from %s: %s, over TLS %v", c.role, c.peer, client, secure)
		}
	}
}

// Whatever is dropped has a reason of its own.
func TestWhyDropped(t *testing.T) {
	for _, name := range []string{"Host", "content.length", "EXPECT", "forwarded", "X-Real-IP", "x_forwarded_port", "Keep-Alive",
		"proxy_authorization", "HTTP2-Settings", "X-Named"} {
		connection := []string{"X-Named"}
		if !dropped(name, connection) || strings.Contains(whyDropped(name, connection), "not passed on") {
			t.Errorf("%s: %s", name, whyDropped(name, connection))
		}
	}
}
