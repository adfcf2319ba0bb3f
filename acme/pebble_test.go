package acme

import (
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
)

// pebble is an authority in this process: Let's Encrypt's test server.
type pebble struct {
	server     *httptest.Server
	management http.Handler

	mu       sync.Mutex
	orders   int
	refusals []http.HandlerFunc // of the next orders
}

// pebbleOptions say how it differs from the usual.
type pebbleOptions struct {
	resolver   string
	life       uint64   // of certificates, seconds; 0 for five years
	identities []string // of CAA
	httpPort   int
}

func startPebble(t *testing.T, o pebbleOptions) *pebble {
	t.Helper()
	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	profiles := map[string]ca.Profile{"default": {Description: "the only one", ValidityPeriod: o.life}}
	if o.identities == nil {
		o.identities = []string{"pebble.letsencrypt.org"}
	}
	front := wfe.New(quiet, store, va.New(quiet, o.httpPort, 0, false, o.resolver, store),
		ca.New(quiet, store, "", "ecdsa", 0, 1, profiles), o.identities, false, false, 1, 1)
	p := &pebble{management: front.ManagementHandler()}
	p.server = httptest.NewTLSServer(p.counted(front.Handler()))
	t.Cleanup(p.server.Close)
	return p
}

// counted counts orders, and refuses those that are to be refused.
func (p *pebble) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/order-plz") {
			p.mu.Lock()
			p.orders++
			var refuse http.HandlerFunc
			if len(p.refusals) > 0 {
				refuse, p.refusals = p.refusals[0], p.refusals[1:]
			}
			p.mu.Unlock()
			if refuse != nil {
				refuse(w, r)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// refuse has the next order answered with a problem.
func (p *pebble) refuse(status int, kind, detail string, header http.Header) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusals = append(p.refusals, func(w http.ResponseWriter, _ *http.Request) {
		for key, values := range header {
			w.Header()[key] = values
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		io.WriteString(w, `{"type":"urn:ietf:params:acme:error:`+kind+`","detail":"`+detail+`"}`)
	})
}

func (p *pebble) ordered() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.orders
}

func (p *pebble) directory() string { return p.server.URL + "/dir" }

// rootsFile holds what its HTTPS certificate is verified with.
func (p *pebble) rootsFile(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "pebble.pem")
	write(t, name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw}))
	return name
}

// root is what the certificates it issues are verified with.
func (p *pebble) root(t *testing.T) []byte {
	t.Helper()
	w := httptest.NewRecorder()
	p.management.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/roots/0", nil))
	return w.Body.Bytes()
}
