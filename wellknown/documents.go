// Package wellknown builds and serves the server, client and support documents.
//
// New makes the documents of one site from its configuration: what vestibule
// knows by itself (hosts, ports, MAS, Element Call, Ketesa), with the operator's
// own keys merged over it as a JSON merge patch (RFC 7396: objects recursively,
// the operator wins, null removes). What comes out is checked the way clients
// and other homeservers read it, and kept as bytes; a mistake is an error of New.
//
// Answer then picks bytes: it does no I/O and never changes anything. Every
// answer, errors included, allows every origin, since
// web clients read these documents from another one.
package wellknown

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"vestibule/configs"
)

// The documents, by the last element of their path, /.well-known/matrix/NAME.
const (
	Client  = "client"
	Server  = "server"
	Support = "support"
)

// maxSize is the largest document another Synapse reads, in bytes
// (WELL_KNOWN_MAX_SIZE in synapse/http/federation/well_known_resolver.py).
const maxSize = 50 * 1024

// Documents are the well-known documents of one site. They are safe for
// concurrent use.
type Documents struct {
	published map[string]published
}

// published is one document as it goes over the wire.
type published struct {
	body []byte
	etag string // quoted, strong
}

// object is a JSON object.
type object = map[string]any

// New builds the documents of a site. An error names the key of the
// configuration that leads to a document others could not use.
func New(cfg *configs.Config, site *configs.Site) (*Documents, error) {
	docs := &Documents{published: map[string]published{}}
	own := site.WellKnown
	if err := docs.publish(Client, client(cfg, site), own.Client, checkClient); err != nil {
		return nil, err
	}
	if err := docs.publishServer(site); err != nil {
		return nil, err
	}
	if len(own.Support) > 0 {
		if err := docs.publish(Support, object{}, own.Support, checkSupport); err != nil {
			return nil, err
		}
	}
	return docs, nil
}

// publishServer leaves the document out when the site does not delegate: peers
// then look for SRV records, which a valid document would override
// (server-server API, "Resolving server names", steps 3 and 4).
func (d *Documents) publishServer(site *configs.Site) error {
	if delegates(site) {
		return d.publish(Server, server(site), site.WellKnown.Server, checkServer)
	}
	if len(site.WellKnown.Server) == 0 {
		return nil
	}
	remedy := "set federation.delegation to well_known"
	if site.Federation.Delegation == "well_known" {
		remedy = "set federation.openid to open, or federation.with to others than none"
	}
	return fmt.Errorf("well_known.server: %s does not delegate federation, so nothing would publish it (hint: remove it, or %s)",
		site.ServerName, remedy)
}

// publish merges, checks and renders one document.
func (d *Documents) publish(name string, generated, own object, check func(object) error) error {
	key := "well_known." + name
	patch, err := plain(key, own)
	if err != nil {
		return err
	}
	merged := merge(generated, patch.(object))
	if err := check(merged); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	body, err := render(merged)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	if len(body) > maxSize {
		return fmt.Errorf("%s: the document is %d bytes long, and Synapse reads no more than %d (hint: remove keys)",
			key, len(body), maxSize)
	}
	sum := sha256.Sum256(body)
	d.published[name] = published{body: body, etag: `"` + hex.EncodeToString(sum[:8]) + `"`}
	return nil
}

// render writes JSON for people and programs alike; keys come out sorted, so
// the same configuration gives the same bytes and the same ETag on every host.
func render(document object) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false) // URLs keep their "&"
	encoder.SetIndent("", "  ")
	err := encoder.Encode(document)
	return out.Bytes(), err
}

// publicURL is where clients reach a host: port 443 unless the https entrypoint
// has another public_port. The port listened on does not count: these documents
// are fetched from port 443 (client-server API, "Well-known URIs"), so whoever
// reads them came through it or a mapping of it. An IPv6 address is a host with
// its brackets.
func publicURL(cfg *configs.Config, host string) string {
	if port := cfg.Entrypoints.HTTPS.PublicPort; port != 0 && port != 443 {
		return fmt.Sprintf("https://%s:%d", host, port)
	}
	return "https://" + host
}
