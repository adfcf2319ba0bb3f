package proxy

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"vestibule/configs"
)

// TestTargetsArriveAsTheyCame sends every target of the corpus that goes to
// Synapse, or to MAS on its own host, over HTTP/1.1 and HTTP/2, and compares
// the bytes that the back end received.
func TestTargetsArriveAsTheyCame(t *testing.T) {
	rows := readCorpus(t)
	sent := 0
	for _, preset := range []string{"main-only", "little-federation-helper", "one-of-each", "specialized-workers",
		"all-classes", "with-mas", "with-mas-host", "with-ketesa", "strict-ports"} {
		synapse := newBackend(t, "synapse")
		f := newFrontOn(t, presetOn(t, preset, synapse.url()))
		for _, row := range rows {
			if row.preset != preset || !opaque(row) {
				continue
			}
			sent++
			want := row.method + " " + row.target + " HTTP/1.1"
			address := f.https
			if strings.HasSuffix(row.host, ":8448") {
				address = f.fed
			}
			h1(t, f.rawConn(address, "http/1.1"), row)
			if got := synapse.last(t).line; got != want {
				t.Errorf("%s h1: sent %q, arrived %q", preset, want, got)
			}
			synapse.forget()
			h2(t, f.rawConn(address, "h2"), row)
			if got := synapse.last(t).line; got != want {
				t.Errorf("%s h2: sent %q, arrived %q", preset, want, got)
			}
			synapse.forget()
		}
	}
	if sent < 500 {
		t.Errorf("only %d rows were sent", sent)
	}
	t.Logf("%d targets arrived byte for byte, each over HTTP/1.1 and HTTP/2", sent)
}

func (b *backend) forget() {
	b.mu.Lock()
	b.seen = nil
	b.mu.Unlock()
}

// corpusRow is a request of the corpus and the class it belongs to.
type corpusRow struct{ method, target, host, authorization, preset, class string }

func readCorpus(t testing.TB) []corpusRow {
	t.Helper()
	file, err := os.Open("../routing/corpus.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	records, err := csv.NewReader(file).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var rows []corpusRow
	for _, r := range records[1:] {
		row := corpusRow{method: r[0], target: r[1], host: "matrix.example.com", preset: r[3], class: r[4]}
		for _, field := range strings.Split(r[2], ";") {
			name, value, _ := strings.Cut(field, ": ")
			switch strings.ToLower(name) {
			case "host":
				row.host = value
			case "authorization":
				row.authorization = value
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// opaque says whether a row's target must not change on its way.
func opaque(row corpusRow) bool {
	switch configs.Class(row.class) {
	case configs.ClassDeny, configs.ClassNotFound, configs.ClassWellKnown, configs.ClassElement, configs.ClassKetesa, configs.ClassLocal:
		return false
	case configs.ClassMAS:
		return row.host == "auth.example.com"
	}
	return true
}

// presetOn is a preset with every upstream replaced by one back end.
func presetOn(t testing.TB, name, url string) *configs.Config {
	t.Helper()
	cfg, problems := configs.Load("../configs/presets/" + name + ".yaml")
	if cfg == nil {
		t.Fatal(problems)
	}
	move := func(u *configs.Upstream) {
		if u != nil {
			u.URL = url
		}
	}
	for _, s := range cfg.Sites {
		move(s.Synapse.Main)
		move(s.Synapse.Federation)
		for _, processes := range s.Synapse.Workers {
			for i := range processes {
				move(&processes[i])
			}
		}
		if s.MAS != nil {
			move(s.MAS.Upstream)
		}
	}
	return cfg
}

// h1 sends a row over HTTP/1.1.
func h1(t *testing.T, c net.Conn, row corpusRow) {
	t.Helper()
	defer c.Close()
	fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: %s\r\n", row.method, row.target, row.host)
	if row.authorization != "" {
		fmt.Fprintf(c, "Authorization: %s\r\n", row.authorization)
	}
	io.WriteString(c, "Connection: close\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: row.method})
	if err != nil || resp.StatusCode != 200 {
		t.Errorf("h1 %s %s: %v %v", row.method, row.target, resp, err)
	}
}

// h2 sends a row over HTTP/2, frame by frame: no client library would leave
// such targets alone.
func h2(t *testing.T, c net.Conn, row corpusRow) {
	t.Helper()
	defer c.Close()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", row.method}, {":scheme", "https"}, {":authority", row.host}, {":path", row.target}, {"authorization", row.authorization}} {
		if f[1] != "" {
			enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
		}
	}
	io.WriteString(c, http2.ClientPreface)
	framer := http2.NewFramer(c, c)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	framer.WriteSettings()
	framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true})
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Errorf("h2 %s %s: %v", row.method, row.target, err)
			return
		}
		if h, ok := frame.(*http2.MetaHeadersFrame); ok {
			if h.PseudoValue("status") != "200" {
				t.Errorf("h2 %s %s: status %s", row.method, row.target, h.PseudoValue("status"))
			}
			return
		}
	}
}
