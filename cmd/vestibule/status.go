package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"vestibule/acme"
	"vestibule/proxy"
)

// statusReport is how a running server is: the JSON of /status and what the
// page shows.
type statusReport struct {
	Version      string             `json:"version"`
	Started      time.Time          `json:"started"`
	Ready        bool               `json:"ready"`
	Reason       string             `json:"reason,omitempty"` // why it is not ready
	Config       configReport       `json:"config"`
	Sites        []siteReport       `json:"sites"`
	Certificates []acme.Certificate `json:"certificates"`
	Pools        []proxy.PoolStatus `json:"pools"`
}

type configReport struct {
	Files      []string `json:"files"`
	LastReload attempt  `json:"last_reload"`
}

type siteReport struct {
	ServerName string `json:"server_name"`
	Host       string `json:"host"`
	Ready      bool   `json:"ready"`
	Reason     string `json:"reason,omitempty"`
	Synapse    string `json:"synapse,omitempty"` // the release it runs, when known
	Warning    string `json:"warning,omitempty"` // that this release is not
}

// status describes the service as it is now.
func (s *service) status() statusReport {
	cfg := s.proxy.Config()
	r := statusReport{Version: versionText(), Started: s.started, Certificates: s.certs.Certificates(), Pools: s.proxy.Pools()}
	r.Ready, r.Reason = s.ready("")
	r.Config.Files = cfg.Files
	s.mu.Lock()
	r.Config.LastReload = s.last
	s.mu.Unlock()
	for _, site := range cfg.Sites {
		ok, reason := s.ready(site.ServerName)
		synapse := s.proxy.Synapse(site.ServerName)
		r.Sites = append(r.Sites, siteReport{site.ServerName, site.Host, ok, reason, synapse.Release, synapse.Warning})
	}
	return r
}

func status(c *call) int {
	fs := c.flags()
	path := fs.String("config", defaultConfig, "the configuration file")
	asJSON := fs.Bool("json", false, "print JSON")
	if _, status, done := c.parse(fs, 0, 0); done {
		return status
	}
	var r statusReport
	if err := askServer(*path, "GET", "status", &r); err != nil {
		return c.fail(err)
	}
	if *asJSON {
		e := json.NewEncoder(c.stdout)
		e.SetIndent("", "  ")
		if err := e.Encode(r); err != nil {
			return c.fail(err)
		}
	} else {
		r.print(c.stdout)
	}
	if !r.Ready {
		return exitProblem
	}
	return exitOK
}

// print writes the report for a terminal.
func (r *statusReport) print(w io.Writer) {
	fmt.Fprintf(w, "vestibule %s, running since %s\n", r.Version, r.Started.Format(time.DateTime))
	if r.Ready {
		fmt.Fprintln(w, "ready")
	} else {
		fmt.Fprintf(w, "not ready: %s\n", r.Reason)
	}
	if last := r.Config.LastReload; !last.OK {
		fmt.Fprintf(w, "the last reload, %s, was not applied:\n%s\n", last.At.Format(time.DateTime), last.Error)
	}
	for _, s := range r.Sites {
		if s.Warning != "" {
			fmt.Fprintf(w, "%s: %s\n", s.ServerName, s.Warning)
		}
	}
	fmt.Fprintln(w, "\ncertificates")
	printCertificates(w, r.Certificates)
	fmt.Fprintln(w, "\npools")
	for _, p := range r.Pools {
		for _, u := range p.Upstreams {
			fmt.Fprintf(w, "  %-40s %-8s %s\n", p.Name, u.Health, u.URL)
			for _, a := range u.Addresses {
				fmt.Fprintf(w, "  %-40s %-8s   at %s\n", "", a.Health, a.Address)
			}
			if u.Error != "" {
				fmt.Fprintf(w, "  %-40s          %s\n", "", u.Error)
			}
		}
	}
}
