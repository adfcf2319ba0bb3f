//go:build integration

package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"

	"vestibule/integration/mastest"
)

// homeserver is a Synapse behind its front door, and how other servers get there.
type homeserver struct {
	name       string // its server name
	entrypoint string // of the front door to which other servers come
	port       int    // of that entrypoint
	addressee  string // the Host for which they ask there
	wellKnown  int    // the status of /.well-known/matrix/server
	srv        string // the target of its SRV record; "" for none

	front   frontDoor
	account account // to obtain its certificates with
	address string  // of Synapse

	workers       []worker // of Synapse; none if one process does everything
	redisDatabase int      // for Synapse's workers
	masAddress    string   // of what login is delegated to; "" if it is not

	door    *vestibule
	synapse *synapse
	mas     *mastest.Server
}

// hs1 is the homeserver with workers, which runs all the time.
func hs1() *homeserver {
	return &homeserver{
		name: serverName, entrypoint: "federation", port: 8448, addressee: "matrix." + serverName + ":8448", wellKnown: http.StatusOK,
		front: frontDoor{address: frontDoorAddress}, door: lab.vestibule, synapse: lab.synapse,
	}
}

// hs2 is found by its well-known, which sends servers to the https entrypoint.
func hs2() *homeserver {
	return &homeserver{
		name: "hs2.test", entrypoint: "https", port: 443, addressee: "matrix.hs2.test:443", wellKnown: http.StatusOK,
		front:   frontDoor{address: "127.1.2.1", admin: "127.0.0.1:9192", federation: "port: 443"},
		account: serviceAccount,
		address: "127.2.2.1",
	}
}

// hs3 is found by an SRV record, with a port nobody would guess. Servers ask for
// the server name then, wherever the record leads (Matrix v1.16, server-server
// API, "Resolving server names", step 4).
func hs3() *homeserver {
	return &homeserver{
		name: "hs3.test", entrypoint: "federation", port: 8449, addressee: "hs3.test", wellKnown: http.StatusNotFound, srv: "matrix.hs3.test",
		front:   frontDoor{address: "127.1.3.1", port: 8449, admin: "127.0.0.1:9193", federation: "delegation: srv"},
		account: bearerToken,
		address: "127.2.3.1",
	}
}

// hs4 has workers for each task, two of them for sync, and delegates login to MAS,
// which is under /auth.
func hs4() *homeserver {
	const door, address, mas = "127.1.4.1", "127.2.4.1", "127.3.4.1"
	return &homeserver{
		name: "hs4.test", entrypoint: "federation", port: 8448, addressee: "matrix.hs4.test:8448", wellKnown: http.StatusOK,
		front: frontDoor{
			address: door, admin: "127.0.0.1:9194", internal: door + ":8008", mas: masSection,
			synapse:  `layout: mdad/specialized-workers, workers: { sync: ["http://matrix-synapse-worker-sync-0:28211", "http://matrix-synapse-worker-sync-1:28212"] }`,
			etcHosts: hostsFile(address, specializedWorkers, mas+" matrix-authentication-service"),
		},
		account: application,
		address: address, workers: specializedWorkers, redisDatabase: 4, masAddress: mas,
	}
}

const (
	masSection = `upstream: "http://matrix-authentication-service:8080"`
	masPrefix  = "/auth" // where MDAD puts it
	masSecret  = "laboratory-mas"
)

// found sets homeservers up, all at once: their front doors, then, when every
// one of them can be found, their Synapses. A Synapse that asks for another's
// well-known before it is there takes it for missing, for an hour.
func (l *laboratory) found(homeservers ...*homeserver) error {
	for _, h := range homeservers {
		if err := l.open(h); err != nil {
			return err
		}
	}
	for _, h := range homeservers {
		if err := h.door.awaitCertificates(); err != nil {
			return err
		}
		if err := l.published(h); err != nil {
			return err
		}
	}
	started := make(chan error)
	for _, h := range homeservers {
		go func() { started <- l.populate(h) }()
	}
	var problems []error
	for range homeservers {
		problems = append(problems, <-started)
	}
	for _, h := range homeservers {
		if h.synapse != nil {
			l.stops = append(l.stops, h.synapse.stop)
		}
	}
	return errors.Join(problems...)
}

// open publishes a homeserver's names and starts its front door.
func (l *laboratory) open(h *homeserver) error {
	l.names.SetA(h.name, h.front.address)
	l.names.SetA("matrix."+h.name, h.front.address)
	if h.srv != "" {
		l.names.AddRecord("_matrix-fed._tcp."+h.name, "SRV", fmt.Sprintf("10 0 %d %s", h.port, h.srv))
	}
	h.front.name, h.front.serverName = h.name, h.name
	if len(h.workers) == 0 {
		h.front.synapse = fmt.Sprintf("main: http://%[1]s:8008, federation: http://%[1]s:8048", h.address)
	}
	if err := l.delegate(h); err != nil {
		return err
	}
	var err error
	h.door, err = l.launch(l.vestibule.binary, h.front, h.account)
	return err
}

// delegate starts what a homeserver delegates login to, if it does.
func (l *laboratory) delegate(h *homeserver) error {
	if h.masAddress == "" {
		return nil
	}
	var err error
	h.mas, err = mastest.New(mastest.Options{
		Address: h.masAddress + ":8080", Prefix: masPrefix, Public: "https://matrix." + h.name + masPrefix + "/",
		ServerName: h.name, Homeserver: "http://" + h.address + ":8008", Secret: masSecret,
	})
	if err != nil {
		return err
	}
	l.stops = append(l.stops, h.mas.Close)
	return nil
}

// published returns nil when the server name's well-known says what it should.
func (l *laboratory) published(h *homeserver) error {
	address := "https://" + h.name + "/.well-known/matrix/server"
	response, err := newClient(l.roots).do(http.MethodGet, address)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != h.wellKnown {
		return fmt.Errorf("%s answers %s", address, response.Status)
	}
	if h.wellKnown != http.StatusOK {
		return nil
	}
	var document struct {
		Server string `json:"m.server"`
	}
	if err := json.NewDecoder(response.Body).Decode(&document); err != nil {
		return fmt.Errorf("reading %s: %w", address, err)
	}
	if document.Server != h.addressee {
		return fmt.Errorf("%s sends servers to %q, want %q", address, document.Server, h.addressee)
	}
	return nil
}

// populate starts a homeserver's Synapse, with a database of its own.
func (l *laboratory) populate(h *homeserver) error {
	database, _, _ := strings.Cut(h.name, ".")
	if err := l.postgres.create(database); err != nil {
		return err
	}
	settings := synapseSettings{
		ServerName: h.name, Address: h.address, Main: h.address, Directory: filepath.Join(l.directory, h.name, "synapse"),
		Postgres: l.postgres.sockets, Database: database, Authorities: []string{l.authority.root},
	}
	if len(h.workers) > 0 {
		settings.Main, settings.Workers = mainName, h.workers
		settings.Redis, settings.RedisDatabase = l.redis.socket, h.redisDatabase
	}
	if h.mas != nil {
		settings.MAS, settings.MASSecret = "http://"+h.masAddress+":8080"+masPrefix+"/", masSecret
	}
	var err error
	h.synapse, err = startSynapse(python(), filepath.Join(l.logs, h.name), settings)
	return err
}
