package proxy

import (
	"fmt"

	"vestibule/configs"
	"vestibule/routing"
)

// errTooLarge is a body over the bound of MaxBody.
var errTooLarge = fmt.Errorf("%w: it is larger than synapse.max_upload allows", errUpload)

// plainBody is the largest body that Synapse takes of any request, however small
// its max_upload_size is (synapse/api/constants.py, MAX_REQUEST_SIZE).
const plainBody = 200 * 64 << 10

// MaxBody is the largest body that a request may have, 0 when whoever answers
// decides. synapse.max_upload is about uploads: a transaction of another server
// would be lost, and all that come after it, for a bound that was meant for
// pictures. What Synapse takes of any request passes.
func MaxBody(cfg *configs.Config, d *routing.Decision) configs.Size {
	site := cfg.Site(d.Site)
	if site == nil || d.Pool == nil || !IsSynapse(d.Pool.Class) {
		return 0
	}
	return maxBody(site.Synapse.MaxUpload, d.Endpoint)
}

func maxBody(upload configs.Size, endpoint configs.Class) configs.Size {
	if upload > 0 && endpoint != configs.ClassMedia {
		return max(upload, plainBody)
	}
	return upload
}

// fits says whether a body of that many bytes is small enough.
func (x *exchange) fits(length int64) bool { return x.maxBody == 0 || length <= x.maxBody }
