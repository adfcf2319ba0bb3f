//go:build integration

package integration

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// clients counts clients; each has an address of its own below 127.9.0.0/16.
var clients atomic.Int64

// client is an HTTP client somewhere on the laboratory's Internet.
type client struct {
	*http.Client
	*recorder
	transport *http.Transport
	dialer    *net.Dialer
	address   string
}

// newClient trusts the given CA, follows no redirects and speaks HTTP/2 where
// it can.
func newClient(roots *x509.CertPool) *client {
	n := clients.Add(1)
	address := fmt.Sprintf("127.9.%d.%d", n/250, 1+n%250)
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	transport := &http.Transport{
		DialContext:       dialer.DialContext,
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: true,
	}
	recording := newRecorder(transport)
	return &client{
		Client: &http.Client{
			Transport:     recording,
			Timeout:       90 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		recorder:  recording,
		transport: transport,
		dialer:    dialer,
		address:   address,
	}
}

// do sends a request without a body; headers are pairs of name and value.
func (c *client) do(method, address string, headers ...string) (*http.Response, error) {
	return c.send(method, address, "", headers...)
}

// send sends a request with a body.
func (c *client) send(method, address, body string, headers ...string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(context.Background(), method, address, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header[headers[i]] = append(request.Header[headers[i]], headers[i+1])
	}
	return c.Do(request)
}

// through has the client go to an address whatever name it asks for, and trust
// the CA there.
func (c *client) through(address string, roots *x509.CertPool) {
	c.transport.TLSClientConfig.RootCAs = roots
	c.transport.DialContext = func(ctx context.Context, network, name string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(name)
		if err != nil {
			return nil, err
		}
		return c.dialer.DialContext(ctx, network, net.JoinHostPort(address, port))
	}
	c.transport.CloseIdleConnections()
}
