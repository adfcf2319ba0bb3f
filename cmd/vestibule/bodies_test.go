//go:build integration

package main

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The bodies that pass slowly: so many parts with a pause after each, together
// longer than bodiesStall, which no pause is.
const (
	bodiesStall = 2 * time.Second
	partSize    = 25 << 10
	partPause   = 250 * time.Millisecond
	slowParts   = 14
)

// newBodies is a door whose patience with bodies is bodiesStall.
func newBodies(t *testing.T, engine string) *door {
	t.Helper()
	main := openPlace(t, "main")
	return openDoor(t, engine, fmt.Sprintf("timeouts: { stall: %v }\nsites: [ { server_name: example.com, synapse: { main: %q, max_upload: 2GiB } } ]\n",
		bodiesStall, main.url()), 0)
}

// parts is a body that comes in parts; after them it ends, or stalls until it is
// closed.
type parts struct {
	left   int // parts
	pause  time.Duration
	part   int // what is left of one
	stalls chan struct{}
	once   sync.Once
}

func (p *parts) Read(b []byte) (int, error) {
	if p.part == 0 && p.left == 0 {
		if p.stalls != nil {
			<-p.stalls
		}
		return 0, io.EOF
	}
	if p.part == 0 {
		time.Sleep(p.pause)
		p.left--
		p.part = partSize
	}
	n := min(len(b), p.part)
	p.part -= n
	return n, nil
}

// Close ends the stall.
func (p *parts) Close() error {
	if p.stalls != nil {
		p.once.Do(func() { close(p.stalls) })
	}
	return nil
}

// TestSlowBodies: a body may take longer than timeouts.stall as long as it goes on, in
// either direction; one that stalls is cut, and that can be seen.
func TestSlowBodies(t *testing.T) { eachEngine(t, trySlowBodies) }

func trySlowBodies(t *testing.T, engine string) {
	d := newBodies(t, engine)
	var wg sync.WaitGroup
	for _, h2 := range []bool{false, true} {
		for name, try := range map[string]func(*door, *http.Client) error{
			"slow upload": slowUpload, "slow download": slowDownload,
			"stalled upload": stalledUpload, "stalled download": stalledDownload,
		} {
			wg.Go(func() {
				if err := try(d, d.visitor(h2, true)); err != nil {
					t.Errorf("%s, h2=%v: %v", name, h2, err)
				}
			})
		}
	}
	wg.Wait()
	eventually(t, "the log says what was cut", func() bool {
		return strings.Count(d.log(), "no byte of it came") == 2 && strings.Count(d.log(), "broke off") == 2
	})
}

func slowUpload(_ *door, c *http.Client) error {
	resp, err := c.Post(uploadURL, "", &parts{left: slowParts, pause: partPause})
	if n, err := received(resp, err); err != nil || n != slowParts*partSize {
		return fmt.Errorf("%d bytes: %w", n, err)
	}
	return nil
}

const uploadURL = "https://" + doorHost + "/_matrix/media/v3/upload"

// upload sends a body of zeros and returns how much of it arrived.
func upload(c *http.Client, size int64) (int64, error) {
	req, err := http.NewRequest("POST", uploadURL, io.LimitReader(zeros{}, size))
	if err != nil {
		return 0, err
	}
	req.ContentLength = size
	return received(c.Do(req))
}

// received is how much of a body arrived, as the answer says.
func received(resp *http.Response, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s %q: %w", resp.Status, text, err)
	}
	return n, nil
}

func slowDownload(_ *door, c *http.Client) error {
	n, err := download(c, fmt.Sprintf("size=%d&parts=%d&pause=%d", partSize, slowParts, partPause.Milliseconds()))
	if err != nil || n != slowParts*partSize {
		return fmt.Errorf("%d bytes: %w", n, err)
	}
	return nil
}

// download is how many bytes came of a file.
func download(c *http.Client, query string) (int64, error) {
	resp, err := c.Get("https://" + doorHost + "/_matrix/media/v3/download/example.com/x?" + query)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return io.Copy(io.Discard, resp.Body)
}

func stalledUpload(_ *door, c *http.Client) error {
	body := &parts{left: 3, stalls: make(chan struct{})}
	defer body.Close()
	resp, err := c.Post(uploadURL, "", body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 408 || !strings.Contains(string(text), `"errcode"`) {
		return fmt.Errorf("%s %q: %w", resp.Status, text, err)
	}
	return nil
}

// stalledDownload asks for a file whose last part takes far too long.
func stalledDownload(_ *door, c *http.Client) error {
	n, err := download(c, fmt.Sprintf("size=%d&parts=3&stall=%d", partSize, 10*bodiesStall.Milliseconds()))
	if err == nil || n != 2*partSize {
		return fmt.Errorf("%d bytes look whole: %w", n, err)
	}
	return nil
}

// TestGibibyte: the size of a body does not show in memory.
func TestGibibyte(t *testing.T) { eachEngine(t, tryGibibyte) }

func tryGibibyte(t *testing.T, engine string) {
	const size, most = 1 << 30, 100 // bytes, MiB
	d := newBodies(t, engine)
	for _, protocol := range []string{"http/1.1", "h2"} {
		for _, direction := range []string{"up", "down"} {
			d.forgetPeak()
			start, before := time.Now(), d.cpu()
			arrived, err := peer(t, "carrier", d.https, protocol, direction, fmt.Sprint(size)).Output()
			_, peak := d.memory()
			if err != nil || string(arrived) != fmt.Sprint(size) {
				t.Errorf("%s, %s: %s bytes arrived: %v", protocol, direction, arrived, err)
			}
			t.Logf("%s, %s: %d MiB of memory at most, %v of processor time in %v", protocol, direction, peak>>10, d.cpu()-before, time.Since(start))
			if peak>>10 > most {
				t.Errorf("%s, %s: %d MiB of memory", protocol, direction, peak>>10)
			}
		}
	}
}

// zeros is a body without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
