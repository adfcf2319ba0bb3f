package configs

import (
	"errors"
	"regexp"
	"strconv"
)

// Size counts bytes, written "64KiB", "50MiB", "2GiB" or a plain number.
type Size int64

// sizeUnits are powers of 1024; "MB" is left out because half its readers take
// it for a power of 1000.
var sizeUnits = []struct {
	suffix string
	shift  uint
}{{"GiB", 30}, {"MiB", 20}, {"KiB", 10}}

// String gives the size with the largest unit that divides it.
func (s Size) String() string {
	for _, unit := range sizeUnits {
		if s != 0 && s%(1<<unit.shift) == 0 {
			return strconv.FormatInt(int64(s>>unit.shift), 10) + unit.suffix
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

var sizePattern = regexp.MustCompile(`^([0-9]+)(GiB|MiB|KiB|)$`)

func parseSize(text string) (Size, error) {
	match := sizePattern.FindStringSubmatch(text)
	if match == nil {
		return 0, errors.New("not a size")
	}
	var shift uint
	for _, unit := range sizeUnits {
		if unit.suffix == match[2] {
			shift = unit.shift
		}
	}
	number, err := strconv.ParseInt(match[1], 10, 64)
	if err != nil || number > (1<<62)>>shift {
		return 0, errors.New("too large")
	}
	return Size(number << shift), nil
}

func (s *Size) decodeFrom(at spot) {
	text, ok := at.scalar()
	if !ok {
		at.reject("expected a size", `write "64KiB"`)
		return
	}
	size, err := parseSize(text)
	if err != nil {
		at.reject(quote(text)+" is "+err.Error(), `write it as "64KiB", "50MiB" or "2GiB"`)
		return
	}
	*s = size
}
