package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

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
