package proxy

import (
	"fmt"
)

// answered is what a client has seen of its answer.
type answered struct {
	plan     *plan
	conn     string // the client's, to find it again
	status   int    // 0 before its head
	ours     bool   // it says whose it is by no id, so the front door made it
	hints    int    // interim answers
	body     reading
	length   int // that it declares; -1 for none
	trailer  string
	whole    bool
	err      error // why it is not
	left     bool  // the client did not wait for its end
	failures []string
}

func (a *answered) wrong(format string, args ...any) {
	if len(a.failures) < 3 {
		a.failures = append(a.failures, fmt.Sprintf(format, args...))
	}
}

// answerHead is what of a head matters.
type answerHead struct {
	status             int
	id, digest, hinted string
	length             int
	chunked, last      bool
}

// interim takes an answer before the answer.
func (a *answered) interim(h *answerHead) {
	switch {
	case a.status != 0:
		a.wrong("an interim answer %d comes after the answer", h.status)
	case h.status == 100:
		if !a.plan.expect {
			a.wrong("100 although the client did not wait for it")
		}
	case h.status != 103 || h.id != a.plan.id || kinds[a.plan.kind].name != "hints":
		a.wrong("an interim answer %d for %q", h.status, h.id)
	default:
		a.hints++
	}
}

// head takes the head of the answer.
func (a *answered) head(h *answerHead) {
	if a.status != 0 {
		a.wrong("a second head, %d for %q", h.status, h.id)
	}
	a.status, a.length, a.body.id = h.status, h.length, a.plan.id
	if h.id == "" {
		a.ours = true
		return
	}
	if h.id != a.plan.id {
		a.wrong("the answer of %q", h.id)
	}
	if h.status != a.plan.status {
		a.wrong("status %d", h.status)
	}
	if kinds[a.plan.kind].rough {
		a.wrong("the answer of kind %q has a head", kinds[a.plan.kind].name)
	}
	if h.digest != a.plan.digest && !(kinds[a.plan.kind].early && h.digest == earlyDigest) {
		a.wrong("the back end received a body of %s, sent was %s", h.digest, a.plan.digest)
	}
	if h.length >= 0 && a.plan.method == "HEAD" && h.length != a.plan.length {
		a.wrong("a length of %d", h.length)
	}
}

// data takes a piece of the body.
func (a *answered) data(p []byte) {
	if a.ours || len(a.failures) > 0 {
		return
	}
	if !a.body.is(p) {
		a.wrong("the body goes on with %.100q at %d", p, a.body.got)
	}
	if a.plan.bodyless() || a.body.got > a.plan.length {
		a.wrong("the body has %d bytes and more", a.body.got)
	}
}

// end takes the end, which is whole.
func (a *answered) end() {
	a.whole = true
	k := &kinds[a.plan.kind]
	switch {
	case a.ours:
	case k.broken:
		a.wrong("a broken answer looks whole")
	case !a.plan.bodyless() && a.body.got != a.plan.length:
		a.wrong("the whole body has %d bytes", a.body.got)
	case k.name == "trailer" && !a.plan.bodyless() && a.trailer != a.plan.id:
		a.wrong("the trailer of %q", a.trailer)
	case k.name != "trailer" && a.trailer != "":
		a.wrong("a trailer of %q", a.trailer)
	case k.name == "hints" && a.hints != 1:
		a.wrong("%d interim answers", a.hints)
	}
}

// outcome is how a request ended.
type soakOutcome int

const (
	wholeAnswer soakOutcome = iota
	ourRefusal              // a whole answer of our own
	brokenAnswer
	noAnswerAtAll // a visible error before a head
	clientLeft
	outcomes
)

var outcomeNames = [...]string{"whole", "refused by us", "broken off", "failed", "left by the client"}

// outcome judges the answer, once nothing more comes.
func (a *answered) outcome() soakOutcome {
	how := clientLeft
	switch {
	case a.whole && a.ours:
		how = ourRefusal
	case a.whole:
		how = wholeAnswer
	case a.left:
	case a.status != 0:
		how = brokenAnswer
	default:
		how = noAnswerAtAll
	}
	switch a.status {
	case 408, 413, 429, 502, 503, 504:
	default:
		if a.ours {
			a.wrong("an answer %d that says of nobody whose it is", a.status)
		}
	}
	if a.plan.clean() && how != wholeAnswer && how != clientLeft {
		a.wrong("nothing disturbed it, and it is %s, with status %d", outcomeNames[how], a.status)
	}
	if a.plan.leaves == stallsInUpload && (how == wholeAnswer || how == ourRefusal && a.status != 408) {
		a.wrong("half an upload is answered with %d", a.status)
	}
	if a.plan.leaves == stallsInAnswer && how != brokenAnswer && how != clientLeft {
		a.wrong("an answer that was not read is %s", outcomeNames[how])
	}
	return how
}
