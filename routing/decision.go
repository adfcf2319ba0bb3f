package routing

import (
	"net/netip"

	"vestibule/configs"
)

// Entrypoint is the role of the listener a request came in on.
type Entrypoint uint8

// The entrypoints whose requests are routed. The http entrypoint only
// redirects and the admin entrypoint is not routed at all.
const (
	HTTPS Entrypoint = iota
	Federation
	Internal // plain HTTP for one site's bridges and bots
)

// Request is what a decision may depend on. Match only reads it.
type Request struct {
	Entrypoint Entrypoint
	// Site is the server_name whose internal entrypoint it is; only read when
	// Entrypoint is Internal.
	Site string
	// Method as it came; methods are case-sensitive (RFC 9110, section 9.1).
	Method string
	// Host as it came, port and all.
	Host string
	// Target is the request-target, byte for byte.
	Target string
	// Authorization holds the values of the Authorization header fields.
	Authorization []string
	// Client is the address the request is attributed to.
	Client netip.Addr
}

// Action is what happens to a request.
type Action uint8

// The actions of explain's "action" field.
const (
	Proxy    Action = iota // forward to an upstream of Pool
	Local                  // an answer of our own with content (well-known, base page)
	Redirect               // Status and Location
	Refuse                 // Status and Errcode
)

// KeyKind says what a stickiness key is made of.
type KeyKind uint8

// The kinds of keys; docs/routing.md says which endpoints use them and why.
const (
	NoKey     KeyKind = iota
	KeyUser           // a localpart (syt_ token) or a whole user id from the path
	KeyToken          // an opaque access token; secret, never printed or logged
	KeyRoom           // a room id or alias, decoded once
	KeyOrigin         // the origin of an X-Matrix header, lower case
	KeyURI            // the request-target
	KeyMedia          // server name and media id, decoded once
	KeyClient         // the client's address
)

// Decision is who answers a request, and how. A Decision may be used again for
// the next Match; nothing in it but Key.Value depends on its own memory.
type Decision struct {
	Action Action
	// Site is the server_name, "" where no site claims the host.
	Site string
	// Rule is what matched; never nil.
	Rule *Rule
	// Endpoint is the class the rule names first; deadlines and caps go by it.
	Endpoint configs.Class
	// Class is the one that serves after absent classes are skipped.
	Class configs.Class
	// Pool answers when Action is Proxy, else nil.
	Pool *Pool
	// Spares can answer as well while all of Pool is down, the first first; empty
	// where nobody else can.
	Spares []*Pool
	// Main is the pool of the main process, for what is in the catalogue: it knows
	// every endpoint that a worker turns out not to know. Else nil.
	Main *Pool
	// Key chooses within the pool; Key.Kind is NoKey when the choice is by load.
	Key Key
	// Status and Errcode are for Refuse; Status and Location for Redirect.
	// Location is complete, query and all.
	Status   int
	Errcode  string
	Location string

	scratch [256]byte // where Key.Value and canonical hosts are written
}

// Key is what a request sticks to.
type Key struct {
	Kind KeyKind
	// Value is valid until the Decision is used again or the Request is gone.
	Value []byte
}

// Rule is one row a request can match: a line of the catalogue, a component of
// the configuration or an operator's route.
type Rule struct {
	// Name is "synapse/sync", "mas/compat", "element", or the operator's name.
	Name string
	// Place is where it stands: the catalogue's or the configuration's line.
	Place configs.Place
	// Pattern as written, for explain.
	Pattern string
	// Remote is true where the answer waits for other homeservers (federation,
	// joins), so that it gets their time.
	Remote bool
	// Repeatable is true where even a POST may be sent again when nothing came
	// back: a second one reads again, or says the same again.
	Repeatable bool
	// Since is the release from which on Synapse's workers serve a row of the
	// catalogue, the zero value where they did in the oldest one it was checked
	// against. An older Synapse is asked on its main process.
	Since Release
	// Rewrite is what happens to the target on its way; the zero value forwards
	// it byte for byte.
	Rewrite Rewrite
	// RequestHeaders and ResponseHeaders are set by an operator's route; an
	// empty value removes.
	RequestHeaders, ResponseHeaders []HeaderField
	// Document is the well-known document a Local rule answers with: "client",
	// "server" or "support"; "base" for the base domain's page.
	Document string
}

// ResponseHeaders are those of the rule that the answer gets: none when it refuses
// somebody who may not have the rule's answers.
func (d *Decision) ResponseHeaders() []HeaderField {
	if d.Action == Local || d.Action == Refuse && d.Class == configs.ClassDeny {
		return nil
	}
	return d.Rule.ResponseHeaders
}

// HeaderField is a header to set, or to remove when Value is empty.
type HeaderField struct{ Name, Value string }

// Pool is the upstreams that can stand in for one another.
type Pool struct {
	// Index is its position in Table.Pools.
	Index int
	// Name is "<server_name>/<class>", or "fallback". It is not unique: the main
	// process's client and federation listeners are two pools of one name.
	Name  string
	Site  string
	Class configs.Class
	// Upstreams in the configuration's order; at least one.
	Upstreams []configs.Upstream
}
