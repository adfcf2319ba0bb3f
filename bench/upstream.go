package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// asUpstream is the argument that makes this program the upstream.
const asUpstream = "upstream"

// The targets that the upstream tells apart; all others get the small answer.
const (
	pollTarget   = "/_matrix/client/v3/sync?timeout=600000&since=parked" // and a number
	uploadTarget = "/_matrix/media/v3/upload"
	bulkTarget   = "/_matrix/client/v1/media/download/example.org/bulk-" // and how many bytes
)

// small is the body of most answers: what an idle sync answers.
const small = `{"next_batch":"s72595_4483_1934_21_1_1_1_1_1","presence":{"events":[]},"rooms":{"join":{},"invite":{},"leave":{}},"to_device":{"events":[]},"device_lists":{"changed":[],"left":[]},"device_one_time_keys_count":{"c":50}}`

// upstream is Synapse's part, played by as little code as will do, so that most
// of its CPU is left to the clients. It parks the polls until it is told to
// release them.
type upstream struct {
	mu     sync.Mutex
	parked int
	gate   chan struct{} // closed to release
}

// serveUpstream prints the address it listens on and then obeys: "parked" prints
// how many polls are parked, "release" answers them. It ends with its input.
func serveUpstream(in io.Reader, out io.Writer) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	u := &upstream{gate: make(chan struct{})}
	go u.accept(l)
	fmt.Fprintln(out, l.Addr())
	for commands := bufio.NewScanner(in); commands.Scan(); {
		switch commands.Text() {
		case "parked":
			fmt.Fprintln(out, u.count())
		case "release":
			fmt.Fprintln(out, u.release())
		}
	}
	return nil
}

func (u *upstream) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.parked
}

func (u *upstream) release() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := u.parked
	close(u.gate)
	u.gate, u.parked = make(chan struct{}), 0
	return n
}

func (u *upstream) park() {
	u.mu.Lock()
	u.parked++
	gate := u.gate
	u.mu.Unlock()
	<-gate
}

func (u *upstream) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // no descriptor left, for now
			continue
		}
		go u.serve(c)
	}
}

// serve answers the requests of a connection until it ends.
func (u *upstream) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReaderSize(c, 4096)
	for {
		h, err := readHead(r)
		if err != nil || discard(c, r, h.length) != nil {
			return
		}
		if h.answer == answerParked {
			u.park()
		}
		if writeAnswer(c, h) != nil || h.last {
			return
		}
	}
}

// head is what matters of a request's head.
type head struct {
	answer answer
	bulk   int64 // the length of the answer, for answerBulk
	length int64 // of the body
	last   bool  // on its connection
}

type answer int

const (
	answerSmall answer = iota
	answerHealth
	answerVersion
	answerParked
	answerBulk
)

var errRequest = errors.New("a request the upstream does not understand")

func readHead(r *bufio.Reader) (head, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return head{}, err
	}
	h, err := requestLine(line)
	for err == nil {
		if line, err = r.ReadSlice('\n'); len(line) <= len("\r\n") {
			break
		}
		if err == nil {
			err = h.field(line)
		}
	}
	return h, err
}

// requestLine chooses the answer.
func requestLine(line []byte) (head, error) {
	_, line, _ = bytes.Cut(line, []byte(" "))
	switch {
	case bytes.HasPrefix(line, []byte(pollTarget)):
		return head{answer: answerParked}, nil
	case bytes.HasPrefix(line, []byte("/health ")):
		return head{answer: answerHealth}, nil
	case bytes.HasPrefix(line, []byte("/_matrix/federation/v1/version ")):
		return head{answer: answerVersion}, nil
	case bytes.HasPrefix(line, []byte(bulkTarget)):
		n, _, _ := bytes.Cut(line[len(bulkTarget):], []byte(" "))
		length, err := strconv.ParseInt(string(n), 10, 64)
		return head{answer: answerBulk, bulk: length}, err
	}
	return head{}, nil
}

// field takes notice of the fields that say where the request ends, and whether
// the connection does. No client here sends chunks, and no proxy makes them.
func (h *head) field(line []byte) error {
	if initial := line[0] | 0x20; initial != 'c' && initial != 't' {
		return nil
	}
	name, value, _ := strings.Cut(string(line), ":")
	value = strings.TrimSpace(value)
	var err error
	switch {
	case strings.EqualFold(name, "Content-Length"):
		h.length, err = strconv.ParseInt(value, 10, 64)
	case strings.EqualFold(name, "Connection"):
		h.last = strings.EqualFold(value, "close")
	case strings.EqualFold(name, "Transfer-Encoding"):
		err = errRequest
	}
	return err
}

// chunk is how much of a large body is read or written at once.
const chunk = 256 << 10

// discard reads a body away: what is buffered, then the rest in large pieces.
func discard(c net.Conn, r *bufio.Reader, n int64) error {
	if n == 0 {
		return nil
	}
	buffered, err := r.Discard(int(min(n, int64(r.Buffered()))))
	n -= int64(buffered)
	for piece := make([]byte, min(n, chunk)); n > 0 && err == nil; {
		var got int
		got, err = c.Read(piece[:min(n, chunk)])
		n -= int64(got)
	}
	return err
}

// The head of every answer, as Synapse writes it.
const (
	answerHead = "HTTP/1.1 200 OK\r\nServer: Synapse/1.150.0\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: application/json\r\n" +
		"Cache-Control: no-cache, no-store, must-revalidate\r\nAccess-Control-Allow-Origin: *\r\n" +
		"Access-Control-Allow-Methods: GET, HEAD, POST, PUT, DELETE, OPTIONS\r\n" +
		"Access-Control-Allow-Headers: X-Requested-With, Content-Type, Authorization, Date\r\n" +
		"Access-Control-Expose-Headers: Synapse-Trace-Id\r\n"
)

var answers = map[answer][]byte{
	answerSmall:   wholeAnswer(small),
	answerParked:  wholeAnswer(small),
	answerHealth:  wholeAnswer("OK"),
	answerVersion: wholeAnswer(`{"server":{"name":"Synapse","version":"1.150.0"}}`),
}

func wholeAnswer(body string) []byte {
	return fmt.Appendf(nil, "%sContent-Length: %d\r\n\r\n%s", answerHead, len(body), body)
}

var zeros = make([]byte, chunk)

func writeAnswer(c net.Conn, h head) error {
	if h.answer != answerBulk {
		_, err := c.Write(answers[h.answer])
		return err
	}
	_, err := fmt.Fprintf(c, "%sContent-Length: %d\r\n\r\n", answerHead, h.bulk)
	for n := h.bulk; n > 0 && err == nil; n -= chunk {
		_, err = c.Write(zeros[:min(n, chunk)])
	}
	return err
}
