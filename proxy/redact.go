package proxy

import (
	"bytes"
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
	return shortened(s, limit)
}

// shortened is not longer than limit bytes, and valid UTF-8.
func shortened(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit] + "…"
	}
	return strings.ToValidUTF8(s, "�")
}

// loggedPath is a target's path with every segment left out that holds a token:
// no API puts one there, but clients err.
func loggedPath(target string) string {
	path, _, _ := strings.Cut(target, "?")
	const limit = 512
	if !holdsToken(path) {
		return shortened(path, limit)
	}
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if holdsToken(s) {
			segments[i] = redacted
		}
	}
	return logged(strings.Join(segments, "/"), limit) // which looks again: a token may be spread over an encoded slash
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

// codedStarts are the first two letters of codedPrefixes, in lower case: words that
// begin otherwise, as nearly all do, need no further look.
var codedStarts = func() (out [2][256]bool) {
	for _, p := range codedPrefixes {
		for i := range out {
			out[i][lower(p[i])] = true
		}
	}
	return out
}()

// holdsToken says whether s holds a token, in its own form or percent-encoded
// however often, in base64 or hexadecimal; and whether it is written in a way
// that could hide one: with other escapes, control bytes or broken UTF-8.
func holdsToken(s string) bool {
	var memory [512]byte
	b := append(memory[:0], s...)
	for range 8 {
		decoded, ok := unescape(b)
		if !ok {
			return true
		}
		if len(decoded) == len(b) {
			return showsToken(b)
		}
		b = decoded
	}
	return true
}

// unescape decodes the %XX of b in place; ok is false when one is malformed.
func unescape(b []byte) (decoded []byte, ok bool) {
	n := bytes.IndexByte(b, '%')
	if n < 0 {
		return b, true
	}
	for i := n; i < len(b); i++ {
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
func showsToken(s []byte) bool {
	start := 0 // of the word that i is in
	for i, c := range s {
		switch {
		case c == '_' && i-start == 3 && begins(s[start:i+1], tokenPrefixes):
			return true
		case c < ' ' || c == 0x7f || c == '\\' || c == '&' && i+1 < len(s) && s[i+1] == '#':
			return true
		case isAlphanumeric(c):
			if i == start && codedStarts[0][lower(c)] && i+1 < len(s) && codedStarts[1][lower(s[i+1])] && begins(s[i:], codedPrefixes) {
				return true
			}
		default:
			start = i + 1
		}
	}
	return !utf8.Valid(s)
}

// begins says whether s begins with one of prefixes, in any case.
func begins(s []byte, prefixes []string) bool {
	for _, p := range prefixes {
		if len(s) >= len(p) && strings.EqualFold(string(s[:len(p)]), p) {
			return true
		}
	}
	return false
}

func isAlphanumeric(c byte) bool {
	c = lower(c)
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
}
