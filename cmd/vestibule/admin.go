package main

import (
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"vestibule/acme"
)

// adminHandler answers on the admin entrypoint, which is read-only.
func (s *service) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "alive") })
	mux.HandleFunc("GET /readyz", s.serveReady)
	mux.HandleFunc("GET /status", s.serveStatus)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/status", http.StatusFound)
	})
	return mux
}

// serveReady answers 200 when requests can be served, else 503 and why. A dead
// back end does not make the front door unready.
func (s *service) serveReady(w http.ResponseWriter, r *http.Request) {
	ok, reason := s.ready(r.URL.Query().Get("site"))
	if !ok {
		http.Error(w, reason, http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

//go:embed status.html
var statusHTML string

var statusPage = template.Must(template.New("status").Funcs(template.FuncMap{
	"when":        func(t time.Time) string { return t.Local().Format(time.DateTime) },
	"certificate": certificateText,
}).Parse(statusHTML))

// serveStatus shows a page to people and JSON to programs that ask for it.
func (s *service) serveStatus(w http.ResponseWriter, r *http.Request) {
	report := s.status()
	if strings.Contains(r.Header.Get("Accept"), "application/json") {
		writeJSON(w, report)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	if err := statusPage.Execute(w, report); err != nil {
		s.log.Error("writing the status page", "error", err)
	}
}

// gauges are metrics that are read from the service when they are asked for.
type gauges struct{ s *service }

var (
	notAfter = prometheus.NewDesc("vestibule_certificate_not_after_seconds",
		"When the certificate that is really served for a name ends, Unix time.", []string{"name"}, nil)
	nextAttempt = prometheus.NewDesc("vestibule_certificate_next_attempt_seconds",
		"When the certificate of a name is renewed, or tried again after a failure, Unix time.", []string{"name"}, nil)
	obtained = prometheus.NewDesc("vestibule_certificate_obtained_total",
		"First certificates obtained for a name.", []string{"name"}, nil)
	renewed = prometheus.NewDesc("vestibule_certificate_renewed_total",
		"Certificates of a name that were renewed.", []string{"name"}, nil)
	failures = prometheus.NewDesc("vestibule_certificate_failures_total",
		"Attempts to obtain or renew a certificate for a name that failed.", []string{"name"}, nil)
	readyDesc = prometheus.NewDesc("vestibule_ready", "1 when /readyz answers 200.", nil, nil)
	buildDesc = prometheus.NewDesc("vestibule_build_info", "1, with the version as label.", []string{"version"}, nil)
)

// Describe implements prometheus.Collector.
func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{notAfter, nextAttempt, obtained, renewed, failures} {
		ch <- d
	}
	ch <- readyDesc
	ch <- buildDesc
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	g.collectCertificates(ch)
	ready := 0.0
	if ok, _ := g.s.ready(""); ok {
		ready = 1
	}
	ch <- prometheus.MustNewConstMetric(readyDesc, prometheus.GaugeValue, ready)
	ch <- prometheus.MustNewConstMetric(buildDesc, prometheus.GaugeValue, 1, versionText())
}

// collectCertificates counts from 0 for every name, so that an alert sees the
// first failure.
func (g *gauges) collectCertificates(ch chan<- prometheus.Metric) {
	stats := map[string]acme.Stats{}
	for _, s := range g.s.certs.Stats() {
		stats[s.Name] = s
	}
	for _, c := range g.s.certs.Certificates() {
		for desc, at := range map[*prometheus.Desc]time.Time{notAfter: c.NotAfter, nextAttempt: c.NextAttempt} {
			if !at.IsZero() {
				ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(at.Unix()), c.Name)
			}
		}
		s := stats[c.Name]
		for desc, n := range map[*prometheus.Desc]uint64{obtained: s.Obtained, renewed: s.Renewed, failures: s.Failed} {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), c.Name)
		}
	}
}
