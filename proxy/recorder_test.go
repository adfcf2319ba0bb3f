package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// recorder is a back end that keeps what it receives byte by byte. It forgives
// nothing: bytes that are no request, read as strictly as possible, stay among
// the unread ones and are never answered.
type recorder struct {
	listener net.Listener
	answer   *scripted // to any request but probes; nil for one that repeats the target

	mu       sync.Mutex
	requests []string // whole ones
	rest     []string // of connections that ended inside a request
}

// scripted is an answer, as it goes over the wire.
type scripted struct {
	text  string
	early bool // before the body of the request is read
	close bool // the connection ends with it
}

func newRecorder(t testing.TB, answer *scripted) *recorder {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	b := &recorder{listener: l, answer: answer}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go b.serve(c)
		}
	}()
	return b
}

func (b *recorder) url() string { return "http://" + b.listener.Addr().String() }

// received returns the whole requests, and what came besides.
func (b *recorder) received() (requests, rest []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.requests), slices.Clone(b.rest)
}

func (b *recorder) serve(c net.Conn) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	var raw bytes.Buffer
	r := bufio.NewReader(io.TeeReader(c, &raw))
	for {
		head, err := strictHead(r)
		target := ""
		if err == nil {
			target = strings.Split(head, " ")[1]
			if b.answer != nil && b.answer.early && target != probeTarget {
				io.WriteString(c, b.answer.text)
			}
		}
		body := ""
		if err == nil {
			body, err = strictBody(r, head)
		}
		if err != nil {
			b.keep(&b.rest, raw.String())
			return
		}
		b.keep(&b.requests, sortFields(head)+body)
		if raw.Next(raw.Len() - r.Buffered()); !b.reply(c, target) {
			return
		}
	}
}

// reply answers a whole request, and says whether the connection goes on.
func (b *recorder) reply(c net.Conn, target string) bool {
	if b.answer != nil && target != probeTarget {
		if !b.answer.early {
			io.WriteString(c, b.answer.text)
		}
		return !b.answer.close
	}
	_, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(target), target)
	return err == nil
}

func (b *recorder) keep(list *[]string, text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if text != "" {
		*list = append(*list, text)
	}
}

// strictHead reads a request's head, its blank line included.
func strictHead(r *bufio.Reader) (string, error) {
	var head strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		if !strings.HasSuffix(line, "\r\n") || strings.Count(line, "\r") != 1 {
			return "", fmt.Errorf("line %q", line)
		}
		if head.Len() == 0 && strings.Count(line, " ") != 2 {
			return "", fmt.Errorf("request line %q", line)
		}
		if head.WriteString(line); line == "\r\n" {
			return head.String(), nil
		}
	}
}

// strictBody reads the body as the head frames it. Chunks come out as one, since
// where a proxy cuts them says nothing.
func strictBody(r *bufio.Reader, head string) (string, error) {
	length, chunked := int64(-1), false
	for _, line := range strings.Split(head, "\r\n")[1:] {
		name, value, _ := strings.Cut(line, ": ")
		switch strings.ToLower(name) {
		case "content-length":
			n, err := strconv.ParseUint(value, 10, 32)
			if err != nil || length >= 0 {
				return "", fmt.Errorf("Content-Length %q after %d", value, length)
			}
			length = int64(n)
		case "transfer-encoding":
			if value != "chunked" || chunked {
				return "", fmt.Errorf("Transfer-Encoding %q", value)
			}
			chunked = true
		}
	}
	if chunked && length >= 0 {
		return "", fmt.Errorf("two framings")
	}
	if chunked {
		return strictChunks(r)
	}
	body := make([]byte, max(length, 0))
	_, err := io.ReadFull(r, body)
	return string(body), err
}

func strictChunks(r *bufio.Reader) (string, error) {
	var data strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		size, err := strconv.ParseUint(strings.TrimSuffix(line, "\r\n"), 16, 31)
		if err != nil {
			return "", err
		}
		if size == 0 {
			trailer, err := strictTrailer(r)
			if data.Len() == 0 {
				return "0\r\n" + trailer, err
			}
			return fmt.Sprintf("%x\r\n%s\r\n0\r\n%s", data.Len(), data.String(), trailer), err
		}
		if _, err := io.CopyN(&data, r, int64(size)); err != nil {
			return "", err
		}
		if end, err := r.ReadString('\n'); err != nil || end != "\r\n" {
			return "", fmt.Errorf("chunk ends in %q: %w", end, err)
		}
	}
}

func strictTrailer(r *bufio.Reader) (string, error) {
	var trailer strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil || !strings.HasSuffix(line, "\r\n") {
			return "", fmt.Errorf("trailer %q: %w", line, err)
		}
		if trailer.WriteString(line); line == "\r\n" {
			return trailer.String(), nil
		}
	}
}

// sortFields brings the fields of a head into a spelling and an order that can
// be compared: neither the case of a name nor the order of different ones means
// anything (RFC 9110, sections 5.1 and 5.3), and net/http keeps neither.
func sortFields(head string) string {
	lines := strings.Split(strings.TrimSuffix(head, "\r\n\r\n"), "\r\n")
	name := func(line string) string {
		name, _, _ := strings.Cut(line, ":")
		return http.CanonicalHeaderKey(name)
	}
	for i, line := range lines[1:] {
		lines[i+1] = name(line) + line[len(name(line)):]
	}
	slices.SortStableFunc(lines[1:], func(a, b string) int { return strings.Compare(name(a), name(b)) })
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}
