package acme

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"time"

	"github.com/caddyserver/certmagic"
)

// tally counts a name's orders since the last that brought a certificate into the
// storage. It is in the storage too: a process that is started over and over, or
// another one beside it, leaves the authority alone for as long as the first would
// have. It is read and written under the name's lock.
type tally struct {
	Orders int       `json:"orders"`
	Last   time.Time `json:"last"`  // when the last order began
	Until  time.Time `json:"until"` // nothing is ordered before
	// Text and Hint are what the operator was told of the last order; empty when
	// it came to no end.
	Text string `json:"text,omitempty"`
	Hint string `json:"hint,omitempty"`
}

// insists marks the contexts of attempts that a person asked for.
type insists struct{}

// pause is how long nothing is ordered after so many orders that failed.
func (p pace) pause(orders int) time.Duration {
	if orders <= 0 {
		return 0
	}
	wait := p.spent
	for ; orders > 1 && wait < p.spentMax; orders-- {
		wait *= 2
	}
	return min(wait, p.spentMax)
}

func (i *issuer) tallyKey(name string) string {
	return "orders/" + i.IssuerKey() + "/" + certmagic.StorageKeys.Safe(name) + ".json"
}

// tally reads what is known of a name's orders. A note that is damaged, or from a
// time when the clock was ahead, would keep a name waiting for nothing.
func (i *issuer) tally(ctx context.Context, name string) (tally, error) {
	value, err := i.manager.storage.Load(ctx, i.tallyKey(name))
	if errors.Is(err, fs.ErrNotExist) {
		return tally{}, nil
	}
	if err != nil {
		return tally{}, storageProblem(i.manager.directory, err)
	}
	var t tally
	if json.Unmarshal(value, &t) != nil || t.Last.After(time.Now()) {
		return tally{}, nil
	}
	return t, nil
}

// mayOrder refuses an attempt that comes too early, unless a person asked for it.
func (t tally) mayOrder(ctx context.Context) error {
	wait := time.Until(t.Until)
	if wait <= 0 || ctx.Value(insists{}) != nil {
		return nil
	}
	text := t.Text
	if text == "" {
		text = "the last order came to no end"
	}
	f := newFault(t.Hint, "%s; nothing is ordered before %s (orders that failed so far: %d)", text, t.Until.Local().Format(time.DateTime), t.Orders)
	f.wait = wait
	return f
}

// begin notes an order before it is made. The first that comes to no end costs no
// waiting: machines are switched off.
func (i *issuer) begin(ctx context.Context, name string, before tally) error {
	now := time.Now().UTC()
	return i.note(ctx, name, tally{Orders: before.Orders + 1, Last: now, Until: now.Add(i.manager.pace.pause(before.Orders))})
}

// end notes what became of the order that begin noted, and gives its error as an
// operator reads it. One that was given up, as at the end of the process, does not
// count. One that succeeded stays until its certificate is stored: it is counted
// even if it is lost.
func (i *issuer) end(ctx context.Context, name string, before tally, err error) error {
	if err == nil {
		return nil
	}
	f := i.failed(err)
	after := before
	if !errors.Is(ctx.Err(), context.Canceled) {
		after = before.another(i.manager.pace, f, waited(ctx), name)
		f = f.waiting(time.Until(after.Until))
	}
	ctx = context.WithoutCancel(ctx)
	if after.Orders == 0 {
		err = i.forgetTally(ctx, name)
	} else {
		err = i.note(ctx, name, after)
	}
	if err != nil {
		i.manager.log.WarnContext(ctx, "failed order not noted", "name", name, "error", err)
	}
	return f
}

// another is the tally after one more order for name, which failed with f; asked is
// how long the authority wants to be left alone.
func (t tally) another(p pace, f *fault, asked time.Duration, name string) tally {
	now := time.Now().UTC()
	after := tally{Orders: t.Orders + 1, Last: now, Text: f.text, Hint: f.hint}
	asked, pause := max(f.wait, asked), p.pause(after.Orders)
	after.Until = now.Add(max(asked, pause))
	if asked > pause {
		return after // asking earlier would be in vain
	}
	if after.Hint != "" {
		after.Hint += "; "
	}
	after.Hint += "once it is mended, `vestibule certificates renew " + name + "` does not wait"
	return after
}

func (i *issuer) note(ctx context.Context, name string, t tally) error {
	value, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if err := i.manager.storage.Store(ctx, i.tallyKey(name), value); err != nil {
		return storageProblem(i.manager.directory, err)
	}
	return nil
}

// forgetTally is for a name whose certificate is in the storage.
func (i *issuer) forgetTally(ctx context.Context, name string) error {
	return i.manager.storage.Delete(ctx, i.tallyKey(name))
}
