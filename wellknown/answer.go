package wellknown

import (
	"net/http"
	"slices"
	"strings"
)

// Answer is a whole response but for the headers of the server itself (Date,
// Content-Length, Connection).
type Answer struct {
	Status int
	// Header holds each field once, in the order to write them.
	Header [][2]string
	// Body is nil for 204 and 304. The answer to HEAD has that of GET: its length
	// is told, and it is not sent. It is shared: never change it.
	Body []byte
}

// cors is what the specification recommends on every answer (client-server API,
// "Web Browser Clients"). It stands on errors too: a browser hides an answer
// without it from the client, which then reports a network failure instead of a
// missing document.
var cors = [][2]string{
	{"Access-Control-Allow-Origin", "*"},
	{"Access-Control-Allow-Methods", "GET, POST, PUT, DELETE, OPTIONS"},
	{"Access-Control-Allow-Headers", "X-Requested-With, Content-Type, Authorization"},
}

const (
	allowed = "GET, HEAD, OPTIONS"
	// An hour is within the five minutes to two days that Synapse clamps the
	// lifetime of a server document to (WELL_KNOWN_MIN_CACHE_PERIOD and
	// WELL_KNOWN_MAX_CACHE_PERIOD in well_known_resolver.py), and a mistake
	// is forgotten within a coffee.
	cacheControl = "public, max-age=3600"
)

// Answer answers a request for a document ("client", "server" or "support").
// header gives the value of a request header, "" when it is absent; of several
// If-None-Match fields, joined with commas.
func (d *Documents) Answer(method, document string, header func(name string) string) Answer {
	switch method {
	case http.MethodOptions:
		return Answer{Status: http.StatusNoContent, Header: with([2]string{"Allow", allowed})}
	case http.MethodGet, http.MethodHead:
		return d.get(document, header)
	default:
		answer := failure(http.StatusMethodNotAllowed, "M_UNRECOGNIZED", "This document can only be read.")
		answer.Header = append(answer.Header, [2]string{"Allow", allowed})
		return answer
	}
}

func (d *Documents) get(document string, header func(name string) string) Answer {
	found, ok := d.published[document]
	if !ok {
		return failure(http.StatusNotFound, "M_NOT_FOUND", "This server does not publish this document.")
	}
	// RFC 9110, section 15.4.5: a 304 repeats what caches go by.
	fresh := with([2]string{"Cache-Control", cacheControl}, [2]string{"ETag", found.etag})
	if matches(header("If-None-Match"), found.etag) {
		return Answer{Status: http.StatusNotModified, Header: fresh}
	}
	return Answer{
		Status: http.StatusOK,
		Header: append(fresh, [2]string{"Content-Type", "application/json"}),
		Body:   found.body,
	}
}

// failure is a Matrix error; the texts need no escaping.
func failure(status int, errcode, text string) Answer {
	return Answer{
		Status: status,
		Header: with([2]string{"Content-Type", "application/json"}),
		Body:   []byte(`{"errcode":"` + errcode + `","error":"` + text + "\"}\n"),
	}
}

// with adds fields to those for cross-origin requests, without sharing memory.
func with(fields ...[2]string) [][2]string {
	return slices.Concat(cors, fields)
}

// matches compares as If-None-Match does: weakly, against a list, or "*"
// (RFC 9110, section 13.1.2). Compressing proxies turn a tag into a weak one.
func matches(ifNoneMatch, etag string) bool {
	for candidate := range strings.SplitSeq(ifNoneMatch, ",") {
		candidate = strings.TrimSpace(candidate)
		if candidate == "*" || strings.TrimPrefix(candidate, "W/") == etag {
			return true
		}
	}
	return false
}
