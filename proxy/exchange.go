package proxy

import (
	"context"
	"io"
	"net/netip"
	"time"

	"vestibule/routing"
)

// Request is what a front end parsed of a request: its head, and its body as a
// stream. The front end has checked the framing; everything else is as it came.
type Request struct {
	// Context ends when the client is gone.
	Context context.Context
	// AfterGone has f called in a goroutine of its own when the client is gone, and
	// returns what calls that off and says whether it could. Like context.AfterFunc,
	// which it is when nil, but a front end can do it without allocation; at most one
	// f is pending at a time.
	AfterGone func(f func()) (stop func() bool)
	// Entrypoint is where it came in.
	Entrypoint *Entrypoint
	// Proto is "HTTP/1.1" or "HTTP/2.0", for the log.
	Proto  string
	Method string
	// Target is the request-target, byte for byte.
	Target string
	Host   string
	Header Header
	// Body is nil when there is none.
	Body io.Reader
	// Length is the body's declared length in bytes, -1 when none was declared.
	Length int64
	// Trailer returns the fields after the body; call it after Body's EOF. It may
	// be nil.
	Trailer func() Header
	// StopBody makes a Read of Body that waits return with an error. It may be
	// nil.
	StopBody func()
	// Peer is the other end of the connection, invalid on Unix sockets.
	Peer netip.AddrPort
	// Secure is true when it came over TLS.
	Secure bool
}

// afterGone is AfterGone, or what stands for it.
func (r *Request) afterGone(f func()) (stop func() bool) {
	if r.AfterGone != nil {
		return r.AfterGone(f)
	}
	return context.AfterFunc(r.Context, f)
}

// Responder is the way back to the client. Head is called once, then Write any
// number of times; or Switch alone. What it is given is its own only until it
// returns: the names and values of fields lie in memory that is used again.
type Responder interface {
	// Inform sends an interim response (1xx but 101).
	Inform(status int, h Header)
	// Head sends the final head. length is the body's, in bytes; -1 when unknown.
	Head(status int, h Header, length int64)
	// Write sends a part of the body.
	Write(p []byte) (int, error)
	// Flush sends what Write has gathered.
	Flush() error
	// Trailer sets the fields to send after the body.
	Trailer(h Header)
	// Abort makes the end of the response visibly wrong: the connection or the
	// stream is reset.
	Abort()
	// Switch answers 101 and hands over the connection, first what the client
	// already sent on it. It fails on protocols without upgrades.
	Switch(h Header) (Tunnel, error)
}

// Tunnel is a connection after an upgrade.
type Tunnel interface {
	io.ReadWriteCloser
	CloseWrite() error
	SetReadDeadline(time.Time) error
}

// Entrypoint is a listening role as requests see it.
type Entrypoint struct {
	// Name is "https", "federation", "internal" or "http"; a metric label.
	Name string
	// Role is the same for routing.
	Role routing.Entrypoint
	// Site is the server_name an internal entrypoint belongs to.
	Site string
	// Addresses it listens on, for the status page.
	Addresses []string

	redirect *redirector // decides instead of the table on the http entrypoint
}

// Local answers with a document of a site: "client", "server" or "support".
// header gives a request header's value.
type Local func(method, document string, header func(name string) string) Answer

// Answer is a whole response of our own.
type Answer struct {
	Status int
	// Header is changed by who sends the answer.
	Header Header
	Body   []byte
}
