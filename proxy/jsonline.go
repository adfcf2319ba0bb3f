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
// 8259, section 7).
func appendEscaped(b []byte, s string) []byte {
	from := 0 // of what needs no escape
	for i := 0; i < len(s); {
		c, size := s[i], 1
		if c >= utf8.RuneSelf {
			_, size = utf8.DecodeRuneInString(s[i:])
		}
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf || size > 1 {
			i += size
			continue
		}
		b = append(b, s[from:i]...)
		i++
		from = i
		switch {
		case c >= utf8.RuneSelf:
			b = utf8.AppendRune(b, utf8.RuneError)
		case c < ' ':
			b = append(b, '\\', 'u', '0', '0', lowerHex[c>>4], lowerHex[c&15])
		default:
			b = append(b, '\\', c)
		}
	}
	return append(b, s[from:]...)
}

const lowerHex = "0123456789abcdef"
