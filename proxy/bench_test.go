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
)

// BenchmarkForward is one request after another on one connection, through
// net/http's server and a pooled connection to a back end; client, front door
// and back end share the process.
func BenchmarkForward(b *testing.B) {
	main := newBackend(b, "main")
	f := newFront(b, oneSite(main, ""))
	c := f.rawConn(f.https, "http/1.1")
	c.SetDeadline(time.Time{})
	r := bufio.NewReader(c)
	request := []byte("GET /_matrix/client/v3/rooms/%21a%3Aexample.com/state HTTP/1.1\r\nHost: matrix.example.com\r\n" +
		"Authorization: Bearer syt_YWxpY2U_abcdefghijklmnopqrst_0aBcDe\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(request); err != nil {
			b.Fatal(err)
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, resp.Body); n != 4 || err != nil {
			b.Fatal(fmt.Errorf("%d bytes: %w", n, err))
		}
	}
}

// BenchmarkForwardBody is BenchmarkForward for a message that is sent, over
// HTTP/1.1 and HTTP/2, whose client shares the process too.
func BenchmarkForwardBody(b *testing.B) {
	for _, h2 := range []bool{false, true} {
		b.Run(fmt.Sprintf("h2=%v", h2), func(b *testing.B) {
			main := newBackend(b, "main")
			main.forgetful = true
			f := newFront(b, oneSite(main, ""))
			client := f.client(f.https, h2)
			b.ReportAllocs()
			for b.Loop() {
				do(b, client, "PUT", "https://matrix.example.com/_matrix/client/v3/rooms/%21a%3Aexample.com/send/m.room.message/1", strings.NewReader(`{"body":"hello"}`))
			}
		})
	}
}

// BenchmarkDownload is a picture of 8 MiB, over HTTP/1.1 and HTTP/2.
func BenchmarkDownload(b *testing.B) {
	for _, h2 := range []bool{false, true} {
		b.Run(fmt.Sprintf("h2=%v", h2), func(b *testing.B) {
			main := newBackend(b, "main")
			main.forgetful = true
			answer := counted("Content-Type: image/png\r\n", strings.Repeat("x", 8<<20))
			main.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
				_, err := io.WriteString(w, answer)
				return err == nil
			})
			f := newFront(b, oneSite(main, ""))
			client := f.client(f.https, h2)
			b.SetBytes(8 << 20)
			for b.Loop() {
				resp, err := client.Get("https://matrix.example.com/_matrix/client/v1/media/download/a/b")
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, resp.Body); n != 8<<20 || err != nil {
					b.Fatal(fmt.Errorf("%d bytes: %w", n, err))
				}
				resp.Body.Close()
			}
		})
	}
}

// BenchmarkSync is a sync of 100 KiB as Synapse sends it, in chunks of 1 KiB.
// "ratio" is by how much the body became smaller.
func BenchmarkSync(b *testing.B) {
	body := syncBody(100 << 10)
	for _, accept := range []string{"identity", "zstd", "br", "gzip"} {
		b.Run(accept, func(b *testing.B) {
			main := newBackend(b, "main")
			main.forgetful = true
			answer := chunked("Content-Type: application/json\r\n", 1<<10, body)
			main.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
				_, err := io.WriteString(w, answer)
				return err == nil
			})
			f := newFront(b, oneSite(main, ""))
			client := f.client(f.https, true)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			sent := 0
			for b.Loop() {
				_, text := do(b, client, "GET", "https://matrix.example.com/_matrix/client/v3/sync", nil, "Accept-Encoding", accept)
				sent = len(text)
			}
			b.ReportMetric(float64(len(body))/float64(sent), "ratio")
		})
	}
}
