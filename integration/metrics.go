//go:build integration

package integration

import (
	"fmt"
	"net/http"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// sample sums a metric of the front door by the values of one of its labels.
func (v *vestibule) sample(metric, label string) (map[string]float64, error) {
	response, err := http.Get("http://" + v.admin + "/metrics")
	if err != nil {
		return nil, fmt.Errorf("reading metrics: %w", err)
	}
	defer response.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		return nil, fmt.Errorf("reading metrics: %w", err)
	}
	sums := map[string]float64{}
	for _, m := range families[metric].GetMetric() {
		sums[labelOf(m, label)] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return sums, nil
}

func labelOf(m *dto.Metric, name string) string {
	for _, pair := range m.GetLabel() {
		if pair.GetName() == name {
			return pair.GetValue()
		}
	}
	return ""
}
