package proxy

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strconv"
	"time"
)

// soakStall is timeouts.stall of the soak: short, and still longer than a busy
// machine lets anybody wait who does what it should.
const soakStall = 6 * time.Second

// soakUpload is max_upload where there is one, in bytes.
const soakUpload = 64 << 10

// kind is a way to answer. Unless it says something else, the answer comes whole,
// and its connection may be used again.
type kind struct {
	name   string
	share  int   // of about a thousand requests, how many
	every  int64 // or of so many exactly one
	broken bool  // no whole answer comes, and none may seem to
	early  bool  // it comes before the request's body was read, which may break it
	harms  bool  // it may break requests of others that come after it
	late   bool  // no answer comes at all
	deaf   bool  // the request's body is not read
	rough  bool  // a head of its own, or none
}

// kinds are all ways to answer.
var kinds = [...]kind{
	{name: "counted", share: 400},
	{name: "chunked", share: 200},
	{name: "pieces", share: 60},
	{name: "slow", share: 30},
	{name: "trailer", share: 50},
	{name: "hints", share: 50},
	{name: "nothing", share: 50},
	{name: "unchanged", share: 50},
	{name: "surplus", share: 25},
	{name: "until close", share: 15},
	{name: "last", share: 15},
	{name: "short", share: 10, broken: true},
	{name: "half a chunk", share: 10, broken: true},
	{name: "early", share: 15, early: true},
	{name: "early, drained", share: 15, early: true},
	{name: "garbage", share: 10, broken: true, harms: true, rough: true},
	{name: "silence", share: 10, broken: true, harms: true, rough: true},
	{name: "close", share: 10, harms: true},
	{name: "standstill", every: 4001, broken: true},
	{name: "deaf", every: 16001, broken: true, harms: true, deaf: true, rough: true},
	{name: "late", every: 1009, broken: true, late: true, rough: true},
	{name: "unknown", share: 0}, // a worker does not serve it, the main process does
}

var shares = func() (sum int) {
	for i := range kinds {
		sum += kinds[i].share
	}
	return sum
}()

func kindNamed(name string) int {
	for i := range kinds {
		if kinds[i].name == name {
			return i
		}
	}
	panic("no kind " + name)
}

// leaving is what a client does instead of waiting for the end.
type leaving int

const (
	stays leaving = iota
	leavesBeforeHead
	leavesInUpload
	leavesInAnswer
	leavesConnection // with all that is under way on it
	stallsInUpload
	stallsInAnswer
)

var leavings = [...]string{"stays", "leaves before the head", "leaves in the upload", "leaves in the answer", "leaves with its connection",
	"stalls in the upload", "stalls in the answer"}

// plan is one request and the answer it is to get; the seed and its number
// determine all of it.
type plan struct {
	n       int64
	id      string
	method  string
	path    string
	user    int // who asks, where that chooses the process
	kind    int
	status  int
	length  int  // of the answer's body
	calm    bool // it goes to processes of which none is stopped
	body    int  // of the request, in bytes; -1 for none
	counted bool // its length is declared
	trailer bool
	expect  bool // 100-continue
	leaves  leaving
	pause   time.Duration // until it leaves
	text    []byte        // its body
	digest  string        // of that
}

// newPlan is the plan of request n.
func newPlan(seed uint64, n int64) *plan {
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	p := &plan{n: n, body: -1, method: "GET", status: 200, calm: true, path: "/calm/x"}
	p.id = strconv.FormatInt(n, 36) + "-" + strconv.FormatUint(r.Uint64N(1<<(5*(1+r.UintN(8)))), 36)
	p.chooseMethod(r)
	p.chooseKind(r)
	p.length = [...]int{r.IntN(300), r.IntN(2000), r.IntN(2000), r.IntN(20000)}[r.IntN(4)]
	if r.IntN(100) == 0 {
		p.length = 60000 + r.IntN(60000)
	}
	p.chooseBody(r)
	p.choosePath(r)
	p.chooseLeaving(r)
	switch k := &kinds[p.kind]; {
	case k.name == "nothing":
		p.status = 204
	case k.name == "unchanged":
		p.status = 304
	case r.IntN(4) == 0:
		p.status = [...]int{201, 202, 400, 403, 404, 409, 418, 500, 503}[r.IntN(9)]
	}
	switch k := &kinds[p.kind]; {
	case k.broken:
		p.length = max(p.length, 2)
	case k.name == "surplus": // comes in one piece, or what is over might be late
		p.length = min(p.length, 3000)
	}
	if p.body < 0 {
		p.counted, p.trailer, p.expect = false, false, false
	}
	p.text = appendText(make([]byte, 0, max(p.body, len(p.id)+1)), p.id, max(p.body, 0))
	p.digest = digestOf(p.text)
	return p
}

func (p *plan) chooseMethod(r *rand.Rand) {
	switch at := r.IntN(100); {
	case at < 45:
	case at < 50:
		p.method = "HEAD"
	case at < 55:
		p.method = "DELETE"
	case at < 78:
		p.method = "PUT"
	default:
		p.method = "POST"
	}
}

func (p *plan) chooseKind(r *rand.Rand) {
	at, sum := r.IntN(shares), 0
	for i := range kinds {
		k := &kinds[i]
		if k.every > 0 && p.n%k.every == k.every/2 {
			p.kind = i
			break
		}
		if sum += k.share; at >= sum-k.share && at < sum {
			p.kind = i
		}
	}
	switch k := &kinds[p.kind]; {
	case k.deaf:
		p.method = "POST"
	case k.broken && p.method == "HEAD":
		p.method = "GET" // whose answer has a body to break
	}
}

func (p *plan) chooseBody(r *rand.Rand) {
	if p.method != "PUT" && p.method != "POST" {
		return
	}
	p.counted, p.trailer, p.expect = true, r.IntN(2) == 0, r.IntN(30) == 0
	switch at := r.IntN(100); {
	case at < 70:
		p.body = r.IntN(2000)
	case at < 80:
		p.body = r.IntN(inlineBody)
	case at < 92:
		p.body = inlineBody + 1 + r.IntN(40000)
	default:
		p.body, p.counted = r.IntN(30000), false
	}
	if kinds[p.kind].deaf {
		p.body, p.counted, p.expect = 12<<20, true, false
	}
	p.trailer = p.trailer && !p.counted
}

// choosePath chooses whose work it is: that of processes that are left alone, or of
// those that are stopped all the while.
func (p *plan) choosePath(r *rand.Rand) {
	k := &kinds[p.kind]
	p.user = r.IntN(1000)
	switch at := r.IntN(100); {
	case k.late:
		p.method, p.body, p.path, p.calm = "GET", -1, "/_matrix/client/v3/sync?since=s&timeout=0", false
	case k.harms || at < 30:
		p.path, p.calm = "/wild/x", false
	case p.method == "GET" && at < 40 && !k.broken:
		p.path, p.calm = "/_matrix/client/v3/sync?since=s&timeout=0", false
	case p.method == "POST" && at < 40:
		if r.IntN(3) == 0 {
			p.body = soakUpload + 1 + r.IntN(40000)
		}
		p.path, p.calm = "/_matrix/media/v3/upload", p.body <= soakUpload
	case p.method == "GET" && at < 48 && !k.broken:
		p.path, p.kind = "/_matrix/client/v3/publicRooms?x=x", kindNamed("unknown")
	}
}

func (p *plan) chooseLeaving(r *rand.Rand) {
	k := &kinds[p.kind]
	switch at := r.IntN(1000); {
	case k.every > 0:
	case p.n%4003 == 1999:
		p.leaves, p.method, p.kind, p.body, p.counted, p.expect = stallsInUpload, "POST", 0, 20000, p.n%2 == 0, false
		p.trailer, p.path, p.calm = false, "/calm/x", true
	case p.n%9001 == 4999:
		p.leaves, p.method, p.kind, p.body, p.length = stallsInAnswer, "GET", 0, -1, 12<<20
		p.expect, p.trailer, p.path, p.calm = false, false, "/calm/x", true
	case p.n%3001 == 1499:
		p.leaves = leavesConnection
	case at < 8:
		p.leaves = leavesBeforeHead
	case at < 16 && p.body > 1 && !p.expect:
		p.leaves = leavesInUpload
	case at < 24:
		p.leaves = leavesInAnswer
	}
	p.pause = time.Duration(r.IntN(3000)) * time.Microsecond
}

// clean says whether nothing is to disturb the request.
func (p *plan) clean() bool {
	k := &kinds[p.kind]
	return p.calm && p.leaves == stays && !k.broken && !k.early
}

// bodyless says whether the answer has no body.
func (p *plan) bodyless() bool { return p.method == "HEAD" || p.status == 204 || p.status == 304 }

func (p *plan) String() string {
	return fmt.Sprintf("request %d, id %s: %s %s, body %d (counted %v, trailer %v, expect %v), answer %q %d of %d bytes, client %s",
		p.n, p.id, p.method, p.path, p.body, p.counted, p.trailer, p.expect, kinds[p.kind].name, p.status, p.length, leavings[p.leaves])
}

// appendText appends n bytes that belong to an id: the id and a semicolon, over
// and over.
func appendText(b []byte, id string, n int) []byte {
	start := len(b)
	b = append(append(b, id...), ';')
	for have := len(b) - start; have < n; have = len(b) - start {
		b = append(b, b[start:start+min(have, n-have)]...)
	}
	return b[:start+n]
}

// reading checks that what comes, in whatever pieces, belongs to an id.
type reading struct {
	id  string
	got int
}

// is takes the next piece.
func (c *reading) is(p []byte) bool {
	unit := len(c.id) + 1
	for i := range min(len(p), unit) {
		want := byte(';')
		if at := (c.got + i) % unit; at < len(c.id) {
			want = c.id[at]
		}
		if p[i] != want {
			return false
		}
	}
	c.got += len(p)
	return len(p) <= unit || bytes.Equal(p[unit:], p[:len(p)-unit])
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// digestOf stands for a body as a back end received it.
func digestOf(body []byte) string { return digestText(crc32.Checksum(body, castagnoli), len(body)) }

func digestText(sum uint32, n int) string {
	return strconv.FormatUint(uint64(sum), 16) + "/" + strconv.Itoa(n)
}
