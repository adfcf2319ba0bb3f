// Package proxy carries a request to an upstream and its response back.
//
// A front end (a server of our own, or net/http's) parses what came in on an
// entrypoint into a Request and gives it, with a Responder, to Proxy.Serve. From there the
// way is the same whatever the front end: the request gets an identity (whose
// address it is, which forwarding headers are ours), routing decides, a Pool
// picks an Upstream, and the exchange streams both ways over a pooled HTTP/1.1
// connection. An Access record collects what happened and is written once.
//
// The request-target is forwarded byte for byte unless the rule declares a
// prefix: Matrix servers sign it (server-server API, "Request Authentication").
// A connection to an upstream is used again only when the response it carried
// ended where its framing said it would.
//
// The package keeps one table, swapped whole by Apply; requests under way keep
// the one they began with.
package proxy
