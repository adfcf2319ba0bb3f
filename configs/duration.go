package configs

import (
	"strconv"
	"strings"
	"time"
)

// Duration is written as in Go: "10s", "3m", "1h30m"; 0 is allowed.
type Duration time.Duration

// Std gives the duration as package time has it.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String gives the duration as it is written in a configuration: "3m", "1h30m".
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// decodeFrom reads "10s". A bare number other than 0 has no unit: seconds to
// one reader, milliseconds to another.
func (d *Duration) decodeFrom(at spot) {
	text, ok := at.scalar()
	if !ok {
		at.reject("expected a duration", `write "10s"`)
		return
	}
	if number, err := strconv.ParseFloat(text, 64); err == nil && number != 0 {
		at.reject(quote(text)+" has no unit", "write "+quote(text+"s"))
		return
	}
	value, err := time.ParseDuration(text)
	switch {
	case err != nil:
		at.reject(quote(text)+" is not a duration", `write it as "10s", "3m" or "1h30m"`)
	case value < 0:
		at.reject(quote(text)+" is negative", "")
	default:
		*d = Duration(value)
	}
}
