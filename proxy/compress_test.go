package proxy

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"vestibule/routing"
)

// eachCompressed runs a test for every front end, protocol and coding.
func eachCompressed(t *testing.T, sites func(main *backend) string, try func(t *testing.T, d *door, coding string)) {
	t.Helper()
	eachEngine(t, func(t *testing.T, e engine) {
		for _, h2 := range []bool{false, true} {
			for _, coding := range []string{"zstd", "br", "gzip"} {
				t.Run(fmt.Sprintf("%s h2=%v", coding, h2), func(t *testing.T) {
					t.Parallel()
					main := newBackend(t, "main")
					d := &door{front: e.front(t, sites(main), true), main: main, h2: h2}
					d.client = d.front.client(d.https, h2)
					try(t, d, coding)
					d.noneUnderWay(t)
				})
			}
		}
	})
}

func justMain(main *backend) string { return oneSite(main, "") }

// noneUnderWay makes sure that every compressor has been given back.
func (d *door) noneUnderWay(t *testing.T) {
	t.Helper()
	eventually(t, "compressors are given back", func() bool { return d.proxy.compressors.n.Load() == 0 })
}

// decoder reads what is in a coding.
func decoder(t *testing.T, coding string, r io.Reader) io.Reader {
	t.Helper()
	switch coding {
	case "zstd":
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(d.Close)
		return d
	case "br":
		return brotli.NewReader(r)
	case "gzip":
		return &gzipReader{from: r}
	case "":
		return r
	}
	t.Fatalf("no coding is called %q", coding)
	return nil
}

// gzipReader reads the head with the first Read, as the others do.
type gzipReader struct {
	from io.Reader
	r    *gzip.Reader
}

func (g *gzipReader) Read(p []byte) (n int, err error) {
	if g.r == nil {
		if g.r, err = gzip.NewReader(g.from); err != nil {
			return 0, err
		}
	}
	return g.r.Read(p)
}

func decode(t *testing.T, coding, body string) string {
	t.Helper()
	text, err := io.ReadAll(decoder(t, coding, strings.NewReader(body)))
	if err != nil {
		t.Errorf("%d bytes of %s: %v", len(body), coding, err)
	}
	return string(text)
}

const jsonField = "Content-Type: application/json\r\n"

// counted is a whole answer of known length.
func counted(fields, body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s", fields, len(body), body)
}

// TestCompressed: whatever the framing of the back end's answer, the client gets
// it in the coding it asks for, and fields that tell so.
func TestCompressed(t *testing.T) {
	body := syncBody(70 << 10)
	fields := "content-type: application/json; charset=utf-8\r\nVary: Origin\r\nvary: Cookie\r\nETag: \"a\"\r\nAccept-Ranges: bytes\r\nX-Other: 1\r\n"
	eachCompressed(t, justMain, func(t *testing.T, d *door, coding string) {
		for name, text := range map[string]string{
			"a length":       counted(fields, body),
			"chunks":         chunked(fields, 1000, body),
			"large chunks":   chunked(fields, 50000, body),
			"the end":        "HTTP/1.1 200 OK\r\n" + fields + "\r\n" + body,
			"another status": strings.Replace(counted(fields, body), "200 OK", "404 Not Found", 1),
		} {
			d.answersWith(text, name != "the end")
			for _, method := range []string{"GET", "POST"} {
				resp, got := do(t, d.client, method, site+"/_matrix/client/v3/x", nil, "Accept-Encoding", "deflate, "+coding)
				h := resp.Header
				if h.Get("Content-Encoding") != coding || resp.ContentLength != -1 || h.Get("Content-Length") != "" || len(got) > len(body)/2 ||
					h.Get("ETag") != `W/"a"` || h.Get("Accept-Ranges") != "" || h.Get("X-Other") != "1" ||
					strings.Join(h.Values("Vary"), "|") != "Origin|Cookie, Accept-Encoding" {
					t.Errorf("%s: %d bytes, %v", name, len(got), h)
				}
				if decode(t, coding, got) != body {
					t.Errorf("%s: another body", name)
				}
				if f := d.main.last(t).field; f.Get("Accept-Encoding") != "deflate, "+coding {
					t.Errorf("the back end was asked for %q", f.Get("Accept-Encoding"))
				}
				d.logged(t, len(got))
			}
		}
	})
}

// logged makes sure that the log counts the body as it was sent.
func (d *door) logged(t *testing.T, sent int) {
	t.Helper()
	eventually(t, "the log counts what was sent", func() bool {
		lines := strings.Split(strings.TrimSpace(d.log.String()), "\n")
		var last struct{ Sent int }
		return json.Unmarshal([]byte(lines[len(lines)-1]), &last) == nil && last.Sent == sent
	})
}

// TestUncompressed: what stays as it is, and whether caches are told that it might
// not have.
func TestUncompressed(t *testing.T) {
	large, small := syncBody(4000), strings.Repeat("x", minCompressed-1)
	type fields = []string
	ask := fields{"Accept-Encoding", "zstd, br, gzip"}
	cases := []struct {
		name    string
		request fields
		answer  string
		vary    string
	}{
		{"nobody asked", nil, counted(jsonField, large), "Accept-Encoding"},
		{"nobody asked, chunks", nil, chunked(jsonField, 1000, large), "Accept-Encoding"},
		{"nothing that we have", fields{"Accept-Encoding", "deflate"}, counted(jsonField, large), "Accept-Encoding"},
		{"small", ask, counted(jsonField, small), ""},
		{"small, in chunks", ask, chunked(jsonField, 100, small), ""},
		{"empty", ask, counted(jsonField, ""), ""},
		{"no type", ask, counted("", large), ""},
		{"a picture", ask, counted("Content-Type: image/png\r\n", large), ""},
		{"events", ask, chunked("Content-Type: text/event-stream\r\n", 1000, large), ""},
		{"lines as they come", ask, chunked("Content-Type: application/x-ndjson\r\n", 1000, large), ""},
		{"text as it comes", ask, chunked("Content-Type: text/plain\r\n", 1000, large), ""},
		{"grpc", ask, chunked("Content-Type: application/grpc+json\r\n", 1000, large), ""},
		{"encoded already", ask, counted(jsonField+"Content-Encoding: deflate\r\nVary: Accept\r\n", large), "Accept"},
		{"encoded as identity", ask, counted(jsonField+"Content-Encoding: identity\r\n", large), ""},
		{"a part", ask, strings.Replace(counted(jsonField+"Content-Range: bytes 0-3999/9000\r\n", large), "200 OK", "206 Partial Content", 1), ""},
		{"a part without its range", ask, strings.Replace(counted(jsonField, large), "200 OK", "206 Partial Content", 1), ""},
		{"a range that is none", ask, strings.Replace(counted(jsonField+"Content-Range: bytes */9000\r\n", large), "200 OK", "416 Range Not Satisfiable", 1), ""},
		{"no transformation", ask, counted(jsonField+"Cache-Control: max-age=5, No-Transform\r\n", large), ""},
		{"no transformation for the client", append(fields{"Cache-Control", "no-transform"}, ask...), counted(jsonField, large), "Accept-Encoding"},
		{"digest", ask, counted(jsonField+"Content-Digest: sha-256=:YQ==:\r\n", large), ""},
		{"digest of the representation", ask, counted(jsonField+"Repr-Digest: sha-256=:YQ==:\r\n", large), ""},
		{"digest of old", ask, counted(jsonField+"Digest: sha-256=YQ==\r\n", large), ""},
		{"digest of older", ask, counted(jsonField+"Content-MD5: YQ==\r\n", large), ""},
		{"tag for If-Match", ask, counted("Content-Type: text/plain\r\nCache-Control: no-store\r\nETag: \"a\"\r\n", large), ""},
		{"tag that is none", ask, counted(jsonField+"ETag: 1\r\n", large), ""},
		{"cookie", append(fields{"Cookie", "a=b"}, ask...), counted("Content-Type: text/html\r\n", large), "Accept-Encoding"},
		{"cookie that is set", ask, counted("Content-Type: text/html\r\nSet-Cookie: a=b\r\n", large), "Accept-Encoding"},
		{"password", append(fields{"Authorization", "Basic YTpi"}, ask...), counted(jsonField, large), "Accept-Encoding"},
		{"password and cookie", append(fields{"Authorization", "Basic YTpi", "Cookie", "a=b"}, ask...), counted(jsonField, large), "Accept-Encoding"},
		{"tag", nil, counted(jsonField+"ETag: \"a\"\r\nAccept-Ranges: bytes\r\n", large), "Accept-Encoding"},
		{"varies already", nil, counted(jsonField+"Vary: origin,accept-encoding\r\n", large), "origin,accept-encoding"},
		{"varies with everything", nil, counted(jsonField+"Vary: *\r\n", large), "*"},
		{"varies with nothing", nil, counted(jsonField+"Vary:\r\n", large), "Accept-Encoding"},
	}
	eachEngine(t, func(t *testing.T, e engine) {
		main := newBackend(t, "main")
		d := &door{front: e.front(t, oneSite(main, ""), true), main: main}
		for _, h2 := range []bool{false, true} {
			d.client = d.front.client(d.https, h2)
			for _, c := range cases {
				d.answersWith(c.answer, true)
				resp, got := do(t, d.client, "GET", site+"/_matrix/client/v3/x", nil, c.request...)
				head, body, _ := strings.Cut(c.answer, "\r\n\r\n")
				if strings.Contains(head, "chunked") {
					if body = large; strings.Contains(c.name, "small") {
						body = small
					}
				}
				if got != body || strings.Join(resp.Header.Values("Vary"), "|") != c.vary {
					t.Errorf("%s h2=%v: %d bytes, %v", c.name, h2, len(got), resp.Header)
				}
				for _, line := range strings.Split(head, "\r\n")[1:] {
					name, value, _ := strings.Cut(line, ":")
					if name != "Vary" && name != "Transfer-Encoding" && resp.Header.Get(name) != strings.TrimSpace(value) {
						t.Errorf("%s h2=%v: %s is %q", c.name, h2, name, resp.Header.Get(name))
					}
				}
				if !strings.Contains(head, "Content-Encoding") && resp.Header.Get("Content-Encoding") != "" {
					t.Errorf("%s h2=%v: %v", c.name, h2, resp.Header)
				}
			}
		}
		d.noneUnderWay(t)
	})
}

// TestCompressedRequests: who gets answers compressed although they carry
// something of a session, and where nobody does.
func TestCompressedRequests(t *testing.T) {
	large := syncBody(4000)
	main, other := newBackend(t, "main"), newBackend(t, "other")
	text := oneSite(main, fmt.Sprintf("    element: { upstream: %q }\n    internal: { addresses: [INTERNAL] }\n", other.url()))
	f := newFront(t, text)
	answers := func(fields string) {
		for _, b := range []*backend{main, other} {
			b.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
				_, err := io.WriteString(w, counted(fields, large))
				return err == nil
			})
		}
	}
	get := func(address, url string, fields ...string) string {
		t.Helper()
		resp, got := do(t, f.client(address, false), "GET", url, nil, append(fields, "Accept-Encoding", "gzip")...)
		coding := resp.Header.Get("Content-Encoding")
		if resp.StatusCode != 200 || decode(t, coding, got) != large {
			t.Errorf("%s: %s, %d bytes", url, resp.Status, len(got))
		}
		return coding
	}
	expect := func(want, got, what string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	answers(jsonField)
	expect("gzip", get(f.https, site+"/_matrix/client/v3/sync", "Authorization", "Bearer x"), "a token")
	expect("gzip", get(f.https, site+"/_matrix/client/v3/sync", "authorization", "bearer x", "Cookie", "a=b"), "a cookie beside a token")
	expect("gzip", get(f.fed, "https://matrix.example.com:8448/_matrix/federation/v1/event/a", "Authorization", "X-Matrix origin=o"), "another server")
	expect("", get(f.https, site+"/_matrix/client/v1/media/download/o/a"), "media")
	expect("", get(f.internal, "http://matrix.example.com:8008/_matrix/client/v3/sync"), "the internal entrypoint")
	expect("gzip", get(f.https, "https://element.example.com/config.json"), "another component")
	expect("", get(f.https, "https://element.example.com/config.json", "Cookie", "a=b"), "a cookie there")
	answers("Content-Type: text/javascript; charset=utf-8\r\n")
	expect("gzip", get(f.https, "https://element.example.com/a.js", "Cookie", "a=b"), "a program for everybody")

	if err := f.proxy.Apply(f.load(strings.Replace(text, "sites:", "compression: false\nsites:", 1)), nil); err != nil {
		t.Fatal(err)
	}
	expect("", get(f.https, "https://element.example.com/a.js"), "turned off")
}

// TestUncompressedOld: HTTP/1.0 has no chunks, so that a client could not see that
// an answer without a length broke off.
func TestUncompressedOld(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		main := newBackend(t, "main")
		large := syncBody(4000)
		main.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
			io.WriteString(w, counted(jsonField, large))
			return true
		})
		f := e.front(t, oneSite(main, ""), false)
		c, err := net.Dial("tcp", f.https)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(c, "GET /_matrix/x HTTP/1.0\r\nHost: matrix.example.com\r\nAccept-Encoding: gzip\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got, err := io.ReadAll(resp.Body); string(got) != large || resp.ContentLength != int64(len(large)) || err != nil {
			t.Errorf("%d bytes, %v, %v", len(got), err, resp.Header)
		}
	})
}

// TestCompressedHead: HEAD is answered with the fields of GET, but for what only
// the body of a GET could tell (RFC 9110, section 9.3.2).
func TestCompressedHead(t *testing.T) {
	fields := jsonField + "ETag: \"a\"\r\nAccept-Ranges: bytes\r\n"
	eachCompressed(t, justMain, func(t *testing.T, d *door, coding string) {
		for _, c := range []struct{ answer, coding, etag, length, vary string }{
			{"HTTP/1.1 200 OK\r\n" + fields + "Content-Length: 5000\r\n\r\n", coding, `W/"a"`, "", "Accept-Encoding"},
			{"HTTP/1.1 200 OK\r\n" + fields + "Content-Length: 50\r\n\r\n", "", `"a"`, "50", ""},
			{"HTTP/1.1 200 OK\r\n" + fields + "Transfer-Encoding: chunked\r\n\r\n", "", `"a"`, "", "Accept-Encoding"},
		} {
			d.answersWith(c.answer, true)
			resp, got := do(t, d.client, "HEAD", site+"/_matrix/x", nil, "Accept-Encoding", coding)
			h := resp.Header
			if got != "" || h.Get("Content-Encoding") != c.coding || h.Get("ETag") != c.etag || h.Get("Content-Length") != c.length || h.Get("Vary") != c.vary {
				t.Errorf("%q: %v", c.answer, h)
			}
		}
	})
}

// TestCompressedNotModified: who asks with the weak tag that it got from us is
// told of that one, not of the strong one that the back end knows.
func TestCompressedNotModified(t *testing.T) {
	eachCompressed(t, justMain, func(t *testing.T, d *door, coding string) {
		for _, c := range []struct{ asked, answered, etag, vary string }{
			{`W/"a"`, `"a"`, `W/"a"`, "Accept-Encoding"},
			{`"b", W/"a"`, `"a"`, `W/"a"`, "Accept-Encoding"},
			{`"a", W/"a"`, `"a"`, `W/"a"`, "Accept-Encoding"},
			{`"a"`, `"a"`, `"a"`, ""},
			{`W/"b", "a"`, `"a"`, `"a"`, ""},
			{`W/"a"`, `W/"a"`, `W/"a"`, ""},
			{`*`, `"a"`, `"a"`, ""},
		} {
			d.answersWith("HTTP/1.1 304 Not Modified\r\nETag: "+c.answered+"\r\n\r\n", true)
			resp, body := do(t, d.client, "GET", site+"/_matrix/x", nil, "Accept-Encoding", coding, "If-None-Match", c.asked)
			if got := d.main.last(t).field.Get("If-None-Match"); got != c.asked {
				t.Errorf("%s arrived as %s", c.asked, got)
			}
			h := resp.Header
			if resp.StatusCode != 304 || body != "" || h.Get("ETag") != c.etag || h.Get("Vary") != c.vary || h.Get("Content-Encoding") != "" {
				t.Errorf("%s, %s: %s %v", c.asked, c.answered, resp.Status, h)
			}
		}
	})
}

// TestCompressedPieces: what the back end has sent can be read before it sends
// more, and the head before any of it. Small pieces are compressed too: how many
// will come, nobody knows.
func TestCompressedPieces(t *testing.T) {
	eachCompressed(t, justMain, func(t *testing.T, d *door, coding string) {
		next := make(chan string)
		d.main.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
			io.WriteString(w, "HTTP/1.1 200 OK\r\n"+jsonField+"Transfer-Encoding: chunked\r\n\r\n")
			for piece := range next {
				fmt.Fprintf(w, "%x\r\n%s\r\n", len(piece), piece)
			}
			io.WriteString(w, "0\r\n\r\n")
			return true
		})
		req, _ := http.NewRequest("GET", site+"/_matrix/client/v3/sync", nil)
		req.Header.Set("Accept-Encoding", coding)
		resp, err := d.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body := decoder(t, coding, resp.Body)
		for i, piece := range []string{"{", `"a":`, strings.Repeat(" ", 70000), syncBody(5000), "1", "}"} {
			next <- piece
			got := make([]byte, len(piece))
			if _, err := io.ReadFull(body, got); err != nil || string(got) != piece {
				t.Fatalf("piece %d: %.100q %v", i, got, err)
			}
		}
		close(next)
		if rest, err := io.ReadAll(body); len(rest) > 0 || err != nil {
			t.Errorf("at the end %q %v", rest, err)
		}
	})
}

// TestCompressedNothing: a body that turns out to be empty when its coding has
// been announced is a whole one all the same.
func TestCompressedNothing(t *testing.T) {
	eachCompressed(t, justMain, func(t *testing.T, d *door, coding string) {
		head := make(chan bool)
		d.main.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
			io.WriteString(w, "HTTP/1.1 200 OK\r\n"+jsonField+"Transfer-Encoding: chunked\r\n\r\n")
			<-head
			io.WriteString(w, "0\r\n\r\n")
			return true
		})
		req, _ := http.NewRequest("GET", site+"/_matrix/x", nil)
		req.Header.Set("Accept-Encoding", coding)
		resp, err := d.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		close(head)
		if text, err := io.ReadAll(decoder(t, coding, resp.Body)); len(text) > 0 || err != nil || resp.Header.Get("Content-Encoding") != coding {
			t.Errorf("%q %v %v", text, err, resp.Header)
		}
	})
}

// TestCompressedBreak: when the back end leaves inside its answer, the client sees
// a broken one, and the next answer is none the worse for it.
func TestCompressedBreak(t *testing.T) {
	body := syncBody(70000)
	eachCompressed(t, justMain, func(t *testing.T, d *door, coding string) {
		whole := chunked(jsonField, 5000, body)
		for _, begin := range []string{whole[:200], whole[:40000], whole[:len(whole)-2], counted(jsonField, body)[:50000],
			strings.TrimSuffix(whole, "0\r\n\r\n") + "x\r\n"} {
			d.answersWith(begin, false)
			req, _ := http.NewRequest("GET", site+"/_matrix/x", nil)
			req.Header.Set("Accept-Encoding", coding)
			if resp, err := d.client.Do(req); err == nil { // else the head was not sent on alone
				raw, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err == nil {
					t.Errorf("after %d bytes: the answer looks whole", len(begin))
				}
				if text, err := io.ReadAll(decoder(t, coding, bytes.NewReader(raw))); err == nil || !strings.HasPrefix(body, string(text)) {
					t.Errorf("after %d bytes: %d bytes that look whole, or others", len(begin), len(text))
				}
			}
			d.answersWith(whole, true)
			if _, got := do(t, d.client, "GET", site+"/_matrix/x", nil, "Accept-Encoding", coding); decode(t, coding, got) != body {
				t.Error("the next answer is another")
			}
		}
	})
}

// TestCompressedNoEnd: an answer that broke off does not get the end of its coding,
// not even for a client that sees nothing else.
func TestCompressedNoEnd(t *testing.T) {
	main := newBackend(t, "main")
	body := syncBody(20000)
	main.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
		io.WriteString(w, strings.TrimSuffix(chunked(jsonField, 1000, body), "0\r\n\r\n"))
		return false
	})
	f := newFront(t, oneSite(main, ""))
	for _, coding := range []string{"zstd", "br", "gzip"} {
		client := &noted{}
		f.proxy.Serve(&Request{Context: t.Context(), Entrypoint: &Entrypoint{Role: routing.HTTPS}, Proto: "HTTP/2.0", Method: "GET",
			Target: "/_matrix/x", Host: "matrix.example.com", Header: Header{{"Accept-Encoding", coding}}}, client)
		if text, err := io.ReadAll(decoder(t, coding, &client.body)); err == nil || !client.aborted || !strings.HasPrefix(body, string(text)) {
			t.Errorf("%s: aborted %v, %d bytes, %v", coding, client.aborted, len(text), err)
		}
	}
}

// noted is a client that notes what it gets.
type noted struct {
	body    bytes.Buffer
	aborted bool
}

func (n *noted) Inform(int, Header)            {}
func (n *noted) Head(int, Header, int64)       {}
func (n *noted) Write(p []byte) (int, error)   { return n.body.Write(p) }
func (n *noted) Flush() error                  { return nil }
func (n *noted) Trailer(Header)                {}
func (n *noted) Abort()                        { n.aborted = true }
func (n *noted) Switch(Header) (Tunnel, error) { return nil, errors.ErrUnsupported }

// TestCompressedLeft: a client that leaves frees its back end and its compressor.
func TestCompressedLeft(t *testing.T) {
	eachCompressed(t, justMain, func(t *testing.T, d *door, coding string) {
		ended := d.gone("HTTP/1.1 200 OK\r\n" + jsonField + "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		req, _ := http.NewRequestWithContext(ctx, "GET", site+"/_matrix/x", nil)
		req.Header.Set("Accept-Encoding", coding)
		resp, err := d.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		half := make([]byte, 4)
		if _, err := io.ReadFull(decoder(t, coding, resp.Body), half); err != nil || string(half) != "half" {
			t.Fatal(half, err)
		}
		leave()
		resp.Body.Close()
		within(t, 20*time.Second, "the back end is free", ended)
		d.stillWorks(t)
	})
}

// TestCompressedTrailer: fields after the body come through, but for checksums of
// what the client does not get.
func TestCompressedTrailer(t *testing.T) {
	body := syncBody(5000)
	eachCompressed(t, justMain, func(t *testing.T, d *door, coding string) {
		d.answersWith(strings.TrimSuffix(chunked(jsonField, 1000, body), "\r\n")+"X-Sum: 1\r\nContent-Digest: sha-256=:YQ==:\r\n\r\n", true)
		resp, got := do(t, d.client, "GET", site+"/_matrix/x", nil, "TE", "trailers", "Accept-Encoding", coding)
		if decode(t, coding, got) != body || resp.Trailer.Get("X-Sum") != "1" || len(resp.Trailer) != 1 {
			t.Errorf("%d bytes, %v", len(got), resp.Trailer)
		}
	})
}

// TestCompressedEvents: events come as they happen, and as they are.
func TestCompressedEvents(t *testing.T) {
	eachCompressed(t, justMain, func(t *testing.T, d *door, coding string) {
		next := make(chan string)
		d.main.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
			io.WriteString(w, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n")
			for event := range next {
				io.WriteString(w, event)
			}
			return false
		})
		req, _ := http.NewRequest("GET", site+"/_matrix/x", nil)
		req.Header.Set("Accept-Encoding", coding)
		resp, err := d.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		for i := range 20 {
			event := fmt.Sprintf("data: %d %s\n\n", i, strings.Repeat("x", 100*i))
			next <- event
			expectBytes(t, "event", resp.Body, event)
		}
		close(next)
		expectEnd(t, "after the last", resp.Body, "")
		if resp.Header.Get("Content-Encoding")+resp.Header.Get("Vary") != "" {
			t.Error(resp.Header)
		}
	})
}

// TestCompressedTunnel: who upgrades its connection gets the bytes of the other
// side, whatever else it asks for.
func TestCompressedTunnel(t *testing.T) {
	main, app := newBackend(t, "main"), newBackend(t, "app")
	message := strings.Repeat("message ", 1000)
	app.answers(func(w net.Conn, r *bufio.Reader, _ seen) bool {
		io.WriteString(w, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Type: application/json\r\n\r\n"+message)
		return false
	})
	f := newFront(t, oneSite(main, fmt.Sprintf("    ntfy: { upstream: %q }\n", app.url())))
	c := f.rawConn(f.https, "http/1.1")
	io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: ntfy.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nAccept-Encoding: gzip\r\n\r\n")
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Content-Encoding")+resp.Header.Get("Vary") != "" {
		t.Fatal(resp, err)
	}
	expectBytes(t, "from the back end", r, message)
}

// TestCompressedDocument: our own documents are compressed when that is worth it.
func TestCompressedDocument(t *testing.T) {
	large := Answer{Status: 200, Header: Header{{"Content-Type", "application/json"}, {"ETag", `"a"`}}, Body: []byte(syncBody(3000))}
	small := Answer{Status: 200, Header: large.Header, Body: []byte("{}")}
	main := newBackend(t, "main")
	f := newFront(t, oneSite(main, ""))
	locals := map[string]Local{"example.com": func(_, document string, header func(string) string) Answer {
		switch {
		case document == "server":
			return small
		case header("If-None-Match") == `W/"a"`:
			return Answer{Status: 304, Header: Header{{"ETag", `"a"`}}}
		}
		answer := large
		answer.Header = append(Header{}, large.Header...)
		return answer
	}}
	if err := f.proxy.Apply(f.proxy.Config(), locals); err != nil {
		t.Fatal(err)
	}
	for _, h2 := range []bool{false, true} {
		c := f.client(f.https, h2)
		for _, coding := range []string{"zstd", "br", "gzip"} {
			resp, got := do(t, c, "GET", site+"/.well-known/matrix/client", nil, "Accept-Encoding", coding)
			if decode(t, coding, got) != string(large.Body) || resp.Header.Get("Content-Encoding") != coding || resp.Header.Get("ETag") != `W/"a"` {
				t.Errorf("%s: %d bytes, %v", coding, len(got), resp.Header)
			}
			resp, got = do(t, c, "HEAD", site+"/.well-known/matrix/client", nil, "Accept-Encoding", coding)
			if got != "" || resp.Header.Get("Content-Encoding") != coding || resp.Header.Get("Content-Length") != "" {
				t.Errorf("%s: HEAD: %v", coding, resp.Header)
			}
			resp, _ = do(t, c, "GET", site+"/.well-known/matrix/client", nil, "Accept-Encoding", coding, "If-None-Match", `W/"a"`)
			if resp.StatusCode != 304 || resp.Header.Get("ETag") != `W/"a"` {
				t.Errorf("%s: %s %v", coding, resp.Status, resp.Header)
			}
			resp, got = do(t, c, "GET", site+"/.well-known/matrix/server", nil, "Accept-Encoding", coding)
			if got != "{}" || resp.Header.Get("Content-Encoding")+resp.Header.Get("Vary") != "" {
				t.Errorf("%s: %q %v", coding, got, resp.Header)
			}
		}
	}
}

// TestCompressorsBound: no more than maxCompressors work at a time; who comes then
// gets the answer as it is, and afterwards nothing is left.
func TestCompressorsBound(t *testing.T) {
	body := syncBody(5000)
	for _, coding := range []string{"zstd", "br", "gzip"} {
		main := newBackend(t, "main")
		release := make(chan bool)
		main.answers(func(w net.Conn, _ *bufio.Reader, _ seen) bool {
			text := chunked(jsonField, 8000, body)
			io.WriteString(w, strings.TrimSuffix(text, "0\r\n\r\n"))
			<-release
			io.WriteString(w, "0\r\n\r\n")
			return true
		})
		f := newFront(t, oneSite(main, ""))
		client := f.client(f.https, true)
		client.Timeout = 2 * time.Minute
		const asked = maxCompressors + 20
		goroutines := runtime.NumGoroutine()
		type answer struct {
			resp *http.Response
			text io.Reader
		}
		answers := make([]answer, asked)
		var wg sync.WaitGroup
		for i := range answers {
			wg.Go(func() {
				req, _ := http.NewRequest("GET", fmt.Sprintf("%s/_matrix/client/v3/sync?%d", site, i), nil)
				req.Header.Set("Accept-Encoding", coding)
				resp, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				answers[i] = answer{resp, decoder(t, resp.Header.Get("Content-Encoding"), resp.Body)}
				if _, err := io.CopyN(io.Discard, answers[i].text, int64(len(body))); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if t.Failed() {
			close(release)
			return
		}
		compressed := 0
		for _, a := range answers {
			if a.resp.Header.Get("Content-Encoding") == coding {
				compressed++
			}
			if a.resp.Header.Get("Vary") != "Accept-Encoding" {
				t.Error(a.resp.Header)
			}
		}
		if compressed != maxCompressors {
			t.Errorf("%s: %d of %d are compressed", coding, compressed, asked)
		}
		close(release)
		for _, a := range answers {
			if rest, err := io.ReadAll(a.text); len(rest) > 0 || err != nil {
				t.Errorf("%s: at the end %d bytes, %v", coding, len(rest), err)
			}
			a.resp.Body.Close()
		}
		eventually(t, "compressors are given back", func() bool { return f.proxy.compressors.n.Load() == 0 })
		client.CloseIdleConnections()
		f.proxy.Close()
		eventually(t, "nobody works on", func() bool { return runtime.NumGoroutine() <= goroutines+8 })
	}
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestEncoderMemory: an encoder that has seen a long body keeps no more than its
// share of what maxCompressors allows.
func TestEncoderMemory(t *testing.T) {
	body := syncBody(600 << 10)
	for c := zstdCoding; int(c) < codings; c++ {
		const many = 4
		kept := make([]encoder, many)
		before := heapInUse()
		for i := range kept {
			kept[i] = encoders[c].New().(encoder)
			kept[i].Reset(io.Discard)
			if _, err := io.WriteString(kept[i], body); err != nil {
				t.Fatal(err)
			}
			if err := kept[i].Flush(); err != nil {
				t.Fatal(err)
			}
		}
		if each := (heapInUse() - before) / many; each > 3<<19 {
			t.Errorf("%v: %d KiB each", c, each>>10)
		}
		runtime.KeepAlive(kept)
	}
}

// TestEncoderReset: an encoder that failed or was left in the middle works for the
// next as a new one would.
func TestEncoderReset(t *testing.T) {
	body := syncBody(200 << 10)
	for c := zstdCoding; int(c) < codings; c++ {
		e := encoders[c].New().(encoder)
		for i := range 6 {
			e.Reset(&failing{after: i * 10000})
			for at := 0; at < len(body); at += 20000 {
				_, err := io.WriteString(e, body[at:min(at+20000, len(body))])
				if err == nil && i%2 == 0 {
					err = e.Flush()
				}
				if err != nil {
					break
				}
			}
			e.Reset(nil)
			var out bytes.Buffer
			e.Reset(&out)
			if _, err := io.WriteString(e, body); err != nil {
				t.Fatal(err)
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			if decode(t, c.String(), out.String()) != body {
				t.Fatalf("%v: another body", c)
			}
		}
	}
}

// failing takes so many bytes.
type failing struct{ after int }

func (f *failing) Write(p []byte) (int, error) {
	if f.after -= len(p); f.after < 0 {
		return 0, errors.New("no more")
	}
	return len(p), nil
}

// TestEncodeFree: for who asks for nothing, and for what is too small, deciding
// costs no memory.
func TestEncodeFree(t *testing.T) {
	f := newFront(t, oneSite(newBackend(t, "main"), ""))
	x := &exchange{proxy: f.proxy, state: f.proxy.state.Load(), req: &Request{Entrypoint: &Entrypoint{}, Header: Header{
		{"Accept", "*/*"}, {"Authorization", "Bearer x"}, {"User-Agent", "test"}}}}
	h := make(Header, 0, 16)
	for name, size := range map[string]int64{"small": 100, "large": 100000, "unknown": -1} {
		if n := testing.AllocsPerRun(100, func() {
			h = append(h[:0], Field{"Content-Type", "application/json"}, Field{"Cache-Control", "no-cache, no-store"}, Field{"Server", "Synapse"})
			x.encode(200, h, size)
		}); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	x.req.Header = append(x.req.Header, Field{"Accept-Encoding", "gzip, deflate, br, zstd"})
	if n := testing.AllocsPerRun(100, func() {
		h = append(h[:0], Field{"Content-Type", "application/json"}, Field{"Server", "Synapse"})
		x.encode(200, h, 100000)
		x.release()
	}); n > 0 {
		t.Errorf("compressed: %v allocations", n)
	}
}

func TestKinds(t *testing.T) {
	for contentType, want := range map[string]media{
		"application/json":                  kindDocument,
		"Application/JSON ; charset=utf-8":  kindDocument,
		"application/problem+json":          kindDocument,
		"application/atom+xml":              kindDocument,
		"text/html; charset=utf-8":          kindDocument,
		"text/plain":                        kindText,
		"text/css":                          kindAsset,
		"text/javascript":                   kindAsset,
		"application/javascript":            kindAsset,
		"image/svg+xml":                     kindAsset,
		"application/wasm":                  kindAsset,
		"application/manifest+json":         kindAsset,
		"":                                  kindOpaque,
		"text":                              kindOpaque,
		"text/event-stream":                 kindOpaque,
		"Text/Event-Stream; charset=utf-8":  kindOpaque,
		"application/grpc":                  kindOpaque,
		"application/grpc-web+proto":        kindOpaque,
		"application/grpc+json":             kindOpaque,
		"application/x-ndjson":              kindOpaque,
		"application/octet-stream":          kindOpaque,
		"multipart/mixed; boundary=x":       kindOpaque,
		"image/png":                         kindOpaque,
		"font/woff2":                        kindOpaque,
		"application/zip":                   kindOpaque,
		"text/" + strings.Repeat("x", 100):  kindOpaque,
		"application/json, application/xml": kindOpaque,
	} {
		if got := kindOf(contentType); got != want {
			t.Errorf("%s: %v, want %v", contentType, got, want)
		}
	}
}

// syncBody is JSON of at least that many bytes that compresses like the answer to
// a sync: words and names come again, identifiers do not.
func syncBody(size int) string {
	r := rand.New(rand.NewPCG(1, 2))
	word := func(n int) string {
		const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
		text := make([]byte, n)
		for i := range text {
			text[i] = letters[r.IntN(len(letters))]
		}
		return string(text)
	}
	words := make([]string, 400)
	for i := range words {
		words[i] = word(2 + r.IntN(8))
	}
	var b strings.Builder
	b.WriteString(`{"next_batch":"s72595_4483_1934","rooms":{"join":{"!room:example.org":{"timeline":{"events":[`)
	for b.Len() < size {
		b.WriteString(`{"type":"m.room.message","sender":"@` + words[r.IntN(40)] + `:example.org","content":{"body":"`)
		for range 12 {
			b.WriteString(words[r.IntN(len(words))] + " ")
		}
		fmt.Fprintf(&b, `","msgtype":"m.text"},"origin_server_ts":%d,"event_id":"$%s"},`, 1700000000000+r.Int64N(1e9), word(43))
	}
	return b.String() + `{}]}}}}}`
}

// chunked is a whole answer in chunks of that many bytes.
func chunked(fields string, size int, body string) string {
	var b strings.Builder
	b.WriteString("HTTP/1.1 200 OK\r\n" + fields + "Transfer-Encoding: chunked\r\n\r\n")
	for body != "" {
		n := min(size, len(body))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return b.String() + "0\r\n\r\n"
}
