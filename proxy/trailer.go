package proxy

// barredFromTrailer says whether a field means nothing behind a body, where
// whoever merges trailers into the head would believe it all the same: who asks,
// conditions, what the body is, how the answer is kept (RFC 9110, section 6.5.1).
// Framing and what is for this hop alone fall away with dropped.
func barredFromTrailer(name string) bool {
	for _, barred := range &barredTrailers {
		if imitates(name, barred) {
			return true
		}
	}
	return false
}

var barredTrailers = [...]string{
	"authorization", "cookie", "set-cookie", "www-authenticate",
	"content-type", "content-encoding", "content-range", "range", "max-forwards", "cache-control",
	"if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range",
	"age", "date", "expires", "location", "retry-after", "vary", "warning",
}
