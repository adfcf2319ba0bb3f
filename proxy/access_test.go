package proxy

import (
	"strings"
	"testing"
)

// TestNoTokenIsLogged plants a token in every encoding a client could choose.
func TestNoTokenIsLogged(t *testing.T) {
	for _, target := range []string{
		"/_matrix/client/v3/sync?access_token=SYT_YWxpY2U_secret&timeout=30000",
		"/_matrix/client/v3/sync?access%5Ftoken=syt_YWxpY2U_secret",
		"/_matrix/client/v3/sync?%61ccess_token=syt_YWxpY2U_secret",
		"/_matrix/client/v3/sync?access%255Ftoken=syt_YWxpY2U_secret",
		"/_matrix/client/v3/sync?timeout=syt_YWxpY2U_secret",
		"/_matrix/client/v3/sync?timeout=%73yt_secret",
		"/_matrix/client/v3/sync?x=1;access_token=syt_secret",
		"/_matrix/client/v3/login/mat_secret",
		"/_matrix/client/v3/login/%6dat_secret/x",
		"/_matrix/client/v3/login/%256dat%255fsecret",
		"/a%2Fmct_secret/b",
		"/_matrix/client/v3/register/email/submit_token?token=secret&client_secret=secret",
		"/_matrix/client/v3/login/sso/redirect?redirectUrl=https://x/%3FloginToken%3Dsecret",
		"http://host/_matrix?access_token=syt_secret",
		"/x?method=sesecretret",
		"/x/%zzsyr_secret",
	} {
		logged := loggedPath(target) + "?" + loggedQuery(target)
		if strings.Contains(strings.ToLower(logged), "secret") && !strings.Contains(target, "sesecretret") {
			t.Errorf("%s is logged as %s", target, logged)
		}
	}
}

func TestWhatIsLogged(t *testing.T) {
	is := func(target, path, query string) {
		t.Helper()
		if p, q := loggedPath(target), loggedQuery(target); p != path || q != query {
			t.Errorf("%s is logged as %q %q; want %q %q", target, p, q, path, query)
		}
	}
	is("/_matrix/client/v3/sync?since=s1_2&timeout=30000&set_presence=offline",
		"/_matrix/client/v3/sync", "timeout=30000&set_presence=offline")
	is("/_matrix/client/v3/rooms/%21abc%3Aexample.org/send/m.room.message/1", "/_matrix/client/v3/rooms/%21abc%3Aexample.org/send/m.room.message/1", "")
	is("/format_x", "/format_x", "")                                       // mat_ inside a word is no token
	is("/v3/login/mat_x/y", "/v3/login/[redacted]/y", "")                  // a token as a segment
	is("/"+strings.Repeat("a", 600), "/"+strings.Repeat("a", 511)+"…", "") // bounded
}
