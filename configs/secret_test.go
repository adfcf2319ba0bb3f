package configs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

func TestSecretIsNeverPrinted(t *testing.T) {
	const value = "hunter2"
	type holder struct{ Key Secret }
	secret := NewSecret(value)
	if secret.Reveal() != value {
		t.Fatal("Reveal gives something else")
	}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T %v"} {
		for _, operand := range []any{secret, &secret, holder{secret}, []Secret{secret}, map[string]Secret{"k": secret}} {
			if verb == "%T %v" {
				fmt.Fprintf(&out, verb+"\n", operand, operand)
				continue
			}
			fmt.Fprintf(&out, verb+"\n", operand)
		}
	}
	asJSON, err := json.Marshal(holder{secret})
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal(holder{secret})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(asJSON)
	out.Write(asYAML)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "secret", secret, "holder", holder{secret})
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "secret", secret, "holder", holder{secret})

	for _, form := range []string{value, fmt.Sprintf("%x", value), fmt.Sprintf("%X", value)} {
		if strings.Contains(out.String(), form) {
			t.Errorf("%q was printed in:\n%s", form, out.String())
		}
	}
	if got := strings.Count(out.String(), redacted); got < 40 {
		t.Errorf("only %d outputs say %s:\n%s", got, redacted, out.String())
	}
}
