// Package integration proves vestibule against the real thing: Synapse with
// MDAD's seventeen processes, real clients, and names, certificates and ports
// as on the Internet, all inside a network namespace of its own.
//
// The certificates come from an ACME authority, by way of a stand-in for OVH's
// DNS, and three homeservers find one another by that DNS alone.
//
// It asks two questions of every request. Did it do what the client wanted?
// And did the process answer that explain names? The second is read from the
// access logs of Synapse's processes, which know a request by its X-Lab-Id.
//
// Everything but this comment needs the build tag integration, root, and what
// setup.sh installs: "make integration" does it all. docs/laboratory.md says
// what is where and what to do when a run fails.
package integration
