package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"
)

// A process is probed at this pace, and faster while it is down, each time a
// little earlier or later, so that probes do not fall together.
const (
	probeEvery     = 5 * time.Second
	probeEveryDown = time.Second
	probeTimeout   = 5 * time.Second
)

// maxProbes bounds the addresses of one name that are probed at once.
const maxProbes = 8

// watch probes the addresses of an upstream until ctx ends. noticed is told when
// a process turns out to run another release of Synapse.
func (u *Upstream) watch(ctx context.Context, noticed func()) {
	for pause := probeEveryDown; sleep(ctx, jitter(pause)) == nil; {
		u.probe(ctx, noticed)
		pause = probeEvery
		if word, _ := u.health(time.Now()); word == "down" {
			pause = probeEveryDown
		}
	}
}

// jitter is d, a fifth more or less.
func jitter(d time.Duration) time.Duration {
	return d*4/5 + rand.N(d*2/5)
}

// probe looks the name up and probes each address.
func (u *Upstream) probe(ctx context.Context, noticed func()) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout+u.dialer.Timeout)
	defer cancel()
	set, err := u.resolve(ctx)
	if err != nil {
		return // which resolve has noted
	}
	var wg sync.WaitGroup
	places := make(chan struct{}, maxProbes)
	for _, a := range set.list {
		wg.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			if a.probe(ctx) {
				noticed()
			}
		})
	}
	wg.Wait()
}

// probe asks a process of Synapse for /health, which each of its HTTP listeners
// answers (synapse/rest/health.py), and opens a connection to any other. It says
// whether the process runs another release than before.
func (a *address) probe(ctx context.Context) (newRelease bool) {
	c, err := a.dial(ctx)
	if err != nil {
		return false // which dial has noted; or max_conns are in use, so somebody is there
	}
	defer c.close()
	if !a.up.synapse.Load() {
		a.probed(nil)
		return false
	}
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c.SetDeadline(time.Now().Add(probeTimeout))
	var resp response
	_, err = c.fetch(appendProbe(nil, a.target), &resp)
	if err == nil && resp.status >= 500 {
		err = fmt.Errorf("/health answers %d", resp.status)
	}
	if ctx.Err() == nil {
		a.probed(err)
	}
	if err != nil {
		return false
	}
	server, _ := resp.header.Get("Server")
	return a.runs(server)
}

func appendProbe(b []byte, target string) []byte {
	host := target
	if _, _, err := net.SplitHostPort(target); err != nil {
		host = "localhost" // a socket
	}
	b = append(b, "GET /health HTTP/1.1\r\n"...)
	b = appendField(b, "Host", host)
	b = appendField(b, "User-Agent", userAgent)
	return append(b, "Connection: close\r\n\r\n"...)
}

// userAgent is how requests of our own present themselves.
const userAgent = "vestibule"

// probed notes what came of a probe.
func (a *address) probed(err error) {
	if !a.health.probed(err, time.Now()) {
		return
	}
	if err != nil {
		a.up.tell(slog.LevelWarn, "an upstream does not answer its probes", a, "error", err.Error())
		return
	}
	a.up.tell(slog.LevelInfo, "an upstream answers its probes again", a)
}

// runs notes the release in a Server field, "Synapse/1.163.2", and says whether
// it was another.
func (a *address) runs(server string) bool {
	release, ok := strings.CutPrefix(server, "Synapse/")
	if !ok {
		return false
	}
	release, _, _ = strings.Cut(release, " ")
	was := a.running.Swap(&release)
	return was == nil || *was != release
}
