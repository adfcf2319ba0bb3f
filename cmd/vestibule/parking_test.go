//go:build integration

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// parking is a back end as a process of its own: `parking NAME ADDRESS`. It keeps
// long polls until it is told to answer, repeats what comes over a WebSocket, takes
// and gives large bodies, and answers anything else with its name.
func parking(args []string) {
	p := &parkingPlace{name: args[0], release: make(chan struct{})}
	l, err := net.Listen("tcp", args[1])
	if err == nil {
		err = (&http.Server{Handler: p, ReadHeaderTimeout: time.Minute}).Serve(l)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

type parkingPlace struct {
	name string

	mu       sync.Mutex
	held     int
	arrivals int // requests that were or are held
	requests int
	release  chan struct{}
}

// parkingState is what the place says of itself.
type parkingState struct{ Held, Arrivals, Requests int }

func (p *parkingPlace) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.requests++
	p.mu.Unlock()
	query := r.URL.Query()
	switch {
	case r.Header.Get("Upgrade") != "":
		p.echo(w)
	case r.URL.Path == "/parking/state":
		p.mu.Lock()
		defer p.mu.Unlock()
		json.NewEncoder(w).Encode(parkingState{p.held, p.arrivals, p.requests})
	case r.URL.Path == "/parking/release":
		p.mu.Lock()
		close(p.release)
		p.release = make(chan struct{})
		p.mu.Unlock()
	case strings.HasSuffix(r.URL.Path, "/sync") && query.Get("timeout") != "0":
		if p.hold(r) {
			io.WriteString(w, query.Get("since"))
		}
	case strings.Contains(r.URL.Path, "/download/"):
		p.give(w, query)
	case r.Body != nil && r.Method == "POST":
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	default:
		io.WriteString(w, p.name)
	}
}

// hold keeps a request until it is released; false when the client left.
func (p *parkingPlace) hold(r *http.Request) bool {
	p.mu.Lock()
	p.held++
	p.arrivals++
	release := p.release
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.held--
		p.mu.Unlock()
	}()
	select {
	case <-release:
		return true
	case <-r.Context().Done():
		return false
	}
}

// echo repeats what comes.
func (p *parkingPlace) echo(w http.ResponseWriter) {
	c, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	io.Copy(c, buf)
}

// blank is what files hold, for all who ask at the same time.
var blank = make([]byte, 1<<20)

// give sends so many parts of a size, with pauses between them; the last one
// never comes if it is to stall.
func (p *parkingPlace) give(w http.ResponseWriter, query map[string][]string) {
	number := func(name string) int {
		n, _ := strconv.Atoi(strings.Join(query[name], ""))
		return n
	}
	part, parts := blank[:number("size")], number("parts")
	w.Header().Set("Content-Length", strconv.Itoa(len(part)*parts))
	for i := range parts {
		if i == parts-1 && number("stall") > 0 {
			time.Sleep(time.Duration(number("stall")) * time.Millisecond)
		}
		if _, err := w.Write(part); err != nil {
			return
		}
		if pause := number("pause"); pause > 0 {
			http.NewResponseController(w).Flush()
			time.Sleep(time.Duration(pause) * time.Millisecond)
		}
	}
}

// place is a parking process as tests see it.
type place struct {
	t             testing.TB
	name, address string
	child         *exec.Cmd
}

func openPlace(t testing.TB, name string) *place {
	t.Helper()
	p := &place{t: t, name: name, address: freeAddress(t)}
	p.start()
	t.Cleanup(p.kill)
	return p
}

func (p *place) url() string { return "http://" + p.address }

// start starts it, again after kill.
func (p *place) start() {
	p.t.Helper()
	p.child = peer(p.t, "parking", p.name, p.address)
	if err := p.child.Start(); err != nil {
		p.t.Fatal(err)
	}
	eventually(p.t, p.name+" listens", func() bool {
		c, err := net.Dial("tcp", p.address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (p *place) kill() {
	p.child.Process.Kill()
	p.child.Wait()
}

// tell asks it for something beside the door.
func (p *place) tell(path string) string {
	p.t.Helper()
	return textOf(p.t)(http.Get(p.url() + path))
}

func (p *place) state() (s parkingState) {
	p.t.Helper()
	if err := json.Unmarshal([]byte(p.tell("/parking/state")), &s); err != nil {
		p.t.Fatal(err)
	}
	return s
}

// carrier is a client as a process of its own that carries one large body:
// `carrier ADDRESS PROTOCOL DIRECTION SIZE`. It writes how many bytes arrived.
func carrier(args []string) {
	size, err := strconv.ParseInt(args[3], 10, 64)
	var n int64
	if c := newVisitor(args[0], args[1] == "h2", true); err == nil && args[2] == "up" {
		n, err = upload(c, size)
	} else if err == nil {
		n, err = download(c, fmt.Sprintf("size=%d&parts=%d", 1<<20, size>>20))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "carrier:", err)
		os.Exit(1)
	}
	fmt.Print(n)
}
