package configs

// Class is the word for a kind of work and for the processes that do it:
// "sync", "media", "stream:typing", "mas". The same words stand in the
// configuration (synapse.workers), in explain, in the logs and in the metric
// labels. A route the operator names has the class "route:NAME".
type Class string

// The classes of Synapse's processes. Any of them but ClassMain can be a key of
// synapse.workers; the stream writers sit under its key streams without the
// prefix "stream:".
const (
	ClassMain              Class = "main"
	ClassGeneric           Class = "generic"
	ClassSync              Class = "sync"
	ClassInitialSync       Class = "initial_sync"
	ClassRoom              Class = "room"
	ClassClientReader      Class = "client_reader"
	ClassEventCreator      Class = "event_creator"
	ClassFederationReader  Class = "federation_reader"
	ClassFederationInbound Class = "federation_inbound"
	ClassMedia             Class = "media"
	ClassUserDir           Class = "user_dir"
	ClassSSOLogin          Class = "sso_login"

	ClassStreamTyping                  Class = "stream:typing"
	ClassStreamToDevice                Class = "stream:to_device"
	ClassStreamAccountData             Class = "stream:account_data"
	ClassStreamReceipts                Class = "stream:receipts"
	ClassStreamPresence                Class = "stream:presence"
	ClassStreamPushRules               Class = "stream:push_rules"
	ClassStreamDeviceLists             Class = "stream:device_lists"
	ClassStreamThreadSubscriptions     Class = "stream:thread_subscriptions"
	ClassStreamQuarantinedMediaChanges Class = "stream:quarantined_media_changes"
)

// The classes of what stands beside Synapse, and of answers that need no
// upstream.
const (
	ClassMAS         Class = "mas"
	ClassElement     Class = "element"
	ClassKetesa      Class = "ketesa"
	ClassElementCall Class = "element_call"
	ClassNtfy        Class = "ntfy"
	ClassBridge      Class = "bridge"

	ClassWellKnown Class = "wellknown"
	ClassLocal     Class = "local" // redirects, the base domain's page
	ClassDeny      Class = "deny"
	ClassNotFound  Class = "not_found"
	ClassFallback  Class = "fallback"
)

// WorkerClasses are the classes that synapse.workers may name.
var WorkerClasses = []Class{
	ClassGeneric, ClassSync, ClassInitialSync, ClassRoom, ClassClientReader, ClassEventCreator, ClassFederationReader, ClassFederationInbound, ClassMedia,
	ClassUserDir, ClassSSOLogin, ClassStreamTyping, ClassStreamToDevice, ClassStreamAccountData, ClassStreamReceipts, ClassStreamPresence,
	ClassStreamPushRules, ClassStreamDeviceLists, ClassStreamThreadSubscriptions, ClassStreamQuarantinedMediaChanges,
}
