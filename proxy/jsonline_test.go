package proxy

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// FuzzJSONLine: whatever a client sends, a line is one object on one line, which
// reads as what was written.
func FuzzJSONLine(f *testing.F) {
	for _, s := range []string{"", `"`, `\`, "\x00\x1f\x7f\n", "é€😀", "a\xffb", "\xc3", "\u2028", `\u0041"}`, "</script>"} {
		f.Add(s, int64(len(s)))
	}
	f.Fuzz(func(t *testing.T, s string, n int64) {
		l := jsonLine{[]byte(`{"first":1`)}
		l.text("text", s)
		l.number("number", n)
		l.seconds("seconds", time.Duration(n))
		l.address("address", netip.Addr{})
		line := string(l.b) + "}"
		var got struct {
			Text    string
			Number  int64
			Seconds float64
			Address *string
		}
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		want := []string{""}
		for _, r := range s { // each byte that is of no character becomes U+FFFD
			want = append(want, string(r))
		}
		if got.Text != strings.Join(want, "") || got.Number != n || got.Address == nil || *got.Address != "" {
			t.Errorf("%q reads as %+v", line, got)
		}
		if d := time.Duration(max(n, 0)).Seconds() - got.Seconds; d < 0 && d < -1e-9*got.Seconds-1e-9 || d > 2e-6+1e-9*got.Seconds {
			t.Errorf("%d ns read as %v s", n, got.Seconds)
		}
		if strings.ContainsAny(line, "\n\r\x00\x7f\u0085\u009b\u2028\u2029") || !utf8.ValidString(line) {
			t.Errorf("%q is no line", line)
		}
	})
}
