//go:build integration

package integration

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/federation"
	"maunium.net/go/mautrix/id"
)

// TestFederation is another homeserver at the door. Servers sign the target of a
// request, so each that succeeds proves that every byte of it arrived.
func TestFederation(t *testing.T) {
	ctx := t.Context()
	erin := register(t, "erin", "ERIN")
	room, err := erin.CreateRoom(ctx, &mautrix.ReqCreateRoom{Preset: "public_chat", RoomAliasName: "déjà-vu/2"})
	if err != nil {
		t.Fatal(err)
	}
	picture, err := erin.UploadBytesWithName(ctx, []byte("a picture, honestly"), "image/png", "p.png")
	if err != nil {
		t.Fatal(err)
	}
	hs2, recording := lab.peer.client(lab.roots)

	version, err := hs2.Version(ctx, serverName)
	if err != nil || version.Server.Name != "Synapse" {
		t.Errorf("version: %v, %v", version, err)
	}
	keys, err := hs2.ServerKeys(ctx, serverName)
	if err != nil || keys.ServerName != serverName || keys.VerifySelfSignature() != nil {
		t.Errorf("keys: %v, %v", keys, err)
	}
	_, err = hs2.SendTransaction(ctx, &federation.ReqSendTransaction{
		Destination: serverName, Origin: peerName, TxnID: "t/1 é", PDUs: []federation.PDU{},
		EDUs: []federation.EDU{federation.EDU(`{"edu_type":"m.presence","content":{"push":[]}}`)},
	})
	if err != nil {
		t.Errorf("sending a transaction: %v", err)
	}
	if profile, err := hs2.QueryProfile(ctx, serverName, erin.UserID); err != nil || profile.DisplayName != "erin" {
		t.Errorf("profile: %v, %v", profile, err)
	}
	alias := id.RoomAlias("#déjà-vu/2:" + serverName)
	if found, err := hs2.QueryDirectory(ctx, serverName, alias); err != nil || found.RoomID != room.RoomID {
		t.Errorf("directory: %v, %v", found, err)
	}
	signed := func(path federation.URLPath, query url.Values) {
		t.Helper()
		_, _, err := hs2.MakeFullRequest(ctx, federation.RequestParams{
			ServerName: serverName, Method: http.MethodGet, Path: path, Query: query, Authenticate: true,
		})
		if err != nil {
			t.Errorf("%v: %v", path, err)
		}
	}
	signed(federation.URLPath{"v1", "user", "devices", erin.UserID.String()}, nil)
	signed(federation.URLPath{"v1", "make_join", room.RoomID.String(), "@frank:" + peerName}, url.Values{"ver": {"11", "12"}})
	signed(federation.URLPath{"v1", "media", "download", picture.ContentURI.FileID}, nil)

	requests := recording.sent()
	for _, request := range requests {
		if !strings.HasPrefix(request.URL, "https://matrix."+serverName+":8448/") {
			t.Errorf("well-known sent the peer to %s", request.URL)
		}
	}
	compareWithExplain(t, append(requests, erin.client.sent()...)).wantClasses(t, "main", "generic", "media")
}

// TestFederationNames asks under every name and port that other servers may
// know, as their caches or an SRV record would have it.
func TestFederationNames(t *testing.T) {
	c := newClient(lab.roots)
	for _, host := range []string{"matrix." + serverName + ":8448", serverName + ":8448", "matrix." + serverName, serverName} {
		for _, path := range []string{"/_matrix/federation/v1/version", "/_matrix/key/v2/server"} {
			response, err := c.do(http.MethodGet, "https://"+host+path)
			if err != nil {
				t.Error(err)
				continue
			}
			response.Body.Close()
			if response.StatusCode != http.StatusOK {
				t.Errorf("https://%s%s answers %s", host, path, response.Status)
			}
		}
	}
	compareWithExplain(t, c.sent())
}

// TestImpostor sends Synapse to a server that proves its name with a certificate
// of its own: what federates here does so because certificates are verified.
func TestImpostor(t *testing.T) {
	const name, address = "impostor.test", "127.1.0.9"
	lab.names.SetA(name, address)
	certificate, err := selfSigned(name)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "8448"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	// In TLS 1.3, Synapse says why in a record that cannot be read at this point.
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, MaxVersion: tls.VersionTLS12}
	refusal := make(chan error, 1)
	go func() {
		connection, err := listener.Accept()
		if err == nil {
			err = tls.Server(connection, config).Handshake()
			connection.Close()
		}
		refusal <- err
	}()
	kevin := register(t, "kevin", "KEVIN")
	if found, err := kevin.ResolveAlias(t.Context(), "#hall:"+name); err == nil {
		t.Errorf("the impostor was believed: %v", found)
	}
	if err := <-refusal; err == nil || !strings.Contains(err.Error(), "unknown certificate authority") {
		t.Errorf("Synapse's answer to the certificate was %v", err)
	}
}
