package mastest

import (
	"crypto/rand"
	"hash/crc32"
	"strings"
	"time"
)

// kind is how a token begins, and what it is for.
type kind string

const (
	oauthAccess   kind = "mat"
	compatAccess  kind = "mct"
	compatRefresh kind = "mcr"
)

// access says whether tokens of the kind open Synapse.
func (k kind) access() bool { return k == oauthAccess || k == compatAccess }

// token is what the server knows of one it has issued.
type token struct {
	kind    kind
	session *session
	issued  time.Time
	expires time.Time // zero for never
	dead    bool
	access  string // of a refresh token: the access token that came with it
}

// valid says whether the token may be used now.
func (t *token) valid() bool {
	return !t.dead && !t.session.ended && (t.expires.IsZero() || time.Now().Before(t.expires))
}

const (
	digits       = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	randomLength = 30
	sumLength    = 6
)

// newToken makes up a token: kind, random letters, checksum.
func newToken(k kind) string {
	base := string(k) + "_" + random(randomLength)
	return base + "_" + checksum(base)
}

// kindOf reads the kind of a token and checks its form, which tells a token that
// was cut off or altered from one that is merely unknown.
func kindOf(text string) (kind, bool) {
	parts := strings.Split(text, "_")
	if len(parts) != 3 || len(parts[1]) != randomLength {
		return "", false
	}
	k := kind(parts[0])
	known := k.access() || k == compatRefresh
	return k, known && parts[2] == checksum(parts[0]+"_"+parts[1])
}

// checksum is the CRC-32 in base 62, the last digit first.
func checksum(base string) string {
	var text []byte
	for n := crc32.ChecksumIEEE([]byte(base)); n > 0; n /= uint32(len(digits)) {
		text = append(text, digits[n%uint32(len(digits))])
	}
	return strings.Repeat("0", sumLength-len(text)) + string(text)
}

// random is a text of n letters and digits.
func random(n int) string {
	text := make([]byte, 0, n)
	for buffer := make([]byte, n); len(text) < n; {
		rand.Read(buffer)
		for _, b := range buffer {
			// Beyond the last multiple of 62 some digits would be likelier.
			if b < byte(256/len(digits)*len(digits)) && len(text) < n {
				text = append(text, digits[int(b)%len(digits)])
			}
		}
	}
	return string(text)
}
