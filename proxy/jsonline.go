package proxy

import (
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"
)

// jsonLine is a JSON object that is being written, of which b is there already.
type jsonLine struct{ b []byte }

// key begins a member, whose name needs no escapes.
func (l *jsonLine) key(name string) {
	l.b = append(append(append(l.b, `,"`...), name...), `":`...)
}

func (l *jsonLine) text(name, value string) {
	l.key(name)
	l.b = append(appendEscaped(append(l.b, '"'), value), '"')
}

func (l *jsonLine) number(name string, value int64) {
	l.key(name)
	l.b = strconv.AppendInt(l.b, value, 10)
}

// seconds has six decimals.
func (l *jsonLine) seconds(name string, d time.Duration) {
	l.key(name)
	whole, rest := max(d, 0)/time.Second, max(d, 0)%time.Second
	l.b = append(strconv.AppendInt(l.b, int64(whole), 10), '.')
	for unit := 100 * time.Millisecond; unit >= time.Microsecond; unit /= 10 {
		l.b = append(l.b, '0'+byte(rest/unit%10))
	}
}

// address is empty when it is not known.
func (l *jsonLine) address(name string, a netip.Addr) {
	l.key(name)
	l.b = append(l.b, '"')
	if a.IsValid() {
		l.b = a.AppendTo(l.b)
	}
	l.b = append(l.b, '"')
}

// appendEscaped appends what stands for s between the quotes of a JSON string (RFC
// 8259, section 7). What ends a line for some readers, or commands a terminal, is
// escaped although JSON allows it.
func appendEscaped(b []byte, s string) []byte {
	from := 0 // of what needs no escape
	for i := 0; i < len(s); {
		c, size := rune(s[i]), 1
		if c >= utf8.RuneSelf {
			c, size = utf8.DecodeRuneInString(s[i:])
		}
		if isPlain(c, size) {
			i += size
			continue
		}
		b = append(b, s[from:i]...)
		i += size
		from = i
		switch {
		case c == utf8.RuneError:
			b = utf8.AppendRune(b, c)
		case c == '"' || c == '\\':
			b = append(b, '\\', byte(c))
		default:
			b = append(b, '\\', 'u', lowerHex[c>>12], lowerHex[c>>8&15], lowerHex[c>>4&15], lowerHex[c&15])
		}
	}
	return append(b, s[from:]...)
}

// isPlain says whether a character of size bytes needs no escape.
func isPlain(c rune, size int) bool {
	switch {
	case c < utf8.RuneSelf:
		return c >= ' ' && c != '"' && c != '\\' && c != 0x7f
	case c == utf8.RuneError:
		return size > 1
	}
	return c >= 0xa0 && c != 0x2028 && c != 0x2029
}

const lowerHex = "0123456789abcdef"
