package proxy

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vestibule/routing"
)

// Metrics are what the proxy counts. Labels never hold a path, a user or a
// token, so their number is bounded by the configuration.
type Metrics struct {
	requests    *prometheus.CounterVec
	duration    *prometheus.HistogramVec
	up          *upstreams
	lost        *prometheus.CounterVec
	standIns    *prometheus.CounterVec
	whoami      *prometheus.CounterVec
	limited     *prometheus.CounterVec
	inflight    atomic.Int64 // requests
	connections prometheus.Gauge
	evicted     prometheus.Counter
	refused     prometheus.Counter
	outdated    *prometheus.GaugeVec
	reload      prometheus.Gauge
	reloaded    prometheus.Gauge
	draining    prometheus.Gauge
	recent      [256]atomic.Pointer[tally]
}

// NewMetrics registers the proxy's metrics with r.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vestibule_requests_total",
			Help: "Requests answered, by who answered and with which status."},
			[]string{"entrypoint", "site", "class", "upstream", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "vestibule_request_duration_seconds",
			Help:    "Time from a request's head to the end of its response; long polls included.",
			Buckets: []float64{.005, .02, .1, .5, 2, 10, 35, 120}}, []string{"entrypoint", "site", "class"}),
		up: newUpstreams(),
		lost: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vestibule_misrouted_total",
			Help: "Answers 404 M_UNRECOGNIZED of a worker: it was sent something it does not serve."},
			[]string{"site", "class", "upstream"}),
		standIns: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vestibule_stand_ins_total",
			Help: "Requests that an upstream answered in place of the class it belongs to, whose processes were down."},
			[]string{"site", "class", "upstream"}),
		whoami: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vestibule_whoami_total",
			Help: "Questions to Synapse whose an opaque access token is, by the status of the answer; 0 when none came."},
			[]string{"site", "code"}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vestibule_limited_total",
			Help: "Requests answered 429 because as many of their endpoint were under way as limits.endpoints allows."},
			[]string{"site", "class"}),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{Name: "vestibule_connections",
			Help: "Connections that clients have open, those of the internal and admin entrypoints not counted."}),
		evicted: prometheus.NewCounter(prometheus.CounterOpts{Name: "vestibule_connections_evicted_total",
			Help: "Idle connections of clients that were closed to make room for others."}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "vestibule_connections_refused_total",
			Help: "Connections of clients that were closed at once, because requests were under way on as many as there may be."}),
		outdated: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "vestibule_catalogue_outdated",
			Help: "1 when a site runs a release of Synapse that the catalogue of endpoints was not held against."}, []string{"site"}),
		reload: prometheus.NewGauge(prometheus.GaugeOpts{Name: "vestibule_config_last_reload_successful",
			Help: "1 when the last attempt to load the configuration succeeded."}),
		reloaded: prometheus.NewGauge(prometheus.GaugeOpts{Name: "vestibule_config_last_reload_success_timestamp_seconds",
			Help: "When the configuration in use was loaded."}),
		draining: prometheus.NewGauge(prometheus.GaugeOpts{Name: "vestibule_draining",
			Help: "1 while the process is stopping."}),
	}
	inflight := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "vestibule_requests_in_flight",
		Help: "Requests under way, parked ones included."}, func() float64 { return float64(m.inflight.Load()) })
	r.MustRegister(m.requests, m.duration, m.up, m.lost, m.standIns, m.whoami, m.limited, inflight,
		m.connections, m.evicted, m.refused, m.outdated, m.reload, m.reloaded, m.draining)
	return m
}

// Reloaded notes how an attempt to load the configuration ended.
func (m *Metrics) Reloaded(ok bool) {
	if !ok {
		m.reload.Set(0)
		return
	}
	m.reload.Set(1)
	m.reloaded.SetToCurrentTime()
}

// codes are the texts of the status codes.
var codes = func() (c [600]string) {
	for i := range c {
		c[i] = strconv.Itoa(i)
	}
	return c
}()

func (m *Metrics) observe(x *exchange) {
	d := &x.decision
	s := m.tally(&tallyID{x.req.Entrypoint.Name, d.Site, string(d.Class), x.record.Upstream, x.record.Status % len(codes)}, d.Pool)
	s.requests.Inc()
	s.duration.Observe(time.Since(x.record.Start).Seconds())
}

// tally is what one kind of request counts to.
type tally struct {
	tallyID
	requests prometheus.Counter
	duration prometheus.Observer
}

type tallyID struct {
	entrypoint, site, class, upstream string
	status                            int
}

// tally finds what a request counts to. Most are of a kind seen a moment ago;
// comparing those names costs less than looking them up.
func (m *Metrics) tally(id *tallyID, p *routing.Pool) *tally {
	slot := uint(id.status)
	if p != nil {
		slot += 31 * uint(p.Index+1)
	}
	recent := &m.recent[(slot+7*uint(len(id.entrypoint)))%uint(len(m.recent))]
	if s := recent.Load(); s != nil && s.tallyID == *id {
		return s
	}
	s := &tally{*id, m.requests.WithLabelValues(id.entrypoint, id.site, id.class, id.upstream, codes[id.status]),
		m.duration.WithLabelValues(id.entrypoint, id.site, id.class)}
	recent.Store(s)
	return s
}

func (m *Metrics) misrouted(p *pool, upstream string) {
	m.lost.WithLabelValues(p.Site, string(p.Class), upstream).Inc()
}

// upstreams tells of the upstreams of the configuration in use, when asked.
type upstreams struct {
	pools atomic.Pointer[[]*pool]
	desc  *prometheus.Desc
}

func newUpstreams() *upstreams {
	return &upstreams{desc: prometheus.NewDesc("vestibule_upstream_up",
		"0 while an upstream refuses connections, does not answer its probes or lets requests fail, else 1.", []string{"site", "class", "upstream"}, nil)}
}

// Describe implements prometheus.Collector.
func (u *upstreams) Describe(ch chan<- *prometheus.Desc) { ch <- u.desc }

// Collect implements prometheus.Collector. The main process's client and
// federation listeners are two pools of one name, and may be one upstream.
func (u *upstreams) Collect(ch chan<- prometheus.Metric) {
	pools := u.pools.Load()
	if pools == nil {
		return
	}
	told := map[[3]string]bool{}
	for _, p := range *pools {
		for _, up := range p.upstreams {
			labels := [3]string{p.Site, string(p.Class), up.Name}
			if told[labels] {
				continue
			}
			told[labels] = true
			value := 1.0
			if word, _ := up.health(time.Now()); word == "down" {
				value = 0
			}
			ch <- prometheus.MustNewConstMetric(u.desc, prometheus.GaugeValue, value, labels[:]...)
		}
	}
}
