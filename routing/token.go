package routing

import (
	"bytes"
	"encoding/base64"
	"strings"
)

// keyFromToken keys by who asks. Synapse's own tokens name the user, so that all
// of a user's devices share a process. Those of MAS are opaque and are keys
// themselves. An application service's token is opaque too, but stands for many
// users: with ?user_id= it says which one acts, and that is a better key than
// one for a whole bridge; it is the same key as that user's own token's.
//
// All of it is only claimed, so it may choose a process and nothing else.
func (d *Decision) keyFromToken(r *Request, query string) {
	token, inQuery := accessToken(r, query)
	if token == "" {
		return
	}
	k := d.buffer()
	k.putToken(token, inQuery)
	if k.n <= len(k.b) {
		if localpart, ok := tokenLocalpart(d.scratch[:0], k.bytes()); ok {
			d.Key = Key{KeyUser, localpart}
			return
		}
	}
	if !fromMAS(token) && d.keyFromMasquerade(query) {
		return
	}
	k = d.buffer()
	k.putToken(token, inQuery)
	d.Key = Key{KeyToken, k.bytes()}
}

func (k *keyBuffer) putToken(token string, inQuery bool) {
	if inQuery {
		k.putDecoded(token, true)
	} else {
		k.putString(token)
	}
}

// accessToken returns the token of the header, else of the query, where it is
// still encoded (client-server API, "Using access tokens"). Synapse wants
// "Bearer" in this case; the scheme's case does not matter to RFC 9110, 11.1,
// nor for a key.
func accessToken(r *Request, query string) (token string, inQuery bool) {
	for _, value := range r.Authorization {
		const scheme = "bearer "
		if len(value) > len(scheme) && strings.EqualFold(value[:len(scheme)], scheme) {
			return strings.Trim(value[len(scheme):], " "), false
		}
	}
	token, _ = parameter(query, "access_token")
	return token, true
}

// tokenLocalpart appends the localpart that a token of Synapse's names:
// syt_<localpart in unpadded base64>_<random>_<checksum>
// (synapse/handlers/auth.py, generate_access_token).
func tokenLocalpart(dst, token []byte) ([]byte, bool) {
	const prefix = "syt_"
	if len(token) < len(prefix) || string(token[:len(prefix)]) != prefix {
		return nil, false
	}
	// Decoding may write over the token, so it reads from a copy.
	var buffer [256]byte
	encoded := buffer[:0]
	underscore := false
	for _, c := range token[len(prefix):] {
		if underscore = c == '_'; underscore || len(encoded) == len(buffer) {
			break
		}
		encoded = append(encoded, c)
	}
	if !underscore || len(encoded) == 0 {
		return nil, false
	}
	n := base64.RawStdEncoding.DecodedLen(len(encoded))
	if n > cap(dst)-len(dst) {
		return nil, false
	}
	start := len(dst)
	dst = dst[:start+n]
	n, err := base64.RawStdEncoding.Decode(dst[start:], encoded)
	if err != nil || n == 0 {
		return nil, false
	}
	return dst[:start+n], true
}

// fromMAS reports whether a token has the form of Matrix Authentication
// Service's (crates/data-model/src/tokens.rs): those act for one user.
func fromMAS(token string) bool {
	return strings.HasPrefix(token, "mat_") || strings.HasPrefix(token, "mct_") || strings.HasPrefix(token, "mpt_")
}

// keyFromMasquerade keys by the localpart of ?user_id=, if there is one.
func (d *Decision) keyFromMasquerade(query string) bool {
	encoded, _ := parameter(query, "user_id")
	k := d.buffer()
	k.putDecoded(encoded, true)
	user := k.bytes()
	if len(user) == 0 || user[0] != '@' {
		return false
	}
	localpart, _, _ := bytes.Cut(user[1:], []byte{':'})
	if len(localpart) == 0 {
		return false
	}
	d.Key = Key{KeyUser, localpart}
	return true
}
