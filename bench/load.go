package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// asLoad is the argument that makes this program the clients of one
// measurement: of what h2load cannot do, or does not verify.
const asLoad = "load"

// bulk is how long each body of upload and download is, in bytes.
const bulk = 64 << 20

// load is the clients of a measurement.
type load struct {
	address string
	count   int // of connections, polls or bodies

	mu     sync.Mutex
	report loadReport
}

// loadReport is printed at the end, as JSON.
type loadReport struct {
	Done    int     // answered as expected
	Seconds float64 // that it took
	Problem string  // of the first that was not, "" if there was none
}

// runLoad is given the kind of load and prints its report.
func runLoad(args []string, out io.Writer) error {
	l := &load{}
	kinds := map[string]func(){"handshakes": l.handshakes, "parked": l.poll, "upload": l.upload, "download": l.download}
	fs := flag.NewFlagSet(asLoad, flag.ContinueOnError)
	fs.StringVar(&l.address, "address", "", "of the proxy")
	fs.IntVar(&l.count, "count", 1, "how many")
	if err := fs.Parse(args[1:]); err != nil {
		return err
	}
	kind := kinds[args[0]]
	if kind == nil {
		return fmt.Errorf("there is no load %q", args[0])
	}
	began := time.Now()
	kind()
	l.report.Seconds = time.Since(began).Seconds()
	return json.NewEncoder(out).Encode(&l.report)
}

func (l *load) note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		l.report.Done++
	case l.report.Problem == "":
		l.report.Problem = err.Error()
	}
}

// atOnce is how many connections are opened at the same time.
const atOnce = 32

// handshakes makes a request on each of many new connections.
func (l *load) handshakes() {
	var wg sync.WaitGroup
	places := make(chan struct{}, atOnce)
	for range l.count {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			c, err := dial(l.address)
			if err == nil {
				err = l.ask(c, "/_matrix/client/versions")
				c.Close()
			}
			l.note(err)
		})
	}
	wg.Wait()
}

// poll parks a long poll on each of many connections, and ends when all are
// answered.
func (l *load) poll() {
	var wg sync.WaitGroup
	places := make(chan struct{}, atOnce)
	for i := range l.count {
		places <- struct{}{}
		wg.Go(func() {
			c, err := dial(l.address)
			<-places
			if err == nil {
				err = l.ask(c, fmt.Sprint(pollTarget, i))
				c.Close()
			}
			l.note(err)
		})
	}
	wg.Wait()
}

func (l *load) ask(c *tls.Conn, target string) error {
	if _, err := io.WriteString(c, getRequest(target)); err != nil {
		return err
	}
	return readAnswer(bufio.NewReaderSize(c, 1024), int64(len(small)))
}

// download fetches large bodies one after the other on one connection.
func (l *load) download() {
	l.transfer(func(c *tls.Conn, r *bufio.Reader) error {
		if _, err := io.WriteString(c, getRequest(fmt.Sprint(bulkTarget, bulk))); err != nil {
			return err
		}
		return readAnswer(r, bulk)
	})
}

// upload sends large bodies one after the other on one connection.
func (l *load) upload() {
	l.transfer(func(c *tls.Conn, r *bufio.Reader) error {
		_, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: %s\r\n%sContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n", uploadTarget, host, clientFields, bulk)
		for sent := 0; sent < bulk && err == nil; sent += chunk {
			_, err = c.Write(zeros)
		}
		if err != nil {
			return err
		}
		return readAnswer(r, int64(len(small)))
	})
}

func (l *load) transfer(one func(*tls.Conn, *bufio.Reader) error) {
	c, err := dial(l.address)
	if err != nil {
		l.note(err)
		return
	}
	defer c.Close()
	r := bufio.NewReaderSize(c, chunk)
	for range l.count {
		err := one(c, r)
		l.note(err)
		if err != nil {
			return
		}
	}
}

// dial makes a full handshake, by the same algorithms with every proxy:
// X25519, which all of them have.
func dial(address string) (*tls.Conn, error) {
	return tls.Dial("tcp", address, &tls.Config{
		InsecureSkipVerify: true, // the certificate is made for the run
		ServerName:         host,
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{"http/1.1"},
		CurvePreferences:   []tls.CurveID{tls.X25519},
	})
}

// token has the form of Synapse's own, which holds the localpart in base64, so
// that a proxy that keeps users to workers need not ask whose it is.
const token = "syt_YWxpY2U_abcdefghijklmnop_123456"

const clientFields = "User-Agent: bench\r\nAccept: application/json\r\nAuthorization: Bearer " + token + "\r\n"

func getRequest(target string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n" + clientFields + "\r\n"
}

// readAnswer expects a 200 with a body of n bytes.
func readAnswer(r *bufio.Reader, n int64) error {
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return fmt.Errorf("reading an answer: %w", err)
	}
	defer resp.Body.Close()
	got, err := io.Copy(io.Discard, resp.Body)
	switch {
	case err != nil:
		return fmt.Errorf("reading a body: %w", err)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("got status %d instead of 200", resp.StatusCode)
	case got != n:
		return fmt.Errorf("got a body of %d bytes instead of %d", got, n)
	}
	return nil
}
