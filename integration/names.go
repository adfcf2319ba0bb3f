//go:build integration

package integration

import (
	"fmt"
	"strings"

	"vestibule/acme/ovhtest"
)

// Where everything listens. Each homeserver has an address for its front door
// and one for its processes.
const (
	resolverAddress  = "127.0.0.53"
	apiAddress       = "127.0.0.80:80"
	authorityAddress = "127.0.0.44"
	frontDoorAddress = "127.1.0.1"
	synapseAddress   = "127.2.0.1"
	peerAddress      = "127.1.0.2"
)

// nameServerAddresses are of the name servers that publish the zones.
var nameServerAddresses = []string{"127.0.0.54", "127.0.0.55"}

// startNames starts the laboratory's DNS: a resolver, name servers, and the API
// of a provider whose account holds the homeservers' zones. What they do not
// know does not exist, and they say so at once: Twisted waits a minute for a
// name server that is silent about SRV, and takes SERVFAIL for an unreachable
// destination.
func startNames() (*ovhtest.Server, error) {
	names, err := ovhtest.New(ovhtest.Options{
		Zones:               []string{serverName, "hs2.test", "hs3.test", "hs4.test"},
		ForeignZones:        []string{"http01.test", "impostor.test", peerName, authorityName},
		Address:             apiAddress,
		NameServerAddresses: nameServerAddresses,
		ResolverAddress:     resolverAddress,
		DNSPort:             53,
	})
	if err != nil {
		return nil, fmt.Errorf("starting the name servers: %w", err)
	}
	names.SetA(serverName, frontDoorAddress)
	names.SetA("matrix."+serverName, frontDoorAddress)
	names.SetA(pageHost, frontDoorAddress)
	names.SetA(peerName, peerAddress)
	names.SetA(authorityName, authorityAddress)
	return names, nil
}

// hostsFile gives MDAD's containers their names, as the container engine does on
// a real host: they are no business of the DNS. others are further lines.
func hostsFile(synapse string, workers []worker, others ...string) string {
	text := &strings.Builder{}
	fmt.Fprintf(text, "127.0.0.1 localhost\n%s %s\n", synapse, mainName)
	for _, w := range workers {
		fmt.Fprintf(text, "%s %s\n", synapse, w.Name)
	}
	for _, line := range others {
		fmt.Fprintln(text, line)
	}
	return text.String()
}
