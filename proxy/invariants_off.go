//go:build !invariants

package proxy

// invariants says whether this build watches over what must always hold: see
// invariants.go. This one does not, and pays nothing.
const invariants = false

// What a build with invariants remembers, and does, at the places that are
// watched.
type (
	connWatch     struct{}
	exchangeWatch struct{}
	carriedWatch  struct{}
)

func violated(string, ...any) {}

func (c *conn) watchTaken()                          {}
func (c *conn) watchBegun(*exchange)                 {}
func (c *conn) watchRead([]byte)                     {}
func (c *conn) watchReturned()                       {}
func (c *conn) watchClosed()                         {}
func (x *exchange) watchBegun(w Responder) Responder { return w }
func (x *exchange) watchHolds(*conn)                 {}
func (x *exchange) watchEnded()                      {}
func (c *carried) watchLent()                        {}
func (c *carried) watchReturned()                    {}
func poison([]byte)                                  {}
func watchLent(*[]byte)                              {}
func watchReturned(*[]byte)                          {}
