package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
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
	var next time.Time // when all are probed, not only those that are down
	for sleep(ctx, jitter(probeEveryDown)) == nil {
		now := time.Now()
		all := !now.Before(next)
		if all {
			next = now.Add(jitter(probeEvery))
		}
		if all || u.ails(now) {
			u.probe(ctx, all, noticed)
		}
	}
}

// jitter is d, a fifth more or less.
func jitter(d time.Duration) time.Duration {
	return d*4/5 + rand.N(d*2/5)
}

// ails says whether its name leads nowhere or one of its addresses is down.
func (u *Upstream) ails(now time.Time) bool {
	if word, _ := u.named.word(now); word == "down" {
		return true
	}
	set := u.found.Load()
	return set != nil && slices.ContainsFunc(set.list, func(a *address) bool { return a.down(now) })
}

func (a *address) down(now time.Time) bool {
	word, _ := a.health.word(now)
	return word == "down"
}

// probe looks the name up and probes its addresses, all or those that are down.
func (u *Upstream) probe(ctx context.Context, all bool, noticed func()) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout+u.dialer.Timeout)
	defer cancel()
	set, err := u.resolve(ctx)
	if err != nil {
		return // which resolve has noted
	}
	var wg sync.WaitGroup
	places := make(chan struct{}, maxProbes)
	for _, a := range set.list {
		if !all && !a.down(time.Now()) {
			continue
		}
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
	var resp response
	_, err = c.ask(ctx, "/health", &resp)
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
	if release, ok := strings.CutPrefix(server, "Synapse/"); ok {
		return a.runs(strings.Clone(release))
	}
	return a.askRelease(ctx)
}

// askReleaseEvery is how often a main process is asked for its release whose
// answers do not tell.
const askReleaseEvery = time.Minute

// askRelease asks a main process for its release (server-server API, "Server
// implementation"), as a proxy between may have written itself into its answers.
func (a *address) askRelease(ctx context.Context) (newRelease bool) {
	now := time.Now().UnixNano()
	if last := a.askedRelease.Load(); !a.up.main.Load() || last != 0 && now-last < int64(askReleaseEvery) {
		return false
	}
	a.askedRelease.Store(now)
	c, err := a.dial(ctx)
	if err != nil {
		return false
	}
	defer c.close()
	var resp response
	body, err := c.ask(ctx, "/_matrix/federation/v1/version", &resp)
	var answer struct {
		Server struct{ Name, Version string } `json:"server"`
	}
	if err != nil || resp.status != 200 || json.Unmarshal(body, &answer) != nil || answer.Server.Name != "Synapse" {
		return false
	}
	return a.runs(answer.Server.Version)
}

// ask asks a question of our own, and the last one on this connection.
func (c *conn) ask(ctx context.Context, path string, resp *response) ([]byte, error) {
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c.SetDeadline(time.Now().Add(probeTimeout))
	return c.fetch(appendQuestion(nil, path, c.at.target), resp)
}

func appendQuestion(b []byte, path, target string) []byte {
	host := target
	if _, _, err := net.SplitHostPort(target); err != nil {
		host = "localhost" // a socket
	}
	b = append(b, "GET "+path+" HTTP/1.1\r\n"...)
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
		a.log().Warn("an upstream does not answer its probes", "error", err.Error())
		return
	}
	a.log().Info("an upstream answers its probes again")
}

// runs notes the release, such as "1.163.2", without the words in brackets of a
// checkout, and says whether it was another.
func (a *address) runs(release string) bool {
	release, _, _ = strings.Cut(release, " ")
	was := a.running.Swap(&release)
	return was == nil || *was != release
}
