package proxy

import (
	"strconv"
	"strings"
)

// h2Encoder writes blocks of fields (RFC 7541). What most answers repeat goes into
// the table that both sides keep, by name: policies and media types, nothing that
// is a client's own. No field is compressed with Huffman's code, which costs more
// time than the few bytes are worth.
type h2Encoder struct {
	entries []Field // the oldest first; the newest has index 62
	size    uint32  // as section 4.1 counts
	max     uint32  // of size
	changed bool    // max, since the last block, of which the other side must hear
}

// h2TableMost bounds the table, in bytes: what a peer has without asking.
const h2TableMost = 4096

func newH2Encoder() h2Encoder { return h2Encoder{max: h2TableMost} }

// limit sets the size that the other side permits. The table begins anew, so that
// nothing has to be known of the sizes in between (section 4.2).
func (e *h2Encoder) limit(n uint32) {
	if n = min(n, h2TableMost); n != e.max {
		*e = h2Encoder{max: n, changed: true}
	}
}

// evict makes room for n bytes.
func (e *h2Encoder) evict(n uint32) {
	gone := 0
	for ; gone < len(e.entries) && e.size+n > e.max; gone++ {
		e.size -= tableSize(e.entries[gone])
	}
	if gone > 0 {
		kept := copy(e.entries, e.entries[gone:])
		clear(e.entries[kept:])
		e.entries = e.entries[:kept]
	}
}

func tableSize(f Field) uint32 { return uint32(len(f.Name) + len(f.Value) + 32) }

// begin writes what has to come before the fields of a block.
func (e *h2Encoder) begin(b []byte) []byte {
	if !e.changed {
		return b
	}
	e.changed = false
	b = append(b, 0x20)
	if e.max > 0 {
		b = appendInteger(b, 0x20, 5, uint64(e.max))
	}
	return b
}

// status writes :status.
func (e *h2Encoder) status(b []byte, status int) []byte {
	switch status {
	case 200:
		return append(b, 0x80|8)
	case 204:
		return append(b, 0x80|9)
	case 206:
		return append(b, 0x80|10)
	case 304:
		return append(b, 0x80|11)
	case 400:
		return append(b, 0x80|12)
	case 404:
		return append(b, 0x80|13)
	case 500:
		return append(b, 0x80|14)
	}
	return strconv.AppendInt(append(b, 8, 3), int64(status), 10)
}

// length writes Content-Length.
func (e *h2Encoder) length(b []byte, n int64) []byte {
	b = append(b, 0x0f, 28-15, 0)
	at := len(b)
	b = strconv.AppendInt(b, n, 10)
	b[at-1] = byte(len(b) - at)
	return b
}

// field writes a field, its name in lower case.
func (e *h2Encoder) field(b []byte, f Field) []byte {
	for i := len(e.entries) - 1; i >= 0; i-- {
		if e.entries[i] == f {
			return appendInteger(b, 0x80, 7, uint64(61+len(e.entries)-i))
		}
	}
	var buf [40]byte
	var name []byte
	if len(f.Name) <= len(buf) {
		name = buf[:len(f.Name)]
		for i := range name {
			name[i] = lower(f.Name[i])
		}
	}
	index, as := h2Name(name)
	size := tableSize(f)
	switch {
	case as == h2Kept && size <= e.max/4:
		e.evict(size)
		e.entries = append(e.entries, Field{strings.Clone(f.Name), strings.Clone(f.Value)})
		e.size += size
		b = appendInteger(b, 0x40, 6, uint64(index))
	case as == h2Never:
		b = appendInteger(b, 0x10, 4, uint64(index))
	default:
		b = appendInteger(b, 0, 4, uint64(index))
	}
	if index == 0 {
		b = appendInteger(b, 0, 7, uint64(len(f.Name)))
		for i := range len(f.Name) {
			b = append(b, lower(f.Name[i]))
		}
	}
	return append(appendInteger(b, 0, 7, uint64(len(f.Value))), f.Value...)
}

// appendInteger writes n behind the bits of first, in prefix bits and what more it
// takes (RFC 7541, section 5.1).
func appendInteger(b []byte, first byte, prefix uint, n uint64) []byte {
	most := uint64(1)<<prefix - 1
	if n < most {
		return append(b, first|byte(n))
	}
	b = append(b, first|byte(most))
	for n -= most; n >= 0x80; n >>= 7 {
		b = append(b, 0x80|byte(n))
	}
	return append(b, byte(n))
}

// h2Treatment is how a field is written.
type h2Treatment byte

const (
	h2Plain h2Treatment = iota // as it is
	h2Kept                     // and kept in the table
	h2Never                    // by nobody on the way either
)

// h2Name returns a name's index in the static table (RFC 7541, appendix A), or 0,
// and how its fields are written.
func h2Name(name []byte) (index int, as h2Treatment) {
	switch string(name) {
	case "accept-ranges":
		return 18, h2Kept
	case "access-control-allow-origin":
		return 20, h2Kept
	case "access-control-allow-methods", "access-control-allow-headers", "access-control-expose-headers", "access-control-max-age",
		"access-control-allow-credentials", "cross-origin-resource-policy", "cross-origin-opener-policy", "cross-origin-embedder-policy",
		"content-security-policy", "permissions-policy", "referrer-policy", "x-content-type-options", "x-frame-options",
		"x-xss-protection", "x-robots-tag", "alt-svc":
		return 0, h2Kept
	case "age":
		return 21, h2Plain
	case "allow":
		return 22, h2Kept
	case "cache-control":
		return 24, h2Kept
	case "content-disposition":
		return 25, h2Plain
	case "content-encoding":
		return 26, h2Kept
	case "content-language":
		return 27, h2Kept
	case "content-length":
		return 28, h2Plain
	case "content-location":
		return 29, h2Plain
	case "content-range":
		return 30, h2Plain
	case "content-type":
		return 31, h2Kept
	case "date":
		return 33, h2Plain
	case "etag":
		return 34, h2Plain
	case "expires":
		return 36, h2Plain
	case "last-modified":
		return 44, h2Plain
	case "link":
		return 45, h2Plain
	case "location":
		return 46, h2Plain
	case "retry-after":
		return 53, h2Plain
	case "server":
		return 54, h2Kept
	case "set-cookie":
		return 55, h2Never
	case "strict-transport-security":
		return 56, h2Kept
	case "vary":
		return 59, h2Kept
	case "via":
		return 60, h2Kept
	case "www-authenticate":
		return 61, h2Plain
	}
	return 0, h2Plain
}
