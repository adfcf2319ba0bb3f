package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// hidden is a request that a client wrote where the rest of a body belongs.
const hidden = "GET /_matrix/hidden HTTP/1.1\r\nHost: matrix.example.com\r\n\r\n"

// TestRestOfBodyIsNoRequest: after a body that was not read to its end, what
// follows on the connection is never taken for another request. A proxy in
// front of us may have put another client's request there.
func TestRestOfBodyIsNoRequest(t *testing.T) {
	main := newBackend(t, "main")
	f := newFront(t, oneSite(main, ""))
	is := func(name, request string) {
		t.Helper()
		main.forget()
		c := f.rawConn(f.https, "http/1.1")
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(c)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		io.Copy(io.Discard, resp.Body)
		io.WriteString(c, hidden)
		if second, err := http.ReadResponse(r, nil); err == nil {
			t.Errorf("%s: after %s came another answer: %s", name, resp.Status, second.Status)
		}
		main.mu.Lock()
		defer main.mu.Unlock()
		for _, s := range main.seen {
			if strings.Contains(s.line, "hidden") {
				t.Errorf("%s: the back end got the hidden request", name)
			}
		}
	}
	post := "POST /_matrix/client/v3/login HTTP/1.1\r\nHost: matrix.example.com\r\n"
	is("chunk longer than its size", post+"Transfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n"+hidden)
	is("chunk size that is no number", post+"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nq\r\n"+hidden)

	main.answers(func(w net.Conn, _ *bufio.Reader, s seen) bool {
		fmt.Fprint(w, "HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nlong")
		return false
	})
	early := post + "Expect-No-Body-Read: 1\r\n"
	is("early answer, rest to come", early+"Content-Length: 20000\r\n\r\n"+strings.Repeat("x", 20000-len(hidden)-1))
	is("early answer, chunks to come", early+"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
	is("refused", strings.Replace(post, "/_matrix/client/v3/login", "/_synapse/admin/v1/x", 1)+"Content-Length: 20000\r\n\r\n")
}
