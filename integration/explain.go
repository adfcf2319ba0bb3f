//go:build integration

package integration

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os/exec"
	"strings"
)

// explanation is what "vestibule explain" says of a request.
type explanation struct {
	Entrypoint string `json:"entrypoint"`
	Site       string `json:"site"`
	Route      string `json:"route"`
	Endpoint   string `json:"endpoint"`
	Class      string `json:"class"`
	Pool       string `json:"pool"`
	Upstream   string `json:"upstream"` // "" when the choice is by load
	Action     string `json:"action"`
	Status     int    `json:"status"`
}

// explain asks the program, from its configuration alone, about each request.
func (v *vestibule) explain(requests []sent) ([]explanation, error) {
	rows, err := batch(requests)
	if err != nil {
		return nil, err
	}
	child := exec.Command(v.binary, "explain", "--batch", "--config", v.configuration)
	child.Stdin = rows
	var complaints bytes.Buffer
	child.Stderr = &complaints
	output, err := child.Output()
	if err != nil {
		return nil, fmt.Errorf("vestibule explain --batch: %w: %s", err, complaints.String())
	}
	var explanations []explanation
	for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
		var e explanation
		if err := decoder.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("reading what explain says: %w", err)
		}
		explanations = append(explanations, e)
	}
	if len(explanations) != len(requests) {
		return nil, fmt.Errorf("explain answers %d rows of %d", len(explanations), len(requests))
	}
	return explanations, nil
}

// batch writes the requests as explain's CSV.
func batch(requests []sent) (io.Reader, error) {
	var rows bytes.Buffer
	table := csv.NewWriter(&rows)
	problems := []error{table.Write([]string{"method", "target", "headers"})}
	for _, request := range requests {
		address, err := url.Parse(request.URL)
		if err != nil {
			return nil, err
		}
		headers := []string{"Host: " + address.Host, idHeader + ": " + request.ID}
		if request.Authorization != "" {
			headers = append(headers, "Authorization: "+request.Authorization)
		}
		target := strings.TrimPrefix(request.URL, address.Scheme+"://"+address.Host)
		problems = append(problems, table.Write([]string{request.Method, target, strings.Join(headers, ";")}))
	}
	table.Flush()
	return &rows, errors.Join(append(problems, table.Error())...)
}
