package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestRestartedBackend: when a process goes away with many idle connections, a
// request that meets one of them is not tried on the next stale one.
func TestRestartedBackend(t *testing.T) {
	main := newBackend(t, "main")
	var waiting sync.WaitGroup
	waiting.Add(4)
	main.answers(func(w net.Conn, _ *bufio.Reader, s seen) bool {
		waiting.Done()
		waiting.Wait() // so that there are four connections
		return main.sayName(w, nil, s)
	})
	f := newFront(t, oneSite(main, ""))
	c := f.client(f.https, true)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { do(t, c, "GET", "https://matrix.example.com/_matrix/client/versions", nil) })
	}
	wg.Wait()
	main.answers(func(w net.Conn, _ *bufio.Reader, s seen) bool {
		if _, conns := main.count(); conns == 4 {
			return false // an old connection, which ends under the request
		}
		return main.sayName(w, nil, s)
	})
	if resp, text := do(t, c, "GET", "https://matrix.example.com/_matrix/client/versions", nil); text != "main" {
		t.Errorf("%s %q", resp.Status, text)
	}
}

// TestExtraBytes: what a back end sends beyond its answer reaches nobody, over
// TLS too, where it may lie decrypted in the connection.
func TestExtraBytes(t *testing.T) {
	for _, secure := range []bool{false, true} {
		main := newBackend(t, "main")
		var site string
		if secure {
			authority := newAuthority(t)
			main = serveBackend(t, "main", authority.listen(t, "localhost"))
			site = fmt.Sprintf("sites:\n  - server_name: example.com\n    synapse: { main: { url: %q, ca_file: %q, server_name: localhost } }\n",
				strings.Replace(main.url(), "http:", "https:", 1), authority.file)
		} else {
			site = oneSite(main, "")
		}
		body := strings.Repeat("b", 9000)
		main.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
			fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(body))
			time.Sleep(20 * time.Millisecond)
			io.WriteString(w, body+"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
			return true
		})
		f := newFront(t, site)
		for range 3 {
			if resp, text := do(t, f.client(f.https, false), "GET", "https://matrix.example.com/_matrix/client/versions", nil); text != body {
				t.Errorf("secure=%v: %s %.20q of %d bytes", secure, resp.Status, text, len(text))
			}
		}
	}
}
