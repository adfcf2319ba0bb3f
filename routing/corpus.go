package routing

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"strings"
	"sync"

	"vestibule/configs"
)

// corpusText is requests that clients and servers make, with who answers them
// under each preset. Tests hold the catalogue against it; Samples takes the
// requests.
//
//go:embed corpus.csv
var corpusText string

// corpusRow is a line of corpus.csv: who answers a request under a preset.
type corpusRow struct {
	preset, class, why string
	request            Request
}

// parseCorpus reads corpus.csv.
func parseCorpus() ([]corpusRow, error) {
	r := csv.NewReader(strings.NewReader(corpusText))
	r.FieldsPerRecord = 6
	records, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("reading the corpus: %w", err)
	}
	var rows []corpusRow
	for _, record := range records[min(1, len(records)):] { // but for the names of the columns
		rows = append(rows, corpusRow{
			preset: record[3], class: record[4], why: record[5],
			request: corpusRequest(record[0], record[1], record[2]),
		})
	}
	return rows, nil
}

// corpusRequest reads the columns of the corpus: headers are separated by ";",
// and a Host with the port 8448 came in on the federation entrypoint.
func corpusRequest(method, target, headers string) Request {
	r := Request{Method: method, Target: target, Host: "matrix.example.com"}
	for header := range strings.SplitSeq(headers, ";") {
		name, value, _ := strings.Cut(header, ":")
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "host":
			r.Host = value
		case "authorization":
			r.Authorization = append(r.Authorization, value)
		}
	}
	if strings.HasSuffix(r.Host, ":8448") {
		r.Entrypoint = Federation
	}
	return r
}

// corpusByHost is the distinct requests of the corpus, by the host they ask.
var corpusByHost = sync.OnceValues(func() (map[string][]Request, error) {
	rows, err := parseCorpus()
	if err != nil {
		return nil, err
	}
	byHost := make(map[string][]Request)
	seen := make(map[string]bool)
	for _, row := range rows {
		r := row.request
		host := Host(r.Host)
		id := strings.Join(append([]string{host, r.Method, r.Target}, r.Authorization...), "\x00")
		if !seen[id] {
			seen[id] = true
			byHost[host] = append(byHost[host], Request{Method: r.Method, Target: r.Target, Authorization: r.Authorization})
		}
	}
	return byHost, nil
})

// corpusHosts names the host of the corpus that stands for each of a site's. A
// component that lives under the site's host has none.
func corpusHosts(config *configs.Site) map[string]string {
	hosts := map[string]string{}
	if mas := config.MAS; mas != nil {
		hosts[Host(mas.Host)] = "auth.example.com"
	}
	if element := config.Element; element != nil {
		hosts[Host(element.Host)] = "element.example.com"
	}
	hosts[Host(config.ServerName)] = "example.com"
	hosts[Host(config.Federation.Host)] = "matrix.example.com"
	hosts[Host(config.Host)] = "matrix.example.com"
	return hosts
}

// unknownHost is one that the corpus asks and nobody claims.
const unknownHost = "evil.example.net"
