package proxy

import (
	"bytes"
	"strings"

	"vestibule/configs"
	"vestibule/routing"
)

// minCompressed is the smallest body that is compressed, in bytes: less fits a
// packet as it is. MDAD's Traefik has the same bound.
const minCompressed = 1024

// encode decides whether an answer is compressed, sets x.coding if so, and returns
// the fields as they are then; h is changed in place. size is that of the body in
// bytes, -1 when it is unknown. docs/decisions/0010-compression.md has the reasons.
func (x *exchange) encode(status int, h Header, size int64) Header {
	switch {
	case !x.state.cfg.Compression || x.req.Entrypoint.Role == routing.Internal:
		return h
	case status == 304:
		return x.confirm(h)
	case status < 200 || status == 204 || status == 206 || size >= 0 && size < minCompressed:
		return h // 206: the part counts the bytes as they are (RFC 9110, section 14.2)
	}
	a := appraise(h)
	if !a.compressible(size) || x.decision.Endpoint == configs.ClassMedia {
		return h
	}
	h = varying(h)
	if size < 0 && x.req.Method == "HEAD" {
		return h // who can tell how large the body of a GET would be
	}
	if c := x.codingFor(&a); c != uncoded && x.proxy.compressors.enter() {
		x.coding = c
		return encoded(h, c)
	}
	return h
}

// codingFor is the coding that the request asks for, if its answer may have one.
// HTTP/1.0 cannot see that an answer without a length broke off.
func (x *exchange) codingFor(a *appraisal) coding {
	if x.req.Proto == "HTTP/1.0" || a.kind != kindAsset && (a.session || x.ambient()) || noTransform(x.req.Header) {
		return uncoded
	}
	return acceptedCoding(x.req.Header)
}

// ambient says whether the request carries what a browser adds by itself, so that
// a page elsewhere may be asking in the name of who looks at it. It cannot where
// there is a token: browsers let no page add one without the consent of CORS.
func (x *exchange) ambient() bool {
	cookie, token := false, false
	for _, f := range x.req.Header {
		switch len(f.Name) {
		case len("Cookie"):
			cookie = cookie || strings.EqualFold(f.Name, "Cookie")
		case len("Authorization"):
			if !strings.EqualFold(f.Name, "Authorization") {
				continue
			}
			scheme, _, _ := strings.Cut(f.Value, " ")
			if !strings.EqualFold(scheme, "Bearer") && !strings.EqualFold(scheme, "X-Matrix") {
				return true // Basic, which browsers remember
			}
			token = true
		}
	}
	return cookie && !token
}

// noTransform says whether anybody asked that the body stay as it is (RFC 9111,
// sections 5.2.1.6 and 5.2.2.6).
func noTransform(h Header) bool {
	for _, f := range h {
		if sameToken(f.Name, "Cache-Control") && hasToken(f.Value, "no-transform") {
			return true
		}
	}
	return false
}

// appraisal is what the fields of an answer say about compressing it.
type appraisal struct {
	kind    media
	fixed   bool // it has to stay as it is
	noStore bool
	strong  bool // it has a strong ETag
	session bool // it sets a cookie
}

// longestAppraised is the length of the longest name that appraise knows.
const longestAppraised = len("content-encoding")

func appraise(h Header) (a appraisal) {
	for _, f := range h {
		if len(f.Name) > longestAppraised {
			continue
		}
		var buf [longestAppraised]byte
		for i := range len(f.Name) {
			buf[i] = lower(f.Name[i])
		}
		switch string(buf[:len(f.Name)]) {
		case "content-type":
			a.kind = kindOf(f.Value)
		case "content-encoding", "content-range":
			a.fixed = true
		case "cache-control":
			a.fixed = a.fixed || hasToken(f.Value, "no-transform")
			a.noStore = a.noStore || hasToken(f.Value, "no-store")
		case "etag":
			a.strong = isStrong(f.Value)
			a.fixed = a.fixed || !a.strong && !strings.HasPrefix(f.Value, `W/"`)
		case "set-cookie":
			a.session = true
		default:
			a.fixed = a.fixed || isDigest(f.Name)
		}
	}
	return a
}

// isDigest says whether a field is a checksum of the bytes as the back end sent
// them (RFC 9530; RFC 9110 has Content-MD5 no more).
func isDigest(name string) bool {
	switch len(name) {
	case len("Digest"), len("Content-MD5"), len("Content-Digest"):
		return strings.EqualFold(name, "Content-Digest") || strings.EqualFold(name, "Repr-Digest") ||
			strings.EqualFold(name, "Digest") || strings.EqualFold(name, "Content-MD5")
	}
	return false
}

// compressible says whether the answer is compressed for those who ask for it. A
// strong ETag of what nobody may store is there for If-Match, which a weak one
// never fulfils: the channel by which devices sign each other in was broken so
// (https://github.com/element-hq/synapse/pull/18178).
func (a *appraisal) compressible(size int64) bool {
	if a.fixed || a.strong && a.noStore {
		return false
	}
	return a.kind == kindAsset || a.kind == kindDocument || a.kind == kindText && size >= 0
}

// media is what a media type says about compressing.
type media uint8

const (
	kindOpaque   media = iota // nothing is gained, or it comes event by event
	kindText                  // without a length it may come line by line, as ntfy's does
	kindDocument              // it may hold somebody's secrets
	kindAsset                 // it is the same for everybody
)

// kindOf sorts the value of a Content-Type.
func kindOf(contentType string) media {
	name, _, _ := strings.Cut(contentType, ";")
	name = trimBlanks(name)
	var buf [64]byte
	if len(name) > len(buf) {
		return kindOpaque
	}
	mediaType := buf[:len(name)]
	for i := range mediaType {
		mediaType[i] = lower(name[i])
	}
	switch string(mediaType) {
	case "text/css", "text/javascript", "application/javascript", "application/x-javascript", "application/wasm",
		"application/manifest+json", "image/svg+xml", "font/ttf", "font/otf":
		return kindAsset
	case "application/json", "application/xml":
		return kindDocument
	case "text/plain":
		return kindText
	case "text/event-stream", "application/stream+json":
		return kindOpaque
	}
	switch {
	case bytes.HasPrefix(mediaType, []byte("application/grpc")): // application/grpc+json too
		return kindOpaque
	case bytes.HasPrefix(mediaType, []byte("text/")),
		bytes.HasSuffix(mediaType, []byte("+json")), bytes.HasSuffix(mediaType, []byte("+xml")):
		return kindDocument
	}
	return kindOpaque
}

// varying says that the answer depends on Accept-Encoding, also when it would not
// have been compressed this time: caches go by it (RFC 9110, section 12.5.5).
func varying(h Header) Header {
	at := -1
	for i, f := range h {
		if !sameToken(f.Name, "Vary") {
			continue
		}
		if hasToken(f.Value, "Accept-Encoding") || hasToken(f.Value, "*") {
			return h
		}
		at = i
	}
	switch {
	case at < 0:
		return append(h, Field{"Vary", "Accept-Encoding"})
	case h[at].Value == "":
		h[at].Value = "Accept-Encoding"
	default:
		h[at].Value += ", Accept-Encoding"
	}
	return h
}

// encoded are the fields of an answer in a coding. Its ETag is a weak one, for
// the same tag stands for other bytes elsewhere (RFC 9110, section 8.8.3.3); no
// ranges of it can be had.
func encoded(h Header, c coding) Header {
	out := h[:0]
	for _, f := range h {
		switch {
		case strings.EqualFold(f.Name, "Accept-Ranges"):
			continue
		case strings.EqualFold(f.Name, "ETag") && isStrong(f.Value):
			f.Value = "W/" + f.Value
		}
		out = append(out, f)
	}
	return append(out, Field{"Content-Encoding", c.String()})
}

// isStrong says whether an ETag is a strong one (RFC 9110, section 8.8.3).
func isStrong(etag string) bool { return strings.HasPrefix(etag, `"`) }

// confirm has a 304 name the tag that the client's copy got here: a strong one
// would tell a cache that the copy is another's (RFC 9111, section 4.3.4).
func (x *exchange) confirm(h Header) Header {
	for i, f := range h {
		if strings.EqualFold(f.Name, "ETag") && isStrong(f.Value) && x.holdsWeak(f.Value) {
			h[i].Value = "W/" + f.Value
			return varying(h)
		}
	}
	return h
}

// holdsWeak says whether the request names the weak form of a strong tag.
func (x *exchange) holdsWeak(etag string) bool {
	for _, f := range x.req.Header {
		if !strings.EqualFold(f.Name, "If-None-Match") {
			continue
		}
		for list := f.Value; ; {
			before, after, found := strings.Cut(list, etag)
			if !found {
				break
			}
			if strings.HasSuffix(before, "W/") {
				return true
			}
			list = after
		}
	}
	return false
}
