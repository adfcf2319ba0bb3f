package proxy

import (
	"time"
)

// h2Input is what has been read of a connection. It keeps no buffer while nothing
// comes.
type h2Input struct {
	c     *h2Conn
	small [64]byte
	large *[]byte // nil while small will do
	data  []byte  // what is unread, in small or in large
	flows bool    // there was no room for all that had come
}

// preface takes what HTTP/2 begins with.
func (in *h2Input) preface() error {
	b, err := in.next(len(h2Preface))
	if err != nil {
		return err
	}
	if string(b[:len(h2Preface)]) != h2Preface {
		return &h2Error{code: h2ProtocolError, why: "no preface"}
	}
	in.took(len(h2Preface))
	return nil
}

// next returns at least n bytes, which stay until took.
func (in *h2Input) next(n int) ([]byte, error) {
	for len(in.data) < n {
		if err := in.fill(n, len(in.data) > 0 || in.c.head.open); err != nil {
			return nil, err
		}
	}
	return in.data, nil
}

// some returns up to n bytes, as many as have come.
func (in *h2Input) some(n int) ([]byte, error) {
	for len(in.data) == 0 {
		towards := 1
		if in.flows { // as a large body does
			towards = n
		}
		if err := in.fill(towards, false); err != nil {
			return nil, err
		}
	}
	return in.data[:min(n, len(in.data))], nil
}

// took passes over n bytes.
func (in *h2Input) took(n int) {
	if in.data = in.data[n:]; len(in.data) == 0 {
		in.free()
	}
}

func (in *h2Input) free() {
	if in.large != nil {
		h2Buffers.takeBack(in.large)
	}
	in.large, in.data = nil, nil
}

// fill reads once, towards n bytes. midway says that the client has begun what it
// should complete soon.
func (in *h2Input) fill(n int, midway bool) error {
	switch {
	case in.large != nil:
		in.data = (*in.large)[:copy(*in.large, in.data)]
	case len(in.data) == 0 && n <= len(in.small):
		in.data = in.small[:0]
	case n > len(in.small) || len(in.data) == len(in.small):
		in.large = h2Buffers.lend()
		in.data = (*in.large)[:copy(*in.large, in.data)]
	default:
		in.data = in.small[:copy(in.small[:], in.data)]
	}
	for {
		in.c.waits(midway)
		read, err := in.c.nc.Read(in.data[len(in.data):cap(in.data)])
		if read > 0 {
			in.data = in.data[:len(in.data)+read]
			in.flows = len(in.data) == cap(in.data)
			in.c.hears()
			return nil
		}
		if err == nil {
			continue
		}
		if !timedOut(err) {
			return err
		}
		if err := in.c.tick(time.Now()); err != nil {
			return err
		}
	}
}
