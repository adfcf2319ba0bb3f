package proxy

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"vestibule/routing"
)

// Bounds of the questions whose an access token is.
const (
	// whoamiDeadline is how long a request waits for the answer.
	whoamiDeadline = 5 * time.Second
	// whoamiAtOnce is how many questions a site's Synapse is asked at once; more
	// wait, whoamiPending with those, and beyond that nobody is asked.
	whoamiAtOnce  = 32
	whoamiPending = 1024
	// whoamiKept is how many answers each of two generations holds.
	whoamiKept = 32 << 10
	// unknownFor is how long a token is not asked about again that Synapse did
	// not know, and failedFor how long after a question without an answer.
	unknownFor = time.Minute
	failedFor  = 10 * time.Second
	// breakAfter questions in a row without an answer, none is asked for
	// breakFor; then one, whose outcome counts for all.
	breakAfter = 5
	breakFor   = 10 * time.Second
)

// digest stands for a token of a site: a keyed hash, so that nobody who reads our
// memory or makes tokens up learns or steers anything by it.
type digest [16]byte

// whoami knows whose the opaque access tokens are that Matrix Authentication
// Service gives out: it asks Synapse, once for each token. Whoever is told chooses
// a process by it and nothing else, for tokens end without a word to us.
type whoami struct {
	secret  [sha256.Size]byte
	metrics *Metrics

	mu       sync.Mutex
	now, was map[digest]*person // the generation that is filled, and the one before
	sites    map[string]*questions
}

// questions are those that one site's Synapse is asked: another's that hangs does
// not keep from asking it.
type questions struct {
	breaker
	pending int           // asked, or waiting for a place
	places  chan struct{} // for those that are asked
}

// person is who a token belongs to, or a question under way.
type person struct {
	done      chan struct{} // closed when the rest may be read
	localpart []byte        // nil when it is not known
	until     time.Time     // when to ask again; zero is never, for a token stays with its user
}

func newWhoami(m *Metrics) *whoami {
	w := &whoami{metrics: m, now: map[digest]*person{}, sites: map[string]*questions{}}
	rand.Read(w.secret[:]) // which never fails
	return w
}

// digest hashes the secret, the site and the token. Only a part of the hash is
// kept, so that nobody could go on hashing where it ended.
func (w *whoami) digest(site string, token []byte) (d digest) {
	var buf [512]byte
	b := append(buf[:0], w.secret[:]...)
	b = append(append(b, site...), 0) // which no server name holds
	h := sha256.Sum256(append(b, token...))
	copy(d[:], h[:])
	return d
}

// asker asks a site's Synapse, which answers with a status and a localpart.
type asker func(context.Context) (status int, localpart string, err error)

// localpart is the user a token of a site belongs to, nil when that is not known.
// The first to ask has what prepare returns called, on a goroutine of its own; the
// others wait for the same answer.
func (w *whoami) localpart(ctx context.Context, site string, token []byte, prepare func() asker) []byte {
	d := w.digest(site, token)
	now := time.Now()
	w.mu.Lock()
	p := w.find(d)
	if p == nil || p.expired(now) {
		q := w.questions(site)
		if q.pending >= whoamiPending || !q.lets(now) {
			w.mu.Unlock()
			return nil
		}
		p = &person{done: make(chan struct{})}
		w.keep(d, p)
		q.pending++
		go w.ask(site, p, q, prepare())
	}
	w.mu.Unlock()
	select {
	case <-p.done:
		return p.localpart
	case <-ctx.Done():
		return nil
	}
}

// expired says whether the question is to be asked again.
func (p *person) expired(now time.Time) bool {
	select {
	case <-p.done:
		return !p.until.IsZero() && now.After(p.until)
	default:
		return false
	}
}

// find looks a token up, and moves it from the generation before to this one.
func (w *whoami) find(d digest) *person {
	if p := w.now[d]; p != nil {
		return p
	}
	p := w.was[d]
	if p != nil {
		w.keep(d, p)
	}
	return p
}

// keep remembers; when this generation is full, the one before is forgotten.
func (w *whoami) keep(d digest, p *person) {
	if len(w.now) >= whoamiKept {
		w.now, w.was = make(map[digest]*person, whoamiKept/4), w.now
	}
	w.now[d] = p
}

func (w *whoami) questions(site string) *questions {
	if w.sites[site] == nil {
		w.sites[site] = &questions{places: make(chan struct{}, whoamiAtOnce)}
	}
	return w.sites[site]
}

// ask has the question asked and notes the answer. That it found no place says
// nothing about Synapse.
func (w *whoami) ask(site string, p *person, q *questions, ask asker) {
	ctx, cancel := context.WithTimeout(context.Background(), whoamiDeadline)
	defer cancel()
	var status int
	var localpart string
	asked, err := false, context.DeadlineExceeded
	select {
	case q.places <- struct{}{}:
		if asked = ctx.Err() == nil; asked {
			status, localpart, err = ask(ctx)
		}
		<-q.places
	case <-ctx.Done():
	}
	w.metrics.whoami.WithLabelValues(site, codes[status%600]).Inc()
	w.mu.Lock()
	defer w.mu.Unlock()
	q.pending--
	switch now := time.Now(); {
	case err != nil:
		p.until = now.Add(failedFor)
		if asked {
			q.failed(now)
		}
	case localpart == "":
		p.until = now.Add(unknownFor)
		q.succeeded()
	default:
		p.localpart = []byte(localpart)
		q.succeeded()
	}
	close(p.done)
}

// breaker keeps from asking who does not answer.
type breaker struct {
	failures int // in a row
	until    time.Time
}

// lets says whether a question may be asked. After a break it lets one pass.
func (b *breaker) lets(now time.Time) bool {
	if b.failures < breakAfter {
		return true
	}
	if now.Before(b.until) {
		return false
	}
	b.until = now.Add(breakFor)
	return true
}

func (b *breaker) failed(now time.Time) {
	b.failures++
	b.until = now.Add(breakFor)
}

func (b *breaker) succeeded() { b.failures = 0 }

// whoamiPath is answered by every worker for clients (client-server API, "GET
// /account/whoami").
const whoamiPath = "/_matrix/client/v3/account/whoami"

// recognise puts the user in the place of an opaque token, where there are several
// processes to choose from. While that is not known the token stays the key.
func (x *exchange) recognise(p *pool) {
	key := &x.decision.Key
	if key.Kind != routing.KeyToken || !p.several() || !isBearer(key.Value) {
		return
	}
	localpart := x.proxy.whoami.localpart(x.req.Context, x.decision.Site, key.Value, x.asker)
	if localpart != nil {
		*key = routing.Key{Kind: routing.KeyUser, Value: localpart}
	}
}

// isBearer says whether a key is a token that may stand in a header field (RFC
// 6750, section 2.1, and whatever else is printed), whole: routing shortens what
// is longer than its 256 bytes.
func isBearer(token []byte) bool {
	for _, c := range token {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return len(token) < 256
}

// asker prepares to ask who the request's token belongs to, in the name of the
// client: Synapse notes from where a token was last used. It outlives the exchange.
func (x *exchange) asker() asker {
	st, id, token := x.state, x.id, string(x.decision.Key.Value)
	q := routing.Request{Entrypoint: x.match.Entrypoint, Site: x.match.Site, Method: "GET", Host: strings.Clone(x.req.Host), Target: whoamiPath, Client: id.client}
	agent, ok := x.req.Header.Get("User-Agent")
	if !ok {
		agent = userAgent
	}
	agent = strings.Clone(agent)
	return func(ctx context.Context) (int, string, error) {
		var d routing.Decision
		st.table.Match(&q, &d)
		if d.Action != routing.Proxy || d.Main == nil {
			return 0, "", fmt.Errorf("%s is not Synapse's here", whoamiPath)
		}
		head := append([]byte(nil), "GET "+whoamiPath+" HTTP/1.1\r\n"...)
		head = appendField(head, "Host", q.Host)
		head = appendField(head, "User-Agent", agent)
		head = appendField(head, "Authorization", "Bearer "+token)
		head = id.append(head, q.Host)
		return st.whoIs(ctx, &d, append(head, "\r\n"...))
	}
}

// whoIs asks the first pool that takes the question.
func (st *state) whoIs(ctx context.Context, d *routing.Decision, head []byte) (status int, localpart string, err error) {
	for _, p := range append([]*routing.Pool{d.Pool}, d.Spares...) {
		var c *conn
		for again := true; again; { // a kept connection may have been closed meanwhile
			ch := choose(nil)
			if c, err = st.pools[p.Index].pick(&ch).take(ctx, &ch); err != nil {
				break
			}
			status, localpart, err = whoIs(ctx, c, head)
			if again = err != nil && c.reused && !c.received && ctx.Err() == nil; !again {
				return status, localpart, err
			}
		}
	}
	return 0, "", err
}

func whoIs(ctx context.Context, c *conn, head []byte) (status int, localpart string, err error) {
	var resp response
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer func() { c.at.release(c, stop() && err == nil && resp.reuse) }()
	body, err := c.fetch(head, &resp)
	switch {
	case err != nil:
		return 0, "", err
	case resp.status == 429 || resp.status >= 500:
		return resp.status, "", fmt.Errorf("%s answers %d", whoamiPath, resp.status)
	case resp.status != 200:
		return resp.status, "", nil // there is no such user
	}
	var answer struct {
		UserID string `json:"user_id"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return resp.status, "", fmt.Errorf("reading the answer of %s: %w", whoamiPath, err)
	}
	localpart, _, ok := strings.Cut(strings.TrimPrefix(answer.UserID, "@"), ":")
	if !ok || localpart == "" || len(localpart) > 255 || answer.UserID[0] != '@' {
		return resp.status, "", fmt.Errorf("reading the answer of %s: %.64q is no user id", whoamiPath, answer.UserID)
	}
	return resp.status, localpart, nil
}
