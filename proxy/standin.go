package proxy

import (
	"errors"
	"time"

	"vestibule/configs"
	"vestibule/routing"
)

// maxStandIns bounds the requests that the main process answers at once because
// their own class is down: as many as the Element Server Suite lets it have
// altogether (charts/matrix-stack, haproxy.cfg, maxconn 250). More would take the
// main process down, too, and with it everything.
const maxStandIns = 250

// errCrowded is returned when the main process stands in for as many requests as
// it can bear.
var errCrowded = errors.New("the main process already stands in for as many requests as it may")

// Spares are who can stand in. What a browser asks before a request, every
// process answers alike (synapse/http/server.py, OptionsResource), so the main
// one does in any case.
func Spares(method string, d *routing.Decision) []*routing.Pool {
	if method == "OPTIONS" && len(d.Spares) == 0 && d.Main != nil && d.Main != d.Pool {
		return []*routing.Pool{d.Main}
	}
	return d.Spares
}

// connect returns a connection to a process of pool, or of one that can stand in
// for it while all of its processes are down, and says whose it is. A request that
// lost its process under way is held as long as one that just came: a long poll
// may be older than that.
func (x *exchange) connect(p *pool, spares []*routing.Pool) (*conn, *pool, error) {
	ctx, from := x.req.Context, time.Now()
	c, err := p.connect(ctx, x.decision.Key.Value, from, len(spares) > 0)
	for i, spare := range spares {
		if err == nil || ctx.Err() != nil || busy(err) { // which is not down
			break
		}
		p = x.state.pools[spare.Index]
		if !x.standIn(p) {
			return nil, p, errCrowded
		}
		if c, err = p.connect(ctx, x.decision.Key.Value, from, i+1 < len(spares)); err != nil {
			x.standDown()
			continue
		}
		x.proxy.metrics.standIns.WithLabelValues(p.Site, string(x.decision.Class), c.at.up.Name).Inc()
	}
	return c, p, err
}

// standIn lets a pool answer for another class, if it is not the main process or
// that can bear one more. The place is given back by standDown.
func (x *exchange) standIn(p *pool) bool {
	if p.Class != configs.ClassMain {
		return true
	}
	if p.standIns.Add(1) > maxStandIns {
		countDown(p.standIns, "requests that are stood in for")
		return false
	}
	x.standsIn = p
	return true
}

func (x *exchange) standDown() {
	if x.standsIn != nil {
		countDown(x.standsIn.standIns, "requests that are stood in for")
		x.standsIn = nil
	}
}
