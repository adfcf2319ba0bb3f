// Package configs reads vestibule.yaml into checked values.
//
// Load reads the file and what it includes, refuses unknown keys, fills the
// defaults of Default, resolves MDAD's worker layouts, checks everything that
// can be checked without the network, and reports every mistake in one run,
// each with its place and, where it is known, the remedy. The rest of the
// program only ever sees a Config without mistakes.
//
// Hosts come out in lower case, paths without a slash at the end, and relative
// paths of files joined to the directory of the file that names them.
//
// It never dials, never listens and never changes a file.
package configs

import (
	"net/netip"
	"time"
)

// Config is a whole configuration: what one vestibule process serves.
type Config struct {
	// Include lists further files, such as "local.yaml" or "generated/*.yaml",
	// relative to the file that names them; a name without wildcard must exist.
	// They are merged: lists grow, sites meet by server_name, and a value can be
	// set in one file only. Optional.
	Include []string `yaml:"include"`

	// Admins are the addresses that may use what is closed to others: Ketesa,
	// /_synapse/admin and MAS's admin API, such as "192.0.2.0/28" or a single
	// address. Optional. Defaults to nobody.
	Admins []netip.Prefix `yaml:"admins"`

	// TrustedProxies are the addresses whose X-Forwarded-For is believed.
	// Optional. Defaults to none.
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`

	// Fallback answers for hosts and paths nobody claims, such as
	// "http://matrix-traefik:8080" during a move. Optional. Defaults to a 404
	// of our own.
	Fallback *Upstream `yaml:"fallback"`

	// Control is the Unix socket through which reload, status and explain reach
	// the running process. Optional. Defaults to /run/vestibule/control.sock.
	Control string `yaml:"control"`

	// Entrypoints are the addresses vestibule listens on.
	Entrypoints Entrypoints `yaml:"entrypoints"`

	// Certificates says where certificates come from.
	Certificates Certificates `yaml:"certificates"`

	// Sites are the homeservers served. At least one is required.
	Sites []*Site `yaml:"sites"`

	// TCP lists ports where TLS ends here and plain bytes go onward, such as
	// LiveKit's TURN. Not supported yet.
	TCP []TCPForward `yaml:"tcp"`

	// Timeouts bound every wait.
	Timeouts Timeouts `yaml:"timeouts"`

	// Limits bound sizes and counts.
	Limits Limits `yaml:"limits"`

	// Compression has answers that are text compressed for clients that ask for it,
	// with zstd, brotli or gzip. Optional. Defaults to true.
	Compression bool `yaml:"compression"`

	// Engine is the HTTP server in front: "standard", which is Go's own, or "own",
	// which is vestibule's and needs less processor time and memory. It is read
	// when the server starts. Optional. Defaults to standard, until own has proved
	// itself.
	Engine string `yaml:"engine"`

	// Logging says what is written to standard error.
	Logging Logging `yaml:"logging"`

	// Files are the files this configuration was read from, the main one first.
	Files []string `yaml:"-"`
}

// Place is where in the configuration something was said. The zero Place means
// that it was not said in a file (a default, or built in).
type Place struct {
	File   string
	Line   int // from 1
	Column int // from 1
}

// Entrypoints are the listening roles. Each may have several addresses.
type Entrypoints struct {
	// HTTP redirects to https, answers the challenges of http01, and nothing else.
	// Defaults to ":80".
	HTTP Entrypoint `yaml:"http"`
	// HTTPS serves clients. Defaults to ":443".
	HTTPS Entrypoint `yaml:"https"`
	// Federation serves other homeservers. Defaults to ":8448".
	Federation Entrypoint `yaml:"federation"`
	// Admin serves /livez, /readyz, /metrics and /status over plain HTTP; keep
	// it off the Internet. Defaults to "127.0.0.1:9180".
	Admin Entrypoint `yaml:"admin"`
}

// Entrypoint is a listening role: its addresses and how it treats connections.
type Entrypoint struct {
	// Addresses to listen on: ":443", "127.0.0.1:443", "[::1]:443", "unix:/path",
	// or "fd:NAME" for the sockets that systemd passes with
	// FileDescriptorName=NAME. An empty list turns the entrypoint off.
	Addresses []Address `yaml:"addresses"`

	// TLS is false when another proxy in front ends TLS. Only for https and
	// federation. Optional. Defaults to true there.
	TLS bool `yaml:"tls"`

	// PublicPort is the port clients see, when it differs from the one listened
	// on, as behind a port mapping; redirects name it. Optional.
	PublicPort int `yaml:"public_port"`

	// ProxyProtocol expects a PROXY header on each connection. Not supported
	// yet.
	ProxyProtocol bool `yaml:"proxy_protocol"`

	// TrustedProxies replaces the list at the top for this entrypoint. Optional.
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`

	// DefaultSite is the server_name whose certificate is shown to a client that
	// names no host or an unknown one. Optional. Defaults to the first site.
	DefaultSite string `yaml:"default_site"`

	Place Place `yaml:"-"`
}

// Address is where to listen: "host:port", "unix:/path" or "fd:NAME".
type Address string

// Certificates says where certificates come from and where they are kept.
type Certificates struct {
	// Issuer is "acme", "internal" (a CA of our own, for demos and LANs) or
	// "files" (nothing but Files). Optional. Defaults to acme.
	Issuer string `yaml:"issuer"`

	// Files are looked at first, whatever the issuer. Optional.
	Files []CertificateFile `yaml:"files"`

	// ExtraNames get a certificate too, such as "turn.example.com". Optional.
	ExtraNames []string `yaml:"extra_names"`

	// Storage is where the issuer keeps keys and certificates.
	Storage Storage `yaml:"storage"`

	// Export writes PEM files for coturn and LiveKit. Optional.
	Export *Export `yaml:"export"`

	// ACME configures the issuer "acme". Required with it.
	ACME *ACME `yaml:"acme"`

	Place Place `yaml:"-"`
}

// CertificateFile is a certificate chain and its key, both PEM.
type CertificateFile struct {
	Certificate string `yaml:"certificate"` // path of the chain, leaf first. Required
	Key         string `yaml:"key"`         // path of the private key. Required

	Place Place `yaml:"-"`
}

// Storage is a directory of vestibule's own.
type Storage struct {
	// Directory is created with mode 0700 when missing. Optional. Defaults to
	// /var/lib/vestibule.
	Directory string `yaml:"directory"`
}

// Export describes PEM files written for other programs, as
// DIRECTORY/NAME/certificate.crt and DIRECTORY/NAME/privatekey.key.
type Export struct {
	// Directory is where they are written, an absolute path. Required.
	Directory string `yaml:"directory"`
	// Names are those whose certificates are written, such as
	// "matrix.example.com". Required.
	Names []string `yaml:"names"`
	// Mode is that of the files, in octal and with quotes. Optional. Defaults to "0640".
	Mode string `yaml:"mode"`
	// Owner is that of the files, such as "991:991" or "turnserver:turnserver". Optional.
	// Defaults to whom vestibule runs as.
	Owner string `yaml:"owner"`

	Place Place `yaml:"-"`
}

// ACME is the account at a certificate authority and the ways to prove control.
type ACME struct {
	// Email names the account; the authority may write there. Required.
	Email string `yaml:"email"`
	// Directory is the authority's URL. Optional. Defaults to Let's Encrypt's.
	Directory string `yaml:"directory"`
	// Staging uses Let's Encrypt's test authority instead, whose certificates
	// nobody believes and whose limits are wide. Optional. Defaults to false.
	Staging bool `yaml:"staging"`
	// RootsFile holds the roots of a private authority, PEM, to verify Directory
	// by. Optional. Defaults to the system's roots.
	RootsFile string `yaml:"roots_file"`
	// Profile asks for a kind of certificate, by a word of the authority's, such
	// as "shortlived" (draft-aaron-acme-profiles). Optional.
	Profile string `yaml:"profile"`
	// Challenges are the ways to prove control over names; the first whose zone
	// holds the name is taken. At least one is required.
	Challenges []Challenge `yaml:"challenges"`

	Place Place `yaml:"-"`
}

// Challenge is one way to prove control over the names of a zone. Exactly one
// of dns01 and http01 is required.
type Challenge struct {
	// Zone is a domain, such as "example.com", for which this is the way: for
	// itself and all below it. With dns01 it is a zone of the account's, too.
	// Optional. Without it, the way for all names.
	Zone string `yaml:"zone"`
	// DNS01 proves control by TXT records. Wildcards can be proven in no other
	// way.
	DNS01 *DNS01 `yaml:"dns01"`
	// HTTP01 proves control on the http entrypoint, which the name must point to
	// and which the authority reaches on port 80. Write {}.
	HTTP01 *HTTP01 `yaml:"http01"`

	Place Place `yaml:"-"`
}

// HTTP01 answers challenges on the http entrypoint.
type HTTP01 struct{}

// DNS01 answers challenges with TXT records.
type DNS01 struct {
	// OVH publishes the records. Required.
	OVH *OVH `yaml:"ovh"`
	// Delegate maps the name of a record to where its CNAME leads, such as
	// "_acme-challenge.example.com" to "x.other.example", which is written
	// instead. Optional.
	Delegate map[string]string `yaml:"delegate"`
	// Resolvers are asked instead of the system's, such as "192.0.2.53:53".
	// Optional.
	Resolvers []string `yaml:"resolvers"`
	// PropagationTimeout is how long a record may take until every name server
	// of its zone has it, from 30s to 2h. Optional. Defaults to 15m.
	PropagationTimeout Duration `yaml:"propagation_timeout"`
}

// OVH is an account at OVHcloud. Its secrets are in files of their own, one
// value each. When no file is named they are in the environment:
// OVH_APPLICATION_KEY, OVH_APPLICATION_SECRET and OVH_CONSUMER_KEY, or
// OVH_CLIENT_ID and OVH_CLIENT_SECRET, or OVH_ACCESS_TOKEN. One kind of account
// is to be given, whole.
type OVH struct {
	// Endpoint is "ovh-eu", "ovh-ca", "ovh-us" or the URL of an API of the same
	// kind. Optional. Defaults to OVH_ENDPOINT when the secrets are in the
	// environment, else to ovh-eu.
	Endpoint string `yaml:"endpoint"`

	// ApplicationKeyFile, ApplicationSecretFile and ConsumerKeyFile belong to an
	// application and what it was allowed.
	ApplicationKeyFile    string `yaml:"application_key_file"`
	ApplicationSecretFile string `yaml:"application_secret_file"`
	ConsumerKeyFile       string `yaml:"consumer_key_file"`
	// ClientIDFile and ClientSecretFile belong to an OAuth 2.0 client, a service
	// account.
	ClientIDFile     string `yaml:"client_id_file"`
	ClientSecretFile string `yaml:"client_secret_file"`
	// TokenURL is where that client gets its tokens. Optional, unless Endpoint is
	// a URL.
	TokenURL string `yaml:"token_url"`
	// AccessTokenFile holds a token that somebody else renews.
	AccessTokenFile string `yaml:"access_token_file"`
}

// Site is one homeserver and what belongs to it.
type Site struct {
	// ServerName is the part of user ids after the colon, such as
	// "example.com". Required. One with a port needs federation.delegation: none,
	// for other servers then connect to it without a look at .well-known (Matrix
	// v1.16, server-server API, "Resolving server names", step 2).
	ServerName string `yaml:"server_name"`

	// Host is where clients reach Synapse. Optional. Defaults to
	// "matrix.<server_name>", or to the server_name when that is an IP address.
	Host string `yaml:"host"`

	// BaseDomain says whether server_name itself points here.
	BaseDomain BaseDomain `yaml:"base_domain"`

	// Synapse says where the homeserver's processes listen. Required.
	Synapse Synapse `yaml:"synapse"`

	// Internal is a plain HTTP entrypoint for bridges and bots of this site, any
	// Host. Optional. Defaults to off.
	Internal Internal `yaml:"internal"`

	// MAS is Matrix Authentication Service. Optional.
	MAS *MAS `yaml:"mas"`

	// Element is Element Web. Optional.
	Element *WebApp `yaml:"element"`

	// Ketesa is the administration page. Optional.
	Ketesa *Ketesa `yaml:"ketesa"`

	// AdminAPI opens or closes /_synapse/admin and MAS's admin API.
	AdminAPI AdminAPI `yaml:"admin_api"`

	// Federation says with whom and through which name.
	Federation Federation `yaml:"federation"`

	// ElementCall is MatrixRTC: LiveKit and its token service. Optional.
	ElementCall *ElementCall `yaml:"element_call"`

	// Ntfy is the push server. Optional.
	Ntfy *WebApp `yaml:"ntfy"`

	// Bridges maps a name to a bridge's provisioning API, published under
	// /bridges/NAME. Optional.
	Bridges map[string]Upstream `yaml:"bridges"`

	// WellKnown is merged over the generated documents and wins.
	WellKnown WellKnownDocuments `yaml:"well_known"`

	// Routes are the operator's own, tried before the built-in ones.
	Routes []Route `yaml:"routes"`

	Place Place `yaml:"-"`
}

// BaseDomain says what happens on server_name itself besides well-known.
type BaseDomain struct {
	// Serve is true when the DNS of server_name points here. Optional. Defaults
	// to false.
	Serve bool `yaml:"serve"`
	// Redirect is where everything else goes, such as
	// "https://www.example.com/". Optional.
	Redirect string `yaml:"redirect"`
	// Upstream answers everything else. Optional.
	Upstream *Upstream `yaml:"upstream"`

	Place Place `yaml:"-"`
}

// Synapse says where a homeserver's processes listen.
type Synapse struct {
	// Layout names one of MDAD's worker layouts, such as "mdad/one-of-each", and
	// fills what is absent of Main, Federation and Workers with its container
	// names. A date picks the playbook of that day, whose Synapse may have had
	// fewer stream writers: "mdad/one-of-each@2026-04-03". Optional.
	Layout string `yaml:"layout"`

	// Main is the main process, such as "http://matrix-synapse:8008". It answers
	// whatever no worker is configured for. Required unless Layout names it.
	Main *Upstream `yaml:"main"`

	// Federation is the main process's federation listener, such as
	// "http://matrix-synapse:8048". Optional. Defaults to Main.
	Federation *Upstream `yaml:"federation"`

	// Workers lists the processes of each class; stream writers are under the
	// key streams. Given classes replace the layout's, and an empty list takes
	// the layout's away. Optional.
	Workers Workers `yaml:"workers"`

	// Hold is how long a request waits for a process that refuses connections,
	// as one does while it restarts. Optional. Defaults to 10s; 0 means not at
	// all.
	Hold Duration `yaml:"hold"`

	// MaxUpload is the largest body of an upload to the media repository, such as
	// "100MiB"; what is larger gets 413 M_TOO_LARGE before Synapse is asked. Give it
	// the value of Synapse's max_upload_size. Other requests to Synapse,
	// transactions of federation among them, may have 12.5 MiB in any case, which
	// is what Synapse takes of them however small its max_upload_size is. Optional.
	// Without it, Synapse decides.
	MaxUpload Size `yaml:"max_upload"`

	Place Place `yaml:"-"`
}

// Workers maps a class to its processes. A class that is absent is done by
// another, as the catalogue says, and in the end by the main process.
type Workers map[Class][]Upstream

// Internal is a plain HTTP entrypoint for a site's bridges and bots.
type Internal struct {
	// Addresses to listen on, such as ":8008" or "fd:NAME". Optional. Empty means off.
	Addresses []Address `yaml:"addresses"`
	// AdminAPI opens /_synapse/admin there. Optional. Defaults to false.
	AdminAPI bool `yaml:"admin_api"`

	Place Place `yaml:"-"`
}

// MAS is Matrix Authentication Service.
type MAS struct {
	// Host of its own, such as "auth.example.com". Optional. Defaults to the
	// site's host, under Path.
	Host string `yaml:"host"`
	// Path under which it lives; it is passed on, not stripped. Optional.
	// Defaults to "/" with a host of its own, else "/auth".
	Path string `yaml:"path"`
	// Upstream is its web listener, such as
	// "http://matrix-authentication-service:8080". Required.
	Upstream *Upstream `yaml:"upstream"`
	// Migrating leaves login with Synapse while accounts are moved. Optional.
	Migrating bool `yaml:"migrating"`

	Place Place `yaml:"-"`
}

// WebApp is a web application with a host of its own or under a path, which is
// stripped.
type WebApp struct {
	// Host; Element defaults to "element.<server_name>", or to the site's host
	// when Path is given; ntfy to "ntfy.<server_name>".
	Host string `yaml:"host"`
	// Path under which it is published. Optional. Defaults to "/".
	Path string `yaml:"path"`
	// Upstream answers. Required.
	Upstream *Upstream `yaml:"upstream"`

	Place Place `yaml:"-"`
}

// Ketesa is the administration page for Synapse and MAS.
type Ketesa struct {
	// Host; defaults to the site's host.
	Host string `yaml:"host"`
	// Path under which it is published; it is stripped. Optional. Defaults to
	// "/synapse-admin".
	Path string `yaml:"path"`
	// Upstream answers. Required.
	Upstream *Upstream `yaml:"upstream"`
	// Public opens the page to everybody instead of Admins. Optional.
	Public bool `yaml:"public"`

	Place Place `yaml:"-"`
}

// AdminAPI is the gate before /_synapse/admin and MAS's admin API.
type AdminAPI struct {
	// Public opens it to everybody instead of Admins. Optional. Defaults to
	// false.
	Public bool `yaml:"public"`

	Place Place `yaml:"-"`
}

// Federation says with whom a site talks and how it is found.
type Federation struct {
	// With says which servers are answered: "all" (default); "none", so that
	// /_matrix/federation and /_matrix/key are closed on every host and
	// entrypoint of the site; or a list such as ["partner.example",
	// "*.friends.example"], which refuses requests that other servers sign. A
	// name is compared whole, port included, in any case; "*" stands for any
	// characters, "?" for one. What Synapse itself sends is Synapse's to decide
	// (federation_domain_whitelist).
	With FederationPolicy `yaml:"with"`
	// Host is the name other homeservers are sent to. Optional. Defaults to the
	// site's host.
	Host string `yaml:"host"`
	// Port is what well-known advertises. Optional. Defaults to 8448, or to 443
	// when the federation entrypoint is off.
	Port int `yaml:"port"`
	// Delegation says how other servers learn of Host and Port: by "well_known"
	// (default); by "srv", records in the zone of server_name, whose own
	// certificate they then want to see; or "none": they do not.
	Delegation string `yaml:"delegation"`
	// OpenID is about /_matrix/federation/v1/openid/userinfo, by which services
	// such as LiveKit's tell who a user is: "open"; "closed"; or "auto"
	// (default), which closes it where With is none and there is no
	// element_call.
	OpenID string `yaml:"openid"`
	// StrictPorts serves the client API only on https and the federation API
	// only on federation, as MDAD's listeners do. Optional. Defaults to false.
	StrictPorts bool `yaml:"strict_ports"`

	Place Place `yaml:"-"`
}

// FederationPolicy is "all", "none" or a list of server names with wildcards.
type FederationPolicy struct {
	All     bool
	Servers []string
}

// ElementCall is MatrixRTC: LiveKit and its token service.
type ElementCall struct {
	// JWT is lk-jwt-service, published under JWTPath. Required.
	JWT *Upstream `yaml:"jwt"`
	// SFU is LiveKit's signalling port, published under SFUPath. Required.
	SFU *Upstream `yaml:"sfu"`
	// JWTPath is stripped. Optional. Defaults to "/livekit-jwt-service".
	JWTPath string `yaml:"jwt_path"`
	// SFUPath is stripped. Optional. Defaults to "/livekit-server".
	SFUPath string `yaml:"sfu_path"`

	Place Place `yaml:"-"`
}

// WellKnownDocuments are merged over what is generated, key by key, objects
// recursively; these win. Values are what JSON can hold.
type WellKnownDocuments struct {
	Client  map[string]any `yaml:"client"`  // /.well-known/matrix/client
	Server  map[string]any `yaml:"server"`  // /.well-known/matrix/server
	Support map[string]any `yaml:"support"` // /.well-known/matrix/support
}

// Route is the operator's own: what it matches and what happens then.
type Route struct {
	// Name stands in explain, logs and metrics: letters a to z, digits, hyphens
	// and underscores. Required, unique in its site.
	Name string `yaml:"name"`
	// Hosts it applies to. Optional. Defaults to the site's host.
	Hosts []string `yaml:"hosts"`
	// Entrypoints it applies to: https, federation, internal. Optional. Defaults
	// to https and federation.
	Entrypoints []string `yaml:"entrypoints"`
	// Methods it applies to. Optional. Defaults to all.
	Methods []string `yaml:"methods"`
	// Exactly one of Path, PathPrefix (by whole segments) and PathRegexp (the
	// whole raw path must match) is required.
	Path       string `yaml:"path"`
	PathPrefix string `yaml:"path_prefix"`
	PathRegexp string `yaml:"path_regexp"`

	// StripPrefix removes PathPrefix before forwarding. Optional. Not towards
	// Synapse, as AddPrefix.
	StripPrefix bool `yaml:"strip_prefix"`
	// AddPrefix puts a path before what is forwarded. Optional.
	AddPrefix string `yaml:"add_prefix"`
	// ReplacePath is forwarded instead of the path. Optional.
	ReplacePath string `yaml:"replace_path"`

	// RequestHeaders and ResponseHeaders are set; an empty value removes. What
	// belongs to the connection or tells who the client is cannot be set.
	RequestHeaders  map[string]string `yaml:"request_headers"`
	ResponseHeaders map[string]string `yaml:"response_headers"`

	// Allow limits the route to these addresses; others get 403. Optional.
	Allow []netip.Prefix `yaml:"allow"`
	// BasicAuthFile is not supported yet.
	BasicAuthFile string `yaml:"basic_auth_file"`
	// Priority breaks a tie between two routes of the same shape; the higher
	// wins. Optional.
	Priority int `yaml:"priority"`

	// Exactly one of Upstreams, Redirect (a URL or a path) and Status is
	// required; Status may go with Redirect to choose 301, 302, 303, 307 or 308.
	Upstreams []Upstream `yaml:"upstreams"`
	Redirect  string     `yaml:"redirect"`
	Status    int        `yaml:"status"`

	Place Place `yaml:"-"`
}

// Upstream is one process that answers: a URL, or a mapping with a url.
type Upstream struct {
	// URL is "http://host:port", "https://host:port" (verified) or "unix:/path".
	URL string `yaml:"url"`
	// Weight is its share among the upstreams of its pool. Optional. Defaults
	// to 1.
	Weight int `yaml:"weight"`
	// CAFile verifies an https upstream instead of the system's roots. Optional.
	CAFile string `yaml:"ca_file"`
	// ServerName is the name an https upstream must prove. Optional. Defaults to
	// the URL's host.
	ServerName string `yaml:"server_name"`
	// MaxConns bounds the connections open to it at once. Optional. Defaults to
	// no bound.
	MaxConns int `yaml:"max_conns"`

	Place Place `yaml:"-"`
}

// TCPForward is a port where TLS ends here and plain bytes go onward.
type TCPForward struct {
	Address  Address `yaml:"address"`  // to listen on, such as ":5350"
	Host     string  `yaml:"host"`     // whose certificate is shown
	Upstream string  `yaml:"upstream"` // "host:port"

	Place Place `yaml:"-"`
}

// Timeouts bound every wait. Values are durations such as "10s" or "3m".
type Timeouts struct {
	Head        Duration `yaml:"head"`         // a request's head, from its first byte; also a TLS handshake
	Idle        Duration `yaml:"idle"`         // a client's connection without a request
	Connect     Duration `yaml:"connect"`      // one dial to an upstream
	Stall       Duration `yaml:"stall"`        // a body, in either direction, of which no byte moves; however long it takes, it may
	Response    Duration `yaml:"response"`     // from the whole request to the response's head
	SyncMargin  Duration `yaml:"sync_margin"`  // added to a /sync's own timeout parameter
	InitialSync Duration `yaml:"initial_sync"` // Response, for the class initial_sync
	Federation  Duration `yaml:"federation"`   // Response, for federation and for joins
	Grace       Duration `yaml:"grace"`        // requests under way at a stop, and WebSockets whose route a reload took away
}

// Limits bound sizes and counts.
type Limits struct {
	// Head bounds a request's head. Optional. Defaults to 64KiB.
	Head Size `yaml:"head"`
	// Connections bounds the connections that clients have open, on all entrypoints
	// but internal and admin together, whoever they are. When one more comes, those
	// without a request make room, the oldest first; while requests are under way on all,
	// it is refused. Half of the files that the process may open (ulimit -n) are the
	// most there can be, for a request mostly needs a second one. Optional. Defaults to
	// 20000.
	Connections int `yaml:"connections"`
	// Endpoints bounds the requests under way for each site, by endpoint: the word
	// that explain names, such as initial_sync, whatever class then serves it.
	// Further ones wait for their turn, then get 429 M_LIMIT_EXCEEDED. Optional.
	// Defaults to no bound.
	Endpoints map[Class]EndpointLimit `yaml:"endpoints"`
}

// EndpointLimit bounds the requests of one endpoint that are under way.
type EndpointLimit struct {
	// Concurrent is how many may be under way, such as 50. Required.
	Concurrent int `yaml:"concurrent"`
	// Queue is how long one more waits, such as 5s. Optional. Defaults to 0: not at
	// all.
	Queue Duration `yaml:"queue"`
}

// Logging says what is written to standard error, as JSON lines.
type Logging struct {
	Level     string `yaml:"level"`     // debug, info (default), warn or error
	Access    bool   `yaml:"access"`    // one line a request. Defaults to true
	Addresses string `yaml:"addresses"` // full (default), or masked to /24 and /48
}

// Duration is written as in Go: "10s", "3m", "1h30m"; 0 is allowed.
type Duration time.Duration

// Size counts bytes, written "64KiB", "50MiB", "2GiB" or a plain number.
type Size int64

// Secret is a value that prints as [redacted] in every format.
type Secret struct{ value string }
