package main

import (
	"context"
	"errors"
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
	what := "/livez"
	if *ready {
		what = "/readyz"
	}
	text, err := askRunning(location, what)
	if err != nil {
		return c.fail(err)
	}
	fmt.Fprintln(c.stdout, text)
	return exitOK
}

// errNoAnswer is returned when nobody answers where the admin pages should be.
var errNoAnswer = errors.New("does not answer")

// askRunning gets a page from wherever a running server answers; when it does nowhere,
// the error is that of the first place.
func askRunning(location configs.Location, what string) (text string, err error) {
	places := answersAt(location)
	text, err = askAdmin(places[0], what)
	for _, a := range places[1:] {
		if !errors.Is(err, errNoAnswer) {
			break
		}
		if other, problem := askAdmin(a, what); !errors.Is(problem, errNoAnswer) {
			return other, problem
		}
	}
	return text, err
}

// answersAt is where a running server can be asked for the admin pages. The control
// socket answers the same: where the admin entrypoint is off, where systemd opened its
// sockets, which only systemd knows, and where the file names another address that
// only a restart applies.
func answersAt(location configs.Location) []configs.Address {
	control := configs.Address("unix:" + location.Control)
	for _, a := range location.Admin {
		if network, _ := a.Network(); network != "fd" {
			return []configs.Address{a, control}
		}
	}
	return []configs.Address{control}
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
		return "", fmt.Errorf("the admin entrypoint %s %w: %w (hint: is vestibule running, with this configuration?)", address, errNoAnswer, err)
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
