package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"vestibule/configs"
)

// TestMaxUpload: what is too large is refused by its declared length before the
// back end hears of it; without one, as soon as it is. What is as large as may be
// passes, and so does what is no upload.
func TestMaxUpload(t *testing.T) {
	const most, upload = 100 << 10, "https://matrix.example.com/_matrix/media/v3/upload"
	hidden := func(n int) io.Reader { return struct{ io.Reader }{strings.NewReader(strings.Repeat("x", n))} }
	for _, h2 := range []bool{false, true} {
		main := newBackend(t, "main")
		f := newFront(t, fmt.Sprintf("sites:\n  - server_name: example.com\n    synapse: { main: %q, max_upload: 100KiB }\n", main.url()))
		c := f.client(f.https, h2)
		is := func(method, url string, body io.Reader, status, asked int) {
			t.Helper()
			before, _ := main.count()
			resp, text := do(t, c, method, url, body)
			if resp.StatusCode != status {
				t.Errorf("h2=%v %s: %s", h2, url, resp.Status)
			}
			if status == 413 && (!strings.Contains(text, `"M_TOO_LARGE"`) || resp.Header.Get("Access-Control-Allow-Origin") != "*") {
				t.Errorf("h2=%v: %v %s", h2, resp.Header, text)
			}
			if after, _ := main.count(); after-before != asked {
				t.Errorf("h2=%v %s: the back end got %d requests, want %d", h2, url, after-before, asked)
			}
		}
		is("POST", upload, strings.NewReader(strings.Repeat("x", most)), 200, 1)
		if got := main.last(t).field.Get("Content-Length"); got != "102400" {
			t.Errorf("h2=%v: the declared length arrives as %q", h2, got)
		}
		is("POST", upload, strings.NewReader(strings.Repeat("x", most+1)), 413, 0)
		is("POST", upload, hidden(most), 200, 1)
		is("POST", upload, hidden(most+1), 413, 0)
		is("POST", upload, hidden(10*most), 413, 0)
		is("PUT", "https://matrix.example.com/_matrix/federation/v1/send/1", strings.NewReader(strings.Repeat("x", 2*most)), 200, 1)
		is("PUT", "https://matrix.example.com/_matrix/federation/v1/send/1", hidden(plainBody+1), 413, 0)
		is("GET", "https://matrix.example.com/_matrix/client/versions", nil, 200, 1)
	}
}

// TestMaxUploadCloses: the connection on which half a request lies is closed, and
// what the back end said to it goes to nobody.
func TestMaxUploadCloses(t *testing.T) {
	main := newBackend(t, "main")
	f := newFront(t, fmt.Sprintf("sites:\n  - server_name: example.com\n    synapse: { main: %q, max_upload: 64KiB }\n", main.url()))
	ended := make(chan int64, 1)
	main.answers(func(_ net.Conn, r *bufio.Reader, s seen) bool {
		if strings.HasPrefix(s.line, "GET") {
			return false
		}
		n, _ := io.Copy(io.Discard, r)
		ended <- n
		return false
	})
	c := f.rawConn(f.https, "http/1.1")
	fmt.Fprint(c, "POST /_matrix/media/v3/upload HTTP/1.1\r\nHost: matrix.example.com\r\nExpect-No-Body-Read: 1\r\nTransfer-Encoding: chunked\r\n\r\n")
	for range 5 { // and nothing after: the body is too large already
		fmt.Fprintf(c, "4000\r\n%s\r\n", strings.Repeat("x", 0x4000))
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != 413 || !resp.Close {
		t.Fatal(resp, err)
	}
	select {
	case n := <-ended:
		if n > 65<<10 {
			t.Errorf("the back end got %d bytes of what is too large", n)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the back end still waits")
	}
}

func TestMaxBody(t *testing.T) {
	for _, is := range []struct {
		upload   configs.Size
		endpoint configs.Class
		want     configs.Size
	}{
		{0, configs.ClassMedia, 0},
		{0, configs.ClassFederationInbound, 0},
		{1 << 20, configs.ClassMedia, 1 << 20},
		{1 << 20, configs.ClassFederationInbound, 13107200},
		{1 << 30, configs.ClassFederationInbound, 1 << 30},
	} {
		if got := maxBody(is.upload, is.endpoint); got != is.want {
			t.Errorf("%v: %d", is, got)
		}
	}
}
