package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"vestibule/configs"
)

func healthcheck(c *call) int {
	fs := c.flags()
	path := fs.String("config", defaultConfig, "the configuration file")
	ready := fs.Bool("ready", false, "ask for readiness, not only for life")
	if _, status, done := c.parse(fs, 0, 0); done {
		return status
	}
	location := configs.Locate(*path)
	if len(location.Admin) == 0 {
		return c.fail(fmt.Errorf("the admin entrypoint is off (hint: give entrypoints.admin.addresses an address)"))
	}
	what := "/livez"
	if *ready {
		what = "/readyz"
	}
	text, err := askAdmin(answersAt(location), what)
	if err != nil {
		return c.fail(err)
	}
	fmt.Fprintln(c.stdout, text)
	return exitOK
}

// answersAt is where a running server can be asked for the admin pages. Where systemd
// opened the sockets of the admin entrypoint, only systemd knows; the control socket
// answers the same there.
func answersAt(location configs.Location) configs.Address {
	for _, a := range location.Admin {
		if network, _ := a.Network(); network != "fd" {
			return a
		}
	}
	return configs.Address("unix:" + location.Control)
}

// askAdmin gets a page of the admin entrypoint; anything but 200 is an error.
func askAdmin(a configs.Address, what string) (string, error) {
	network, address := a.Network()
	if host, port, err := net.SplitHostPort(address); network == "tcp" && err == nil && isWildcard(host) {
		address = net.JoinHostPort("127.0.0.1", port)
	}
	client := http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://admin" + what)
	if err != nil {
		return "", fmt.Errorf("the admin entrypoint %s does not answer: %w (hint: is vestibule running, with this configuration?)", address, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(body))
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answered %s: %s", what, resp.Status, text)
	}
	return text, nil
}

// isWildcard says whether a listening host means every address.
func isWildcard(host string) bool {
	return host == "" || host == "0.0.0.0" || host == "::"
}
