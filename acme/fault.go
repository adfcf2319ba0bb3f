package acme

import (
	"errors"
	"fmt"
	"regexp"
	"time"
)

// fault is a failure as an operator reads it: one sentence that says what is
// wrong, and the remedy.
type fault struct {
	text, hint string
	cause      error // for callers that branch; its words are in text
	// wait is how long nothing should be tried, at least; 0 if there is no telling.
	wait time.Duration
}

func newFault(hint, format string, arguments ...any) *fault {
	return &fault{text: fmt.Sprintf(format, arguments...), hint: hint}
}

// because adds the cause, which becomes part of the sentence.
func (f *fault) because(cause error) *fault {
	if cause != nil {
		f.text += ": " + redact(cause.Error())
		f.cause = cause
	}
	return f
}

// waiting is a copy that asks for at least this patience: several names may have
// been told of the same fault.
func (f *fault) waiting(wait time.Duration) *fault {
	longer := *f
	longer.wait = max(f.wait, wait)
	return &longer
}

// at is a copy that names a place in the configuration first.
func (f *fault) at(place string) *fault {
	placed := *f
	placed.text = place + ": " + f.text
	return &placed
}

func (f *fault) Error() string {
	if f.hint != "" {
		return f.text + " (hint: " + f.hint + ")"
	}
	return f.text
}

func (f *fault) Unwrap() error { return f.cause }

// faultOf finds the fault in an error, whatever was wrapped around it, or nil.
func faultOf(err error) *fault {
	var f *fault
	if errors.As(err, &f) {
		return f
	}
	var refused *ovhError
	if errors.As(err, &refused) {
		return explain(refused)
	}
	return nil
}

// plain leaves out what certmagic wrapped around a fault on its way, and what
// must not be shown.
func plain(err error) error {
	if f := faultOf(err); f != nil {
		return f
	}
	if err == nil || redact(err.Error()) == err.Error() {
		return err
	}
	return errors.New(redact(err.Error()))
}

// digest is what a TXT value and a key's thumbprint look like: SHA-256 in
// base64url, 43 characters (RFC 8555, section 8.4). Tokens of the authorities
// have at least 22 (section 8.1), in practice 43.
var digest = regexp.MustCompile(`[A-Za-z0-9_-]{43,}`)

// redact takes challenge values out of messages of others: an authority quotes
// the records it found.
func redact(text string) string { return digest.ReplaceAllString(text, "[redacted]") }
