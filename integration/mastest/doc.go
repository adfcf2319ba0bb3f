// Package mastest is a stand-in for Matrix Authentication Service (MAS), so that
// a real Synapse can delegate login to something in the laboratory.
//
// It has what Synapse asks of MAS (discovery and introspection), what clients ask
// in Synapse's place (login, refresh, logout, single sign-on), and it makes users
// and devices known to Synapse before anybody uses them, as MAS does. Its tokens
// have the form of MAS's and tell nothing: only introspection knows whose they
// are. Answers, status codes and limits follow MAS (crates/handlers/src/compat,
// crates/handlers/src/oauth2/introspection.rs, crates/data-model/src/tokens.rs).
//
// Everything is kept in memory. There is no registration, no grant of OAuth 2.0
// and no admin API: tests make users and tokens with AddUser, Issue and Rotate.
// Sessions that end take their device away at once, where MAS leaves that to a
// job a moment later.
package mastest
