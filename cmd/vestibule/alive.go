package main

import (
	"cmp"
	"net/http"
	"net/url"
	"time"
)

// alive says whether the admin pages are answered within limit, and with them whether
// what requests need (the table, the upstreams, the certificates) can be had.
func (s *service) alive(limit time.Duration) bool {
	answered := make(chan bool, 1)
	go func() {
		s.proxy.Pools()
		s.ready("")
		w := &statusOnly{}
		s.admin.ServeHTTP(w, &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/livez"}})
		answered <- w.status == http.StatusOK
	}()
	select {
	case ok := <-answered:
		return ok
	case <-time.After(limit):
		s.log.Error("no answer from within: systemd gets no sign of life, and may restart vestibule", "limit", limit.String())
		return false
	}
}

// statusOnly is a response of which only the status counts.
type statusOnly struct {
	header http.Header
	status int
}

// Header implements http.ResponseWriter.
func (w *statusOnly) Header() http.Header {
	if w.header == nil {
		w.header = http.Header{}
	}
	return w.header
}

// WriteHeader implements http.ResponseWriter.
func (w *statusOnly) WriteHeader(status int) { w.status = cmp.Or(w.status, status) }

// Write implements http.ResponseWriter.
func (w *statusOnly) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return len(p), nil
}
