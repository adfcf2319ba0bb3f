package configs

import (
	"fmt"
	"io"
	"log/slog"
)

// Secret is a value that prints as [redacted] in every format.
type Secret struct{ value string }

const redacted = "[redacted]"

// NewSecret keeps a value from being printed.
func NewSecret(value string) Secret { return Secret{value: value} }

// Reveal gives the value itself, for the one who must present it.
func (s Secret) Reveal() string { return s.value }

// String hides the value.
func (s Secret) String() string { return redacted }

// Format hides the value from every verb of package fmt, %#v and %x among them.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText hides the value from encoding/json and other encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalYAML hides the value from yaml.v3.
func (s Secret) MarshalYAML() (any, error) { return redacted, nil }

// LogValue hides the value from log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
