package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// probeTarget is asked for on the same connection, in the same breath as the
// message: whether it is answered shows where the message was taken to end.
const probeTarget = "/_matrix/probe"

const probe = "GET " + probeTarget + " HTTP/1.1\r\nHost: matrix.example.com\r\n\r\n"

// message is a case of testdata/messages.txt, which says how it is written.
type message struct {
	name   string
	why    string
	send   string
	answer *scripted
	outcome
	refusable bool // refused is right too
	except    map[string]*outcome
}

// outcome is what the client got and what the back end received.
type outcome struct {
	client  string
	backend []string // requests; "unfinished" alone for what never became one
}

// String is an outcome as messages.txt has it.
func (o outcome) String() string {
	text := "client " + o.client
	for _, r := range o.backend {
		if r == "unfinished" {
			text += "\nbackend unfinished"
			continue
		}
		text += "\nbackend"
		for _, line := range strings.SplitAfter(r, "\r\n") {
			if line != "" {
				text += "\n  " + strings.ReplaceAll(strings.Trim(strconv.Quote(line), `"`), `\"`, `"`)
			}
		}
	}
	if len(o.backend) == 0 {
		text += "\nbackend nothing"
	}
	return text
}

// TestMessages sends every message of testdata/messages.txt. Each is refused and
// its connection closed, or forwarded in exactly one reading; no part of one is
// ever read as another.
func TestMessages(t *testing.T) {
	messages := readMessages(t)
	if len(messages) < 60 {
		t.Errorf("only %d messages", len(messages))
	}
	eachEngine(t, func(t *testing.T, e engine) {
		doors := make([]*front, len(messages))
		backends := make([]*recorder, len(messages))
		for i, m := range messages {
			backends[i] = newRecorder(t, m.answer)
			doors[i] = e.front(t, fmt.Sprintf("sites: [{ server_name: example.com, synapse: { main: %q, hold: 1s } }]", backends[i].url()), false)
		}
		var wg sync.WaitGroup
		for i, m := range messages {
			wg.Go(func() { m.check(t, e, doors[i], backends[i]) })
		}
		wg.Wait()
	})
}

func (m *message) check(t *testing.T, e engine, f *front, b *recorder) {
	want := m.outcome
	if other, ok := m.except[e.name]; ok {
		want = *other
	}
	limit := 20 * time.Second
	if strings.Contains(want.client, "waits") {
		limit = noAnswer
	}
	got := outcome{client: m.converse(f.https, limit), backend: f.known(b)}
	for _, r := range got.backend {
		if strings.HasPrefix(r, "GET /_matrix/hidden") {
			t.Errorf("case %s: a part of the message was read as another", m.name)
		}
	}
	if !got.is(want) && !(m.refusable && (got.is(refused) || got.is(outcome{"refused", []string{"unfinished"}}))) {
		t.Errorf("case %s (%s)\n--- got\n%v\n--- want\n%v", m.name, m.why, got, want)
	}
}

// refused is any answer of ours to a message that cannot be understood, before
// which nothing was forwarded and after which nothing is read.
var refused = outcome{client: "refused"}

var refusal = regexp.MustCompile(`^(400|413|414|417|431|501|505) closed$`)

// is compares an outcome with the one wanted. Of what is unfinished the back end
// may have received nothing at all.
func (o outcome) is(want outcome) bool {
	if want.client == "refused" {
		if !refusal.MatchString(o.client) {
			return false
		}
	} else if !slices.Contains(strings.Split(want.client, " | "), o.client) {
		return false
	}
	if slices.Equal(want.backend, []string{"unfinished"}) && len(o.backend) == 0 {
		return true
	}
	return slices.Equal(o.backend, want.backend)
}

// known is what the back end received, without the probe and without what is in
// every request: who asked.
func (f *front) known(b *recorder) []string {
	time.Sleep(20 * time.Millisecond) // for the end of a connection that was cut
	requests, rest := b.received()
	var out []string
	for _, r := range requests {
		if r = withoutIdentity(r); r != probe {
			out = append(out, r)
		}
	}
	for _, r := range rest {
		if !strings.HasPrefix(r, "GET /_matrix/hidden") {
			r = "unfinished"
		}
		out = append(out, r)
	}
	return out
}

// withoutIdentity removes the four fields that say who asked, if they are there
// once and true.
func withoutIdentity(request string) string {
	head, body, _ := strings.Cut(request, "\r\n\r\n")
	host := regexp.MustCompile(`\r\nHost: (.*)`).FindStringSubmatch(head)
	for _, field := range []string{"X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http", "X-Real-Ip: 127.0.0.1",
		"X-Forwarded-Host: " + strings.TrimSuffix(append(host, "", "")[1], "\r")} {
		without := strings.Replace(head, "\r\n"+field, "", 1)
		if without == head {
			return "without identity: " + request
		}
		head = without
	}
	return head + "\r\n\r\n" + body
}

// noAnswer is how long a client waits for an answer before it is sure that the
// front door waits for more of the message, where that is expected.
const noAnswer = 2500 * time.Millisecond

// converse sends a message and the probe in one go, and says what came back: the
// answers, then how it went on. The probe was answered (open), or the connection
// closed, or the front door waits for more; broken is an answer that was cut off,
// at whichever byte.
func (m *message) converse(address string, limit time.Duration) string {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(limit))
	go io.WriteString(c, m.send+probe)
	r := bufio.NewReader(c)
	first, _, _ := strings.Cut(strings.TrimLeft(m.send, "\r\n"), " ")
	method := first
	var words []string
	for range 1000 {
		if _, err := r.Peek(1); err != nil {
			return shorten(append(words, ending(err, words)))
		}
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			return shorten(append(words, fmt.Sprintf("nonsense: %v", err)))
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return shorten(append(words, "broken"))
		}
		if string(body) == probeTarget {
			return shorten(append(words, "open"))
		}
		words = append(words, strconv.Itoa(resp.StatusCode)+m.shown(resp, body))
		if resp.StatusCode >= 200 {
			method = "GET"
		}
	}
	return shorten(append(words, "and so on"))
}

// shorten joins words; the same one over and over becomes word*n.
func shorten(words []string) string {
	var out []string
	for i := 0; i < len(words); {
		n := 1
		for i+n < len(words) && words[i+n] == words[i] {
			n++
		}
		if n > 3 {
			out = append(out, fmt.Sprintf("%s*%d", words[i], n))
		} else {
			out = append(out, words[i:i+n]...)
		}
		i += n
	}
	return strings.Join(out, " ")
}

// shown is the body and the trailer of an answer that was written for the case.
func (m *message) shown(resp *http.Response, body []byte) string {
	text := ""
	if m.answer != nil && resp.StatusCode >= 200 && resp.StatusCode < 400 {
		text = strconv.Quote(string(body))
		for name, values := range resp.Trailer {
			text += "+" + name + ":" + strings.Join(values, ",")
		}
	}
	return text
}

// ending is how a connection went on that brought nothing more.
func ending(err error, answers []string) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "waits"
	case len(answers) == 0:
		return "broken"
	}
	return "closed" // in whatever way
}

// readMessages reads testdata/messages.txt.
func readMessages(t testing.TB) []*message {
	t.Helper()
	text, err := os.ReadFile("testdata/messages.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []*message
	var at *message
	var out *outcome // the one being read
	into := func(string) {}
	for i, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(line, "  ") {
			raw, err := readBytes(line[2:])
			if err != nil {
				t.Fatalf("messages.txt:%d: %v", i+1, err)
			}
			into(raw)
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		switch word {
		case "", "#":
		case "case":
			if slices.ContainsFunc(all, func(m *message) bool { return m.name == rest }) {
				t.Fatalf("messages.txt:%d: a second %s", i+1, rest)
			}
			at = &message{name: rest, except: map[string]*outcome{}}
			all, out = append(all, at), &at.outcome
		case "why":
			at.why = strings.TrimSpace(at.why + " " + rest)
		case "send":
			into = func(raw string) { at.send += raw }
		case "answer":
			at.answer = &scripted{early: strings.Contains(rest, "early"), close: strings.Contains(rest, "close")}
			into = func(raw string) { at.answer.text += raw }
		case "client":
			out.client = rest
		case "backend":
			if rest != "" && rest != "nothing" {
				out.backend = append(out.backend, rest)
			} else if rest == "" {
				out.backend = append(out.backend, "")
			}
			o := out
			into = func(raw string) { o.backend[len(o.backend)-1] += raw }
		case "or":
			at.refusable = true
		case "refused":
			*out = refused
		case "except":
			engine, _, _ := strings.Cut(rest, ":")
			out = &outcome{}
			at.except[engine] = out
		default:
			t.Fatalf("messages.txt:%d: unknown word %q", i+1, word)
		}
	}
	return all
}

var repeated = regexp.MustCompile(`\{([^{}]+)\*(\d+)\}`)

// readBytes reads the bytes of a line: Go's escapes, and {text*n} for n times the
// same.
func readBytes(line string) (string, error) {
	raw, err := strconv.Unquote(`"` + strings.ReplaceAll(line, `"`, `\"`) + `"`)
	if err != nil {
		return "", fmt.Errorf("%q: %w", line, err)
	}
	return repeated.ReplaceAllStringFunc(raw, func(r string) string {
		parts := repeated.FindStringSubmatch(r)
		n, _ := strconv.Atoi(parts[2])
		return strings.Repeat(parts[1], n)
	}), nil
}
