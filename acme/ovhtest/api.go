package ovhtest

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// prefix is where the API's version begins.
const prefix = "/1.0"

// maxBody bounds what is read of a request.
const maxBody = 1 << 20

// request is a call being answered.
type request struct {
	*http.Request
	path     string // without prefix
	body     []byte
	consumer *consumer // nil with a token
}

// url is what the client signed: where it sent the request, as it wrote it.
func (c *request) url() string {
	scheme := "http"
	if c.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + c.Host + c.RequestURI
}

// response is an answer not sent yet.
type response struct {
	status int
	header http.Header
	body   []byte
	drop   bool
}

// apiError is an error as the API tells it.
type apiError struct {
	Status  int               `json:"-"`
	Class   string            `json:"class"`
	Message string            `json:"message"`
	Code    string            `json:"errorCode,omitempty"`
	HTTP    string            `json:"httpCode,omitempty"`
	Details map[string]string `json:"details,omitempty"`
}

// What authentication says. Errors with a code have httpCode too.
var (
	errLogin       = &apiError{Status: http.StatusUnauthorized, Message: "You must login first"}
	errApplication = &apiError{Status: http.StatusForbidden, Message: "This application key is invalid", Code: "INVALID_KEY"}
	errTime        = &apiError{Status: http.StatusBadRequest, Message: "Query out of time", Code: "QUERY_TIME_OUT"}
	errSignature   = &apiError{Status: http.StatusBadRequest, Message: "Invalid signature", Code: "INVALID_SIGNATURE"}
	errConsumer    = &apiError{Status: http.StatusForbidden, Message: "This credential does not exist", Code: "NOT_CREDENTIAL"}
	errCredential  = &apiError{Status: http.StatusForbidden, Message: "This credential is not valid", Code: "INVALID_CREDENTIAL"}
	errGrant       = &apiError{Status: http.StatusForbidden, Message: "This call has not been granted", Code: "NOT_GRANTED_CALL"}
	errIAM         = &apiError{Status: http.StatusForbidden, Message: "User not granted for this request"}
	errURL         = &apiError{Status: http.StatusNotFound, Message: "Got an invalid (or empty) URL"}
	errService     = &apiError{Status: http.StatusNotFound, Message: "This service does not exist"}
)

func (e *apiError) response() response {
	full := *e
	full.Class = map[int]string{
		http.StatusBadRequest: "Client::BadRequest", http.StatusUnauthorized: "Client::Unauthorized",
		http.StatusForbidden: "Client::Forbidden", http.StatusNotFound: "Client::NotFound",
	}[e.Status]
	if e.Code != "" {
		full.HTTP = fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status))
	}
	return jsonResponse(e.Status, full)
}

// operation answers a call that is allowed. Server.mu is held.
type operation func(*request) (any, *apiError)

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	const zone = "/domain/zone/{zone}"
	for pattern, answer := range map[string]operation{
		"GET /auth/currentCredential":     s.currentCredential,
		"GET /domain/zone":                s.listZones,
		"GET /domain/zone/{$}":            s.listZones,
		"GET " + zone:                     s.inZone(s.showZone),
		"GET " + zone + "/soa":            s.inZone(s.showSOA),
		"POST " + zone + "/refresh":       s.inZone(s.refresh),
		"GET " + zone + "/record":         s.inZone(s.listRecords),
		"POST " + zone + "/record":        s.inZone(s.createRecord),
		"GET " + zone + "/record/{id}":    s.inRecord(s.showRecord),
		"PUT " + zone + "/record/{id}":    s.inRecord(s.changeRecord),
		"DELETE " + zone + "/record/{id}": s.inRecord(s.deleteRecord),
	} {
		method, path, _ := strings.Cut(pattern, " ")
		mux.HandleFunc(method+" "+prefix+path, s.serve(func(c *request) response { return s.call(c, answer) }))
	}
	mux.HandleFunc("GET "+prefix+"/auth/time", s.serve(func(*request) response {
		return jsonResponse(http.StatusOK, s.now().Unix())
	}))
	mux.HandleFunc("POST "+tokenPath, s.serve(s.serveToken))
	mux.HandleFunc("/", s.serve(func(c *request) response {
		return s.call(c, func(*request) (any, *apiError) { return nil, errURL })
	}))
	return mux
}

// serve reads a request, logs it, meets it with the fault that is due, and
// sends the answer.
func (s *Server) serve(answer func(*request) response) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			return // the client went away or means harm
		}
		c := &request{Request: r, path: strings.TrimPrefix(r.URL.Path, prefix), body: body}
		id := "EU.ext-1." + strings.ToLower(rand.Text())
		place, fault := s.begin(c, id)
		if fault != nil && !s.hang(r, fault.Delay) {
			panic(http.ErrAbortHandler)
		}
		sent := s.finish(place, c, fault, answer)
		if sent.drop {
			panic(http.ErrAbortHandler)
		}
		for key, values := range sent.header {
			w.Header()[key] = values
		}
		w.Header().Set("X-Ovh-Queryid", id)
		w.WriteHeader(sent.status)
		_, _ = w.Write(sent.body)
	}
}

// begin logs a call and returns its place in the log.
func (s *Server) begin(c *request, id string) (int, *Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	target := strings.TrimPrefix(c.RequestURI, prefix)
	fault := s.fault(c.Method, target)
	credential := c.Header.Get("X-Ovh-Consumer")
	if bearer, ok := strings.CutPrefix(c.Header.Get("Authorization"), "Bearer "); ok {
		credential = bearer
	}
	s.calls = append(s.calls, Call{
		Time: time.Now(), Method: c.Method, Path: target, Body: string(c.body),
		Credential: credential, Faulty: fault != nil, QueryID: id,
	})
	return len(s.calls) - 1, fault
}

// hang waits. It returns false when nobody waits for an answer any more.
func (s *Server) hang(r *http.Request, delay time.Duration) bool {
	if delay == 0 {
		return true
	}
	var over <-chan time.Time
	if delay > 0 {
		over = time.After(delay)
	}
	select {
	case <-over:
		return true
	case <-r.Context().Done():
	case <-s.life.Done():
	}
	return false
}

func (s *Server) finish(place int, c *request, fault *Fault, answer func(*request) response) response {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sent response
	if !fault.replaces() || fault.After {
		sent = answer(c)
	}
	if fault.replaces() {
		sent = fault.instead()
	}
	s.calls[place].Status = sent.status
	return sent
}

func (s *Server) call(c *request, answer operation) response {
	who, refusal := s.authorize(c)
	if refusal != nil {
		return refusal.response()
	}
	c.consumer = who
	value, problem := answer(c)
	if problem != nil {
		return problem.response()
	}
	return jsonResponse(http.StatusOK, value)
}
