package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDemo pastes everything that the demo prints.
func TestDemo(t *testing.T) {
	a := demoAddresses{freeAddress(t), freeAddress(t), freeAddress(t), freeAddress(t)}
	s, cleanUp, err := newDemo(a, &call{stderr: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	defer cleanUp()
	s.start()
	defer s.stop()
	if err := s.awaitReady(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{ // a part of the title, and of the answer
		"which versions":      `"answered_by":"client_reader"`,
		"alice syncs":         `"answered_by":"sync`,
		"bob may":             `"answered_by":"sync`,
		"A first sync":        `"answered_by":"initial_sync"`,
		"A message is sent":   `"target":"/_matrix/client/v3/rooms/%21room%3alocalhost/send/m.room.message/txn%2F1"`,
		"fetches the keys":    `"answered_by":"main"`,
		"Where do clients":    `"base_url": "https://localhost:` + port(a.HTTPS),
		"And other homeserve": `"m.server": "localhost:` + port(a.Federation),
		"Element Web":         `"target":"/config.json"`,
		"admin API":           `"answered_by":"main"`,
		"Replication":         `"errcode":"M_FORBIDDEN"`,
		"Why?":                "hash key    user alice",
		"How is it?":          "ready",
	}
	dir := filepath.Dir(s.path)
	tour := demoTour(a, dir, "vestibule")
	for _, step := range demoSteps(a, dir, "vestibule") {
		if !strings.Contains(tour, "\n"+step.command+"\n") {
			t.Errorf("the tour does not print %s", step.command)
		}
		answer := paste(t, step.command)
		found := false
		for title, part := range want {
			if strings.Contains(step.title, title) {
				found = true
				if !strings.Contains(answer, part) {
					t.Errorf("%s\n%s\nanswers %s\nwithout %s", step.title, step.command, answer, part)
				}
			}
		}
		if !found {
			t.Errorf("no expectation for %q", step.title)
		}
	}
	for _, host := range []string{"localhost", "127.0.0.1"} {
		answer := paste(t, "curl -s --cacert "+filepath.Join(dir, "storage", "root.pem")+" https://"+host+":"+port(a.HTTPS)+"/_matrix/client/versions")
		if !strings.Contains(answer, "client_reader") {
			t.Errorf("on %s: %s", host, answer)
		}
	}
}

// paste does what a shell would with a line that calls curl or vestibule.
func paste(t *testing.T, line string) string {
	t.Helper()
	words := shellWords(line)
	if words[0] == "vestibule" {
		var out bytes.Buffer
		if status := run(words[1:], strings.NewReader(""), &out, &out); status != exitOK {
			t.Errorf("%s: exit status %d", line, status)
		}
		return out.String()
	}
	method, body, roots := "GET", "", x509.NewCertPool()
	var url string
	var fields []string
	for i := 1; i < len(words); i++ {
		switch words[i] {
		case "-s":
		case "--cacert":
			i++
			pem, err := os.ReadFile(words[i])
			if err != nil || !roots.AppendCertsFromPEM(pem) {
				t.Fatalf("%s: no certificate: %v", words[i], err)
			}
		case "-X":
			i++
			method = words[i]
		case "-d":
			i++
			body = words[i]
		case "-H":
			i++
			fields = append(fields, words[i])
		default:
			url = words[i]
		}
	}
	return curl(t, method, url, body, fields, roots)
}

func curl(t *testing.T, method, url, body string, fields []string, roots *x509.CertPool) string {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		req.Header.Set(name, value)
	}
	c := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}, Timeout: 10 * time.Second}
	defer c.CloseIdleConnections()
	return textOf(t)(c.Do(req))
}

// textOf returns what reads an answer to the end.
func textOf(t testing.TB) func(resp *http.Response, err error) string {
	return func(resp *http.Response, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
}

// shellWords splits at blanks outside single quotes.
func shellWords(line string) []string {
	var words []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words
}

func freeAddress(t interface{ Fatal(...any) }) string {
	for range 100 {
		// Below the ports that the system gives to connections, or one of those
		// could take it before it is listened on.
		address := fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(20000))
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			return address
		}
	}
	t.Fatal("no free port")
	return ""
}

// TestDemoRequests: what the demo shows of requests can be read aloud.
func TestDemoRequests(t *testing.T) {
	var out strings.Builder
	lines := `{"time":"2026-11-26T00:00:00Z","level":"INFO","msg":"request","entrypoint":"https","method":"GET","host":"localhost","path":"/a","route":"r","class":"sync","upstream":"http://127.0.0.1:1","status":200,"seconds":0.012300}` + "\n" +
		`{"entrypoint":"http","method":"GET","host":"localhost","path":"/b\u009b","route":"https","class":"","upstream":"","status":301,"seconds":0.000100,"error":"the client left"}` + "\n"
	if n, err := (demoRequests{&out}).Write([]byte(lines)); n != len(lines) || err != nil {
		t.Fatal(n, err)
	}
	want := "https: GET localhost/a: 200 from class sync at http://127.0.0.1:1 in 12.3 ms\n" +
		"http: GET localhost/b�: 301 from vestibule itself (https) in 0.1 ms: the client left\n"
	if out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}
