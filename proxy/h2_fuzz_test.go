package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// loud is a log that must stay empty.
type loud struct {
	slog.Handler
	t *testing.T
}

func (l loud) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool { l.t.Errorf("logged: %v", a); return true })
	return nil
}

func (loud) Enabled(context.Context, slog.Level) bool { return true }

// whimsical is a back end whose answer depends on the request alone.
func whimsical(r *Request, w Responder) {
	var n int64
	if r.Body != nil && len(r.Target)%3 > 0 {
		n, _ = io.Copy(io.Discard, r.Body)
		for range r.Trailer() {
			n++
		}
	}
	stop := r.AfterGone(func() {})
	defer stop()
	switch len(r.Header) % 7 {
	case 0:
		w.Head(204, nil, -1)
	case 1:
		w.Inform(103, Header{{"Link", "a"}})
		w.Head(200, Header{{"X", strings.Repeat("x", int(n))}}, 2)
		w.Write([]byte("ok"))
	case 2:
		w.Head(200, r.Header, -1)
		w.Write(make([]byte, 70000))
		w.Flush()
		w.Trailer(Header{{"Y", "y"}})
	case 3:
		w.Head(200, nil, 10)
		w.Write([]byte("half"))
		w.Abort()
	case 4:
		if r.Body != nil {
			r.StopBody()
		}
		w.Head(413, nil, 0)
	case 5:
		w.Head(200, nil, 3)
		w.Write([]byte("longer"))
	case 6:
		<-r.Context.Done()
	}
}

// FuzzH2Server sends any frames. The server must not panic, must end with its client,
// and keep nothing.
func FuzzH2Server(f *testing.F) {
	head := compress2([][2]string{{":method", "GET"}, {":scheme", "https"}, {":path", "/"}, {"a", "b"}})
	seed := func(frames ...[]byte) { f.Add(bytes.Join(frames, nil)) }
	frame := func(kind, flags, stream byte, payload ...byte) []byte {
		return append([]byte{kind, flags, stream, byte(len(payload))}, payload...)
	}
	seed(frame(h2Settings, 0, 0), frame(h2Headers, 5, 1, head...), frame(h2Headers, 4, 3, head...), frame(h2Data, 0, 3, 'x'), frame(h2Data, 1, 3, 'x'))
	seed(frame(h2Settings, 0, 0, 0, 4, 0, 0, 0, 1), frame(h2Headers, 5, 1, head...), frame(h2WindowUpdate, 0, 1, 0, 0, 0, 9), frame(h2Settings, 0, 0, 0, 4, 0, 0, 0, 0))
	seed(frame(h2Settings, 0, 0), frame(h2Headers, 0, 1, head[:2]...), frame(h2Continuation, 4, 1, head[2:]...), frame(h2Data, 8, 1, 3, 'x', 0, 0, 0), frame(h2Headers, 5, 1, head[3:]...))
	seed(frame(h2Settings, 0, 0), frame(h2Headers, 4, 1, head...), frame(h2Reset, 0, 1, 0, 0, 0, 8), frame(h2Ping, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8), frame(h2GoAway, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), frame(h2Priority, 0, 1, 0, 0, 0, 3, 9))
	f.Fuzz(func(t *testing.T, data []byte) {
		client, server := net.Pipe()
		o := &own{head: 10 * time.Second, idle: time.Minute, maxHead: 4 << 10, log: slog.New(loud{t: t})}
		c := newH2Conn(o, server, whimsical, always(50*time.Millisecond))
		ended := make(chan struct{})
		go func() {
			c.serve()
			c.Close()
			close(ended)
		}()
		var wg sync.WaitGroup
		wg.Go(func() { checkFrames(t, client) })
		io.WriteString(client, http2.ClientPreface)
		for len(data) >= 4 {
			n := min(int(data[3]), len(data)-4)
			client.Write(append(appendFrame(nil, n, data[0], data[1], uint32(data[2])), data[4:4+n]...))
			data = data[4+n:]
		}
		client.Write(data)
		if len(data)%2 == 0 {
			c.drain()
		}
		client.Close()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Fatal("the connection goes on")
		}
		wg.Wait()
		if c.active != 0 || len(c.streams) != 0 || len(c.queue) != 0 || c.out != nil {
			t.Errorf("left are %d requests, %d streams, %d in the queue", c.active, len(c.streams), len(c.queue))
		}
	})
}

// checkFrames reads what a server sends and complains of what no server may.
func checkFrames(t *testing.T, r io.Reader) {
	framer := http2.NewFramer(io.Discard, r)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	ended := map[uint32]bool{}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			if errors.As(err, new(http2.StreamError)) || errors.As(err, new(http2.ConnectionError)) {
				t.Errorf("a frame of the server: %v", err)
			}
			return
		}
		id := frame.Header().StreamID
		switch frame := frame.(type) {
		case *http2.DataFrame, *http2.MetaHeadersFrame:
			if ended[id] {
				t.Errorf("%v after the end", frame)
			}
			ended[id] = frame.Header().Flags.Has(http2.FlagDataEndStream)
		case *http2.RSTStreamFrame:
			ended[id] = true
		}
	}
}

// got2 is a request as a back end sees it.
type got2 struct {
	method, target, host, body string
	length                     int64
	fields                     []string
}

func (g *got2) String() string { return fmt.Sprintf("%+v", *g) }

// field adds what both servers keep as it is.
func (g *got2) field(name, value string) {
	switch name = http.CanonicalHeaderKey(name); name {
	case "Trailer", "Expect": // which net/http takes out
	default:
		g.fields = append(g.fields, name+": "+value)
	}
}

// FuzzH2Request sends a request to our server and to Go's. What reaches both back
// ends must be the same, and ours takes nothing that Go's refuses.
func FuzzH2Request(f *testing.F) {
	for _, m := range messages2 {
		if len(m.fields) < 1000 {
			f.Add(":method: POST\n:scheme: https\n:authority: matrix.example.com\n:path: /_matrix/x\n"+m.fields, m.body)
		}
	}
	f.Add(":method: OPTIONS\n:scheme: https\n:path: *", "")
	f.Add(":method: GET\n:scheme: Http\n:path: /", "")
	f.Add(":method: GET\n:scheme: http\n:path: /a%zz?b\nhost: a:1\ncookie: a\nx-a: \ncookie: b\nexpect: 100-continue", "body")
	f.Fuzz(func(t *testing.T, text, body string) {
		var fields [][2]string
		for _, line := range strings.Split(text, "\n") {
			if len(line) > 0 {
				colon := strings.Index(line[1:], ":") + 1
				if colon == 0 {
					return
				}
				fields = append(fields, [2]string{line[:colon], strings.TrimPrefix(line[colon+1:], " ")})
			}
		}
		if len(text)+len(body) > 10000 {
			return
		}
		ours, theirs := askOwn(t, fields, body), askStandard(t, fields, body)
		switch {
		case ours != nil && theirs != nil:
			if ours.String() != theirs.String() {
				t.Errorf("ours got  %v\nGo's got %v", ours, theirs)
			}
		case ours != nil:
			// Targets are routing's to judge; and where Go's refuses a host that is not
			// the authority, ours passes over it, as RFC 9113, section 8.3.1 allows.
			_, err := url.ParseRequestURI(ours.target)
			if err == nil && !slices.ContainsFunc(fields, func(f [2]string) bool { return f[0] == "host" }) {
				t.Errorf("refused by Go's: %v", ours)
			}
		}
	})
}

// exchange2 sends a request over c and waits until it is answered or refused.
func exchange2(c net.Conn, fields [][2]string, body string) {
	framer := http2.NewFramer(c, c)
	framer.AllowIllegalWrites = true
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	go func() {
		io.WriteString(c, http2.ClientPreface)
		framer.WriteSettings()
		framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: compress2(fields), EndStream: body == "", EndHeaders: true})
		if body != "" {
			framer.WriteData(1, true, []byte(body))
		}
	}()
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return
		}
		if f, ok := frame.(interface{ StreamEnded() bool }); ok && f.StreamEnded() {
			return
		}
		switch frame.(type) {
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return
		}
	}
}

func askOwn(t *testing.T, fields [][2]string, body string) (got *got2) {
	client, server := net.Pipe()
	o := &own{head: 10 * time.Second, idle: time.Minute, maxHead: 64 << 10, log: slog.New(loud{t: t})}
	c := newH2Conn(o, server, func(r *Request, w Responder) {
		g := &got2{method: r.Method, target: r.Target, host: r.Host, length: r.Length}
		for _, f := range r.Header {
			g.field(f.Name, f.Value)
		}
		if r.Body != nil {
			text, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			g.body = string(text)
		}
		got = g
		w.Head(204, nil, -1)
	}, always(time.Minute))
	ended := make(chan struct{})
	go func() {
		c.serve()
		c.Close()
		close(ended)
	}()
	exchange2(client, fields, body)
	client.Close()
	<-ended
	if got != nil {
		slices.Sort(got.fields)
	}
	return got
}

func askStandard(_ *testing.T, fields [][2]string, body string) (got *got2) {
	client, server := net.Pipe()
	ended, handled := make(chan struct{}), make(chan *got2, 2)
	go func() {
		new(http2.Server).ServeConn(server, &http2.ServeConnOpts{ //nolint:staticcheck // what stands for it wants a listener
			BaseConfig: &http.Server{ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)},
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				g := &got2{method: r.Method, target: r.RequestURI, host: r.Host, length: r.ContentLength}
				for name, values := range r.Header {
					for _, v := range values {
						g.field(name, v)
					}
				}
				text, err := io.ReadAll(r.Body)
				if err == nil {
					g.body = string(text)
					handled <- g
				}
				w.WriteHeader(204)
			}),
		})
		close(ended)
	}()
	exchange2(client, fields, body)
	client.Close()
	<-ended
	select {
	case got = <-handled:
		slices.Sort(got.fields)
	default:
	}
	return got
}
