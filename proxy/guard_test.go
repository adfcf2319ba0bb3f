package proxy

import "testing"

func TestPlainPort(t *testing.T) {
	for host, want := range map[string]bool{
		"": true, "matrix.example.com": true, "matrix.example.com:443": true, "matrix.example.com.:8448": true, "matrix.example.com:": true,
		"[2001:db8::1]": true, "[2001:db8::1]:443": true,
		"matrix.example.com:443x": false, "matrix.example.com:443:evil": false, "matrix.example.com:0000443": false,
		"matrix.example.com:-1": false, "[::1]evil": false, "[::1]:x": false, "[::1]]": false, "[::1]:443]": false,
		"::1": false, // brackets belong around it
	} {
		if got := plainPort(host); got != want {
			t.Errorf("plainPort(%q) is %v", host, got)
		}
	}
}
