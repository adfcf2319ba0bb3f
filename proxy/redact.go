package proxy

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net"
	"strings"
	"unicode/utf8"
)

const redacted = "[redacted]"

// logged is what a client or a back end chose, as it may be logged: without a
// token, not longer than limit bytes and valid UTF-8.
func logged(s string, limit int) string {
	if holdsToken(s) {
		return redacted
	}
	if len(s) > limit {
		s = s[:limit] + "…"
	}
	return strings.ToValidUTF8(s, "�")
}

// loggedPath is a target's path with every segment left out that holds a token:
// no API puts one there, but clients err.
func loggedPath(target string) string {
	path, _, _ := strings.Cut(target, "?")
	if holdsToken(path) {
		segments := strings.Split(path, "/")
		for i, s := range segments {
			if holdsToken(s) {
				segments[i] = redacted
			}
		}
		path = strings.Join(segments, "/")
	}
	return logged(path, 512) // which looks again: a token may be spread over an encoded slash
}

// clientError is an error of the client's connection without its address, which
// may have to be masked.
func clientError(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return err.Error()
}

// tokenPrefixes begin the access, refresh and login tokens of Synapse and MAS
// (synapse/handlers/auth.py; MAS crates/data-model/src/tokens.rs). All are three
// letters and an underscore.
var tokenPrefixes = []string{"syt_", "syr_", "syl_", "mat_", "mct_", "mpt_", "mar_", "mcr_"}

// codedPrefixes are tokenPrefixes in base64, as far as they fill its letters,
// and in hexadecimal.
var codedPrefixes = func() (out []string) {
	for _, p := range tokenPrefixes {
		out = append(out, base64.RawStdEncoding.EncodeToString([]byte(p))[:5], hex.EncodeToString([]byte(p)))
	}
	return out
}()

// holdsToken says whether s holds a token, in its own form or percent-encoded
// however often, in base64 or hexadecimal; and whether it is written in a way
// that could hide one: with other escapes, control bytes or broken UTF-8.
func holdsToken(s string) bool {
	if strings.IndexByte(s, '%') < 0 {
		return showsToken(s)
	}
	b := []byte(s)
	for range 8 {
		decoded, ok := unescape(b)
		if !ok {
			return true
		}
		if len(decoded) == len(b) {
			return showsToken(string(b))
		}
		b = decoded
	}
	return true
}

// unescape decodes the %XX of b in place; ok is false when one is malformed.
func unescape(b []byte) (decoded []byte, ok bool) {
	n := 0
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c == '%' {
			var two [1]byte
			if i+2 >= len(b) {
				return nil, false
			}
			if _, err := hex.Decode(two[:], b[i+1:i+3]); err != nil {
				return nil, false
			}
			c = two[0]
			i += 2
		}
		b[n] = c
		n++
	}
	return b[:n], true
}

// showsToken is holdsToken for what needs no more decoding.
func showsToken(s string) bool {
	start := 0 // of the word that i is in
	for i := range len(s) {
		switch c := s[i]; {
		case c == '_' && i-start == 3 && begins(s[start:i+1], tokenPrefixes):
			return true
		case c < ' ' || c == 0x7f || c == '\\' || c == '&' && strings.HasPrefix(s[i:], "&#"):
			return true
		case isAlphanumeric(c) || c == '_':
			if i == start && begins(s[i:], codedPrefixes) {
				return true
			}
		default:
			start = i + 1
		}
	}
	return !utf8.ValidString(s)
}

// begins says whether s begins with one of prefixes, in any case.
func begins(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if len(s) >= len(p) && strings.EqualFold(s[:len(p)], p) {
			return true
		}
	}
	return false
}

func isAlphanumeric(c byte) bool {
	c = lower(c)
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
}
