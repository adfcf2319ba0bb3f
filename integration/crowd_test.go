//go:build integration

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vestibule/integration/mastest"
)

// crowd is many users of a homeserver who all sync, with tokens that tell nothing
// and do not last.
type crowd struct {
	h       *homeserver
	users   []*onlooker
	leaving atomic.Bool
	gone    sync.WaitGroup
}

// onlooker is one of them. Some have two devices.
type onlooker struct {
	name    string
	devices []*lookout
	client  *http.Client

	mu       sync.Mutex
	tokens   int // issued to any of the devices so far
	attempts []attempt
}

// attempt is what became of a request.
type attempt struct {
	id           string
	begun, ended time.Time
	status       int   // 0 without an answer
	err          error // why there was none
}

// lookout is a device.
type lookout struct {
	owner      *onlooker
	token      string
	since, pos string // of sync and of sliding sync
	rounds     atomic.Int64
}

// pollTimeout is how long a sync waits for news.
const pollTimeout = 2 * time.Second

// newCrowd makes the users and their first tokens, eight at a time. Every tenth
// has a second device, every other one clients that log in the old way.
func newCrowd(t *testing.T, h *homeserver, size int) *crowd {
	t.Helper()
	c := &crowd{h: h}
	for i := range size {
		u := &onlooker{name: fmt.Sprintf("onlooker-%d", i), client: &http.Client{Transport: newClient(lab.roots).transport}}
		u.devices = append(u.devices, &lookout{owner: u})
		if i%10 == 0 {
			u.devices = append(u.devices, &lookout{owner: u})
		}
		c.users = append(c.users, u)
	}
	failed := make(chan error, size)
	places := make(chan struct{}, 8)
	for i, u := range c.users {
		places <- struct{}{}
		go func() {
			failed <- u.provision(t.Context(), h.mas, i%2 == 1)
			<-places
		}()
	}
	for range c.users {
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (u *onlooker) provision(ctx context.Context, mas *mastest.Server, compat bool) error {
	if err := mas.AddUser(ctx, u.name, password); err != nil {
		return err
	}
	for i, d := range u.devices {
		var err error
		d.token, err = mas.Issue(ctx, mastest.Grant{User: u.name, Device: fmt.Sprintf("D%d", i), Lifetime: time.Minute, Compat: compat})
		if err != nil {
			return err
		}
		u.tokens++
	}
	return nil
}

// watch has everybody sync until the crowd leaves, at the latest at the end of
// the test. They come one after the other, within as long as a poll takes.
func (c *crowd) watch(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() {
		c.leaving.Store(true)
		cancel()
		c.gone.Wait()
	})
	for i, u := range c.users {
		for _, d := range u.devices {
			c.gone.Go(func() {
				time.Sleep(pollTimeout * time.Duration(i) / time.Duration(len(c.users)))
				for !c.leaving.Load() {
					d.round(ctx, c.h)
				}
			})
		}
	}
}

// leave ends it, when the polls under way are answered.
func (c *crowd) leave() {
	c.leaving.Store(true)
	c.gone.Wait()
}

// round is a device's life with one token. It is used for two things at once, so
// that two requests come with a token which nobody has seen before.
func (d *lookout) round(ctx context.Context, h *homeserver) {
	if d.rounds.Load() > 0 {
		d.rotate(h.mas)
	}
	var both sync.WaitGroup
	both.Go(func() { d.sync(ctx, h) })
	both.Go(func() { d.slidingSync(ctx, h) })
	both.Wait()
	d.sync(ctx, h)
	d.rounds.Add(1)
}

func (d *lookout) rotate(mas *mastest.Server) {
	next, err := mas.Rotate(d.token)
	d.owner.mu.Lock()
	defer d.owner.mu.Unlock()
	if err != nil {
		d.owner.attempts = append(d.owner.attempts, attempt{id: d.owner.name, begun: time.Now(), ended: time.Now(), err: err})
		return
	}
	d.token = next
	d.owner.tokens++
}

func (d *lookout) sync(ctx context.Context, h *homeserver) {
	query := url.Values{"timeout": {fmt.Sprint(pollTimeout.Milliseconds())}}
	if d.since != "" {
		query.Set("since", d.since)
	}
	var answer struct {
		Next string `json:"next_batch"`
	}
	if d.ask(ctx, http.MethodGet, h.base()+"/_matrix/client/v3/sync?"+query.Encode(), "", &answer) {
		d.since = answer.Next
	}
}

const slidingBody = `{"conn_id":"main","lists":{"all":{"ranges":[[0,9]],"required_state":[],"timeline_limit":1}},"extensions":{"to_device":{"enabled":true}}}`

func (d *lookout) slidingSync(ctx context.Context, h *homeserver) {
	query := url.Values{"timeout": {"0"}}
	if d.pos != "" {
		query.Set("pos", d.pos)
	}
	var answer struct {
		Pos string `json:"pos"`
	}
	address := h.base() + "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync?" + query.Encode()
	if d.ask(ctx, http.MethodPost, address, slidingBody, &answer) {
		d.pos = answer.Pos
	}
}

// ask sends a request, remembers what became of it, and says whether it was
// answered. Who was not waits a moment, as clients do.
func (d *lookout) ask(ctx context.Context, method, address, body string, into any) bool {
	u := d.owner
	u.mu.Lock()
	o := attempt{id: fmt.Sprintf("%s.%d", u.name, len(u.attempts)), begun: time.Now()}
	at := len(u.attempts)
	u.attempts = append(u.attempts, o)
	u.mu.Unlock()

	o.status, o.err = u.exchange(ctx, method, address, body, d.token, o.id, into)
	o.ended = time.Now()
	u.mu.Lock()
	u.attempts[at] = o
	u.mu.Unlock()
	if o.status == http.StatusOK && o.err == nil {
		return true
	}
	select {
	case <-ctx.Done():
	case <-time.After(500 * time.Millisecond):
	}
	return false
}

func (u *onlooker) exchange(ctx context.Context, method, address, body, token, number string, into any) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 45*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set(idHeader, number)
	response, err := u.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode == http.StatusOK {
		err = json.Unmarshal(text, into)
	}
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s", text)
	}
	return response.StatusCode, err
}

// awaitRounds waits until every device has lived through so many more tokens.
func (c *crowd) awaitRounds(t *testing.T, more int64) {
	t.Helper()
	goals := map[*lookout]int64{}
	for _, u := range c.users {
		for _, d := range u.devices {
			goals[d] = d.rounds.Load() + more
		}
	}
	for deadline := time.Now().Add(2 * time.Minute); len(goals) > 0; time.Sleep(100 * time.Millisecond) {
		for d, goal := range goals {
			if d.rounds.Load() >= goal {
				delete(goals, d)
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d devices are too slow to use %d tokens within two minutes", len(goals), more)
		}
	}
}

// ended are the requests that have come to an end.
func (u *onlooker) ended() []attempt {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(u.attempts), func(o attempt) bool { return o.ended.IsZero() })
}

// issued is how many tokens the user has had.
func (u *onlooker) issued() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.tokens
}

// logged waits for Synapse's log of all requests that were answered so far.
func (c *crowd) logged(t *testing.T) map[string][]logged {
	t.Helper()
	var wanted []string
	for _, u := range c.users {
		for _, o := range u.ended() {
			if o.status == http.StatusOK {
				wanted = append(wanted, o.id)
			}
		}
	}
	answers, err := c.h.synapse.awaitAnswers(wanted)
	if err != nil {
		t.Fatal(err)
	}
	return answers
}
