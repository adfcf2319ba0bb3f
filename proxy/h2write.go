package proxy

import (
	"bytes"
	"net/http"
	"runtime"
	"slices"
	"sync/atomic"
	"time"
)

const (
	// h2OutputMost is how much may wait to be written before streams wait, in bytes.
	h2OutputMost = 64 << 10
	// h2ControlsMost is how many frames may wait that no request asked for. A client
	// that has so many sent to it reads none of them.
	h2ControlsMost = 1000
)

// output is what waits to be written, to append to and to put back.
func (c *h2Conn) output() []byte {
	if c.out == nil {
		c.out = h2Outputs.lend()
	}
	return *c.out
}

func (c *h2Conn) put(b []byte) { *c.out = b }

// hasRoom says whether more may be gathered.
func (c *h2Conn) hasRoom() bool { return c.out == nil || len(*c.out) < h2OutputMost }

// control counts a frame that the client had us send.
func (c *h2Conn) control(cost int) error {
	if c.controls++; c.controls > h2ControlsMost {
		return &h2Error{code: h2EnhanceYourCalm, why: "too many frames that want an answer"}
	}
	return c.spendLocked(cost)
}

// push writes what has been gathered, unless somebody does already. Others that
// could go on are let to first, so that what they have to say goes along: one TLS
// record and one system call carry many short answers. mu is held, but for that.
func (c *h2Conn) push() {
	if c.writing || c.out == nil || c.dead {
		return
	}
	c.writing = true
	if c.active > 1 {
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
	}
	c.writeRound()
	c.writeOn()
}

// writeOn ends writing, or leaves it to a goroutine when more has come meanwhile:
// a stream has its own to do.
func (c *h2Conn) writeOn() {
	if c.out != nil && !c.dead {
		go c.gather()
		return
	}
	c.writing = false
	c.quiet.Signal()
}

// writeSoon has a goroutine write. The reader uses it, which must never wait for a
// client that does not read.
func (c *h2Conn) writeSoon() {
	if !c.writing && c.out != nil && !c.dead {
		c.writing = true
		go c.gather()
	}
}

// writeAll writes until nothing waits.
func (c *h2Conn) writeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.out != nil && !c.dead {
		c.writeRound()
	}
	c.writing = false
	c.quiet.Signal()
}

// writeRound writes what waits now. mu is not held meanwhile.
func (c *h2Conn) writeRound() {
	o := c.out
	if o == nil || c.dead {
		return
	}
	c.out, c.controls = nil, 0
	c.next()
	c.mu.Unlock()
	_, err := c.nc.Write(*o)
	h2Outputs.takeBack(o)
	c.mu.Lock()
	if err != nil {
		c.die()
	} else if len(c.queue) > 0 {
		c.moved = time.Now()
	}
}

// next lets the stream go on that has waited longest for what it can have now.
// Nobody else goes on before it.
func (c *h2Conn) next() {
	if c.turn != nil || !c.hasRoom() {
		return
	}
	for i, s := range c.queue {
		if c.window > 0 || !s.sendsData {
			c.queue = slices.Delete(c.queue, i, i+1)
			s.queued, c.turn = false, s
			s.writable.wake()
			return
		}
	}
}

// h2Wait is where one goroutine waits for another.
type h2Wait struct {
	woken chan struct{}
	timer *time.Timer
	waits bool
}

func (w *h2Wait) wake() {
	if w.waits {
		w.waits = false
		w.woken <- struct{}{} // there is room: waits is set by an empty channel's owner
	}
}

// wait returns when wake was called, or after limit when that is positive; false
// then. mu is held, but for the wait.
func (c *h2Conn) wait(w *h2Wait, limit time.Duration) bool {
	if w.woken == nil {
		w.woken = make(chan struct{}, 1)
	}
	var ranOut <-chan time.Time
	if limit > 0 {
		if w.timer == nil {
			w.timer = time.NewTimer(limit)
		} else {
			w.timer.Reset(limit)
		}
		ranOut = w.timer.C
		defer w.timer.Stop()
	}
	w.waits = true
	c.mu.Unlock()
	ok := true
	select {
	case <-w.woken:
	case <-ranOut:
		ok = false
	}
	c.mu.Lock()
	if w.waits {
		w.waits = false
	} else if !ok {
		<-w.woken // it came at the same time
		ok = true
	}
	return ok
}

// h2Budget bounds what a client has done that leads to nothing: streams that are
// reset as soon as they begin, or so that they are reset here (CVE-2023-44487,
// CVE-2025-8671), pings, settings, empty frames (CVE-2019-9512 to 9518). It grows
// with time and with useful work.
type h2Budget struct {
	left int
	at   time.Time // when it was last filled for the time gone by
	sent int       // bytes of bodies that were not counted yet
}

const (
	h2BudgetMost   = 2000
	h2BudgetRate   = 100 // a second
	h2ResetCost    = 10
	h2AnswerEarns  = 10
	h2EarningBytes = 1024 // of a body that was sent earn 1: a client has to make room for them
)

// spend takes from the budget for something that is of no use by itself.
func (c *h2Conn) spend(n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spendLocked(n)
}

func (c *h2Conn) spendLocked(n int) error {
	b := &c.budget
	if b.left -= n; b.left >= 0 {
		return nil
	}
	now := time.Now()
	b.left = min(b.left+int(min(now.Sub(b.at), time.Minute).Seconds()*h2BudgetRate), h2BudgetMost)
	if b.at = now; b.left < 0 {
		return &h2Error{code: h2EnhanceYourCalm, why: "too much that leads to nothing"}
	}
	return nil
}

func (b *h2Budget) earn(n int) { b.left = min(b.left+n, h2BudgetMost) }

// earnBytes is earn for a part of a body.
func (b *h2Budget) earnBytes(n int) {
	b.sent += n
	b.earn(b.sent / h2EarningBytes)
	b.sent %= h2EarningBytes
}

// arm sets the deadline for reading.
func (c *h2Conn) arm(t time.Time) {
	if c.leaving == h2Closes && c.active == 0 {
		t = time.Unix(1, 0)
	}
	c.armed = t
	_ = c.nc.SetReadDeadline(t)
}

// waits is called before the reader may wait: what it has to say goes out, and what
// is midway has to be complete in time.
func (c *h2Conn) waits(midway bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writeSoon()
	switch {
	case !midway:
		c.by = time.Time{}
	case c.by.IsZero() && c.settled && c.own.head > 0:
		c.by = time.Now().Add(c.own.head)
		c.arm(c.by)
	}
}

// hears notes that the client is there.
func (c *h2Conn) hears() {
	now := time.Now()
	c.mu.Lock()
	c.heard, c.asked = now, time.Time{}
	c.mu.Unlock()
}

// settledBy is when the client must have sent what a connection begins with; without
// timeouts.head, when to look again.
func (c *h2Conn) settledBy(now time.Time) time.Time {
	if c.own.head <= 0 {
		return now.Add(h2Silence)
	}
	return c.idle.Add(c.own.head)
}

// tick looks, when the deadline for reading has passed, what was waited for. It
// sets the next one, or returns why the connection ends.
func (c *h2Conn) tick(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.leaving == h2Closes && c.active == 0:
		return errH2Done
	case !c.settled && now.Before(c.settledBy(now)):
		c.arm(c.settledBy(now))
	case !c.settled || !c.by.IsZero() && !now.Before(c.by):
		return &h2Error{code: h2NoError, why: "what was begun was not completed in time"}
	case !c.by.IsZero():
		c.arm(c.by)
	case c.active == 0:
		if c.writing || c.out != nil { // the last answer is on its way
			c.idle = now
		}
		until := c.idle.Add(c.own.idle)
		if c.own.idle <= 0 {
			until = now.Add(h2Silence)
		}
		if !now.Before(until) {
			return &h2Error{code: h2NoError, why: "idle"}
		}
		c.arm(until)
	case !c.asked.IsZero() && c.writing: // and it may take what comes before slowly
		c.asked = now
		c.arm(now.Add(h2Answer))
	case !c.asked.IsZero() && !now.Before(c.asked.Add(h2Answer)):
		return errH2Gone
	case !c.asked.IsZero():
		c.arm(c.asked.Add(h2Answer))
	case now.Before(c.heard.Add(h2Silence)):
		c.arm(c.heard.Add(h2Silence))
	default:
		c.asked = now
		c.put(append(appendFrame(c.output(), 8, h2Ping, 0, 0), h2Asks[:]...))
		c.writeSoon()
		c.arm(now.Add(h2Answer))
	}
	return nil
}

// appendHead sends a block of fields: a head, or a trailer when status is 0.
func (c *h2Conn) appendHead(stream uint32, status int, h Header, length int64, end bool) {
	b := c.output()
	start := len(b)
	b = c.enc.begin(appendFrame(b, 0, h2Headers, 0, stream))
	if status > 0 {
		b = c.enc.status(b, status)
	}
	dated := status < 200
	for _, f := range h {
		if sameToken(f.Name, "date") {
			dated = true
		}
		b = c.enc.field(b, f)
	}
	if length >= 0 {
		b = c.enc.length(b, length)
	}
	if !dated { // RFC 9110, section 6.6.1
		b = c.enc.field(b, Field{"date", httpDate()})
	}
	c.put(frameBlock(b, start, end))
}

// frameBlock completes the frame of a block that begins at start, or cuts it into
// several when it is too long for one.
func frameBlock(b []byte, start int, end bool) []byte {
	var flags byte
	if end {
		flags = h2EndStream
	}
	size := len(b) - start - h2FrameHead
	if size <= h2FrameSize {
		b[start], b[start+1], b[start+2], b[start+4] = byte(size>>16), byte(size>>8), byte(size), flags|h2EndHeaders
		return b
	}
	stream := parseFrameHead(b[start:]).stream
	rest := bytes.Clone(b[start+h2FrameHead:])
	b = b[:start]
	for kind := byte(h2Headers); len(rest) > 0; kind, flags = h2Continuation, 0 {
		part := rest[:min(len(rest), h2FrameSize)]
		if rest = rest[len(part):]; len(rest) == 0 {
			flags |= h2EndHeaders
		}
		b = append(appendFrame(b, len(part), kind, flags, stream), part...)
	}
	return b
}

// datedNow is the date as a message has it, made once a second.
type datedNow struct {
	second int64
	text   string
}

var lastDate atomic.Pointer[datedNow]

// httpDate is now, as in RFC 9110, section 5.6.7.
func httpDate() string {
	now := time.Now()
	d := lastDate.Load()
	if d == nil || d.second != now.Unix() {
		d = &datedNow{now.Unix(), now.UTC().Format(http.TimeFormat)}
		lastDate.Store(d)
	}
	return d.text
}
