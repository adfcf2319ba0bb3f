package proxy

import "crypto/tls"

// newH2 is written on another branch; delete this file when both meet.
func newH2(o *own, tc *tls.Conn) ownConn { panic("not here yet") }
