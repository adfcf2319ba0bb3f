package configs

// Class is the word for a kind of work and for the processes that do it:
// "sync", "media", "stream:typing", "mas". The same words stand in the
// configuration (synapse.workers), in explain, in the logs and in the metric
// labels. A route the operator names has the class "route:NAME".
type Class string

// The classes of Synapse's processes. Any of them but Main can be a key of
// synapse.workers; the stream writers sit under its key streams without the
// prefix "stream:".
const (
	Main              Class = "main"
	Generic           Class = "generic"
	Sync              Class = "sync"
	InitialSync       Class = "initial_sync"
	Room              Class = "room"
	ClientReader      Class = "client_reader"
	EventCreator      Class = "event_creator"
	FederationReader  Class = "federation_reader"
	FederationInbound Class = "federation_inbound"
	Media             Class = "media"
	UserDir           Class = "user_dir"
	SSOLogin          Class = "sso_login"

	StreamTyping                  Class = "stream:typing"
	StreamToDevice                Class = "stream:to_device"
	StreamAccountData             Class = "stream:account_data"
	StreamReceipts                Class = "stream:receipts"
	StreamPresence                Class = "stream:presence"
	StreamPushRules               Class = "stream:push_rules"
	StreamDeviceLists             Class = "stream:device_lists"
	StreamThreadSubscriptions     Class = "stream:thread_subscriptions"
	StreamQuarantinedMediaChanges Class = "stream:quarantined_media_changes"
)

// The classes of what stands beside Synapse, and of answers that need no
// upstream.
const (
	MAS         Class = "mas"
	Element     Class = "element"
	Ketesa      Class = "ketesa"
	ElementCall Class = "element_call"
	Ntfy        Class = "ntfy"
	Bridge      Class = "bridge"

	WellKnown Class = "wellknown"
	Local     Class = "local" // redirects, the base domain's page
	Deny      Class = "deny"
	NotFound  Class = "not_found"
	Fallback  Class = "fallback"
)

// WorkerClasses are the classes that synapse.workers may name.
var WorkerClasses = []Class{
	Generic, Sync, InitialSync, Room, ClientReader, EventCreator, FederationReader, FederationInbound, Media,
	UserDir, SSOLogin, StreamTyping, StreamToDevice, StreamAccountData, StreamReceipts, StreamPresence,
	StreamPushRules, StreamDeviceLists, StreamThreadSubscriptions, StreamQuarantinedMediaChanges,
}
