package ovhtest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"vestibule/acme/ovhtest"
)

const (
	applicationKey    = "app"
	applicationSecret = "secret"
	consumerKey       = "consumer"
)

// start runs a server with example.org, and a consumer key that may do all.
func start(t *testing.T, o ovhtest.Options) *ovhtest.Server {
	t.Helper()
	if o.Zones == nil {
		o.Zones = []string{"example.org"}
	}
	s, err := ovhtest.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	s.AddApplication(applicationKey, applicationSecret)
	s.AddConsumer(applicationKey, consumerKey, ovhtest.Everything)
	return s
}

// answer is what a call got.
type answer struct {
	status int
	header http.Header
	body   string
}

// caller signs its calls, unless it has a token.
type caller struct {
	server                *ovhtest.Server
	key, secret, consumer string
	token                 string
	clock                 time.Duration // ahead of the real one
}

func callerOf(s *ovhtest.Server) caller {
	return caller{server: s, key: applicationKey, secret: applicationSecret, consumer: consumerKey}
}

func (c caller) request(t *testing.T, method, path, body string) *http.Request {
	t.Helper()
	url := c.server.URL + path
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
		return r
	}
	now := time.Now().Add(c.clock).Unix()
	r.Header.Set("X-Ovh-Application", c.key)
	r.Header.Set("X-Ovh-Consumer", c.consumer)
	r.Header.Set("X-Ovh-Timestamp", fmt.Sprint(now))
	r.Header.Set("X-Ovh-Signature", ovhtest.Signature(c.secret, c.consumer, method, url, body, now))
	return r
}

func (c caller) do(t *testing.T, method, path, body string) answer {
	t.Helper()
	return send(t, c.request(t, method, path, body))
}

func send(t *testing.T, r *http.Request) answer {
	t.Helper()
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

// want compares an answer's status and body.
func (a answer) want(t *testing.T, status int, body string) {
	t.Helper()
	if a.status != status || a.body != body {
		t.Errorf("got  %d %s\nwant %d %s", a.status, a.body, status, body)
	}
}

// refused compares an error.
func (a answer) refused(t *testing.T, status int, class, message, code string) {
	t.Helper()
	var got struct{ Class, Message, ErrorCode string }
	if err := json.Unmarshal([]byte(a.body), &got); err != nil {
		t.Fatalf("%s: %v", a.body, err)
	}
	if a.status != status || got.Class != class || got.Message != message || got.ErrorCode != code {
		t.Errorf("got  %d %+v\nwant %d %s %q %s", a.status, got, status, class, message, code)
	}
	if !strings.HasPrefix(a.header.Get("X-Ovh-QueryID"), "EU.ext-1.") {
		t.Errorf("X-Ovh-QueryID is %q", a.header.Get("X-Ovh-QueryID"))
	}
}

// record creates a record and returns it.
func (c caller) record(t *testing.T, zone, fieldType, sub, target string) ovhtest.Record {
	t.Helper()
	body, err := json.Marshal(map[string]any{"fieldType": fieldType, "subDomain": sub, "target": target, "ttl": 60})
	if err != nil {
		t.Fatal(err)
	}
	a := c.do(t, "POST", "/domain/zone/"+zone+"/record", string(body))
	var r ovhtest.Record
	if err := json.Unmarshal([]byte(a.body), &r); err != nil || a.status != http.StatusOK {
		t.Fatalf("creating a record: %d %s", a.status, a.body)
	}
	return r
}

func (c caller) refresh(t *testing.T, zone string) {
	t.Helper()
	c.do(t, "POST", "/domain/zone/"+zone+"/refresh", "").want(t, http.StatusOK, "null")
}

// ask sends a question to a name server.
func ask(t *testing.T, network, server, name string, qtype uint16) *dns.Msg {
	t.Helper()
	client := dns.Client{Net: network, Timeout: 5 * time.Second}
	reply, _, err := client.Exchange(new(dns.Msg).SetQuestion(name, qtype), server)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// texts are the TXT of a name, at a server.
func texts(t *testing.T, server, name string) []string {
	t.Helper()
	var found []string
	for _, rr := range ask(t, "udp", server, name, dns.TypeTXT).Answer {
		if txt, ok := rr.(*dns.TXT); ok {
			found = append(found, strings.Join(txt.Txt, ""))
		}
	}
	return found
}
