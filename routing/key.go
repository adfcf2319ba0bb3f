package routing

import "strings"

// keyBuffer collects a key in memory that is already there. What goes beyond it
// is hashed into the last eight bytes, so that a long key is still a key of its
// own, and the same everywhere.
type keyBuffer struct {
	b    []byte
	n    int
	hash uint64 // of the bytes from len(b)-8 on (FNV-1a)
}

func (k *keyBuffer) put(c byte) {
	if k.n < len(k.b) {
		k.b[k.n] = c
	}
	if k.n >= len(k.b)-8 {
		if k.n == len(k.b)-8 {
			k.hash = 0xcbf29ce484222325
		}
		k.hash = (k.hash ^ uint64(c)) * 0x100000001b3
	}
	k.n++
}

func (k *keyBuffer) putString(s string) {
	for i := range len(s) {
		k.put(s[i])
	}
}

// putDecoded puts s, decoded once; in a form, "+" stands for a space.
func (k *keyBuffer) putDecoded(s string, form bool) {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' {
			if decoded, ok := unescape(s, i); ok {
				c = decoded
				i += 2
			}
		} else if form && c == '+' {
			c = ' '
		}
		k.put(c)
	}
}

func (k *keyBuffer) bytes() []byte {
	if k.n <= len(k.b) {
		return k.b[:k.n]
	}
	end := k.b[len(k.b)-8:]
	for i := range end {
		end[i] = byte(k.hash >> (8 * i))
	}
	return k.b
}

// buffer starts a key in the decision's own memory.
func (d *Decision) buffer() keyBuffer { return keyBuffer{b: d.scratch[:]} }

// setKey gives the decision the key of a form, served by class.
func (d *Decision) setKey(f *form, byRoom bool, r *Request, t *target) {
	if byRoom {
		d.keyFromSegment(KeyRoom, segmentAt(t.path, f.room))
		return
	}
	switch f.row.key {
	case sourceUser:
		d.keyFromToken(r, t.query)
	case sourceOrigin:
		d.keyFromOrigin(r)
	case sourceURI:
		k := d.buffer()
		k.putString(t.raw)
		d.Key = Key{KeyURI, k.bytes()}
	case sourceSegments:
		d.keyFromSegments(f, t.path)
	}
}

func (d *Decision) keyFromSegments(f *form, path string) {
	kind := segmentKinds[f.row.keyNames[0]]
	if f.keys[1] < 0 {
		d.keyFromSegment(kind, segmentAt(path, f.keys[0]))
		return
	}
	k := d.buffer()
	k.putDecoded(segmentAt(path, f.keys[0]), false)
	k.put('/')
	k.putDecoded(segmentAt(path, f.keys[1]), false)
	d.Key = Key{kind, k.bytes()}
}

// keyFromSegment decodes a segment once, so that %3a, %3A and ":" are one key.
func (d *Decision) keyFromSegment(kind KeyKind, segment string) {
	if segment == "" {
		return
	}
	k := d.buffer()
	k.putDecoded(segment, false)
	d.Key = Key{kind, k.bytes()}
}

// keyFromOrigin keys by the server that signs the request, whose transactions
// one process should see, else by the address it comes from.
func (d *Decision) keyFromOrigin(r *Request) {
	// Of several headers Synapse takes the last
	// (federation/transport/server/_base.py, Authenticator).
	for i := len(r.Authorization) - 1; i >= 0; i-- {
		if origin, ok := xMatrixOrigin(d.scratch[:0], r.Authorization[i]); ok {
			d.Key = Key{KeyOrigin, origin}
			return
		}
	}
	if r.Client.IsValid() {
		d.Key = Key{KeyClient, r.Client.Unmap().WithZone("").AppendTo(d.scratch[:0])}
	}
}

// isRoomID reports whether a segment begins with "!", encoded or not. Since
// room version 12 the sigil is all that is sure: the id has no domain.
func isRoomID(segment string) bool {
	return strings.HasPrefix(segment, "!") || strings.HasPrefix(segment, "%21")
}
