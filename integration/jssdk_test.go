//go:build integration

package integration

import (
	"context"
	"testing"
	"time"
)

// TestJSSDK lives a day of two users with matrix-js-sdk, end-to-end encryption
// included, and then asks of each request whether the right process answered.
func TestJSSDK(t *testing.T) {
	before := counters(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	outcomes, err := runNode(ctx, lab.vestibule.root, "js-sdk.mjs", serverName)
	var requests []sent
	for _, o := range outcomes {
		switch {
		case o.Request != nil:
			requests = append(requests, *o.Request)
		case o.Failure != "":
			t.Errorf("%s: %s", o.Step, o.Failure)
		default:
			t.Log(o.Step)
		}
	}
	if err != nil {
		t.Error(err)
	}
	result := compareWithExplain(t, requests)
	result.wantClasses(t, "main", "generic", "media", "user_dir", "stream:typing", "stream:to_device", "stream:account_data",
		"stream:receipts", "stream:presence", "stream:push_rules", "stream:device_lists")
	result.wantCounted(t, before)
}
