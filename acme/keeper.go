package acme

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
)

// keeper keeps one name's certificate. certmagic alone would not do: it gives a
// name up for good when storage fails at the start, holds back renewals that
// were cut short, and tells nobody when it tries next.
type keeper struct {
	manager *Manager
	name    string
	ctx     context.Context
	cancel  context.CancelCauseFunc
	done    chan struct{}
	wake    chan struct{} // holds one

	mu  sync.Mutex
	err error     // of the last attempt
	at  time.Time // of the next one; after success, when the certificate is due
}

// errDropped is why a keeper stops whose name is no longer managed.
var errDropped = errors.New("the name is no longer managed")

// startKeeper keeps a name until the context of Manage or the Manager ends, or
// the name is dropped. It waits for its predecessor, whose last act may be to
// forget the certificate. The caller holds m.mu.
func (m *Manager) startKeeper(name string, predecessor *keeper) *keeper {
	k := &keeper{manager: m, name: name, done: make(chan struct{}), wake: make(chan struct{}, 1)}
	k.ctx, k.cancel = context.WithCancelCause(m.parent)
	stop := context.AfterFunc(m.ctx, func() { k.cancel(nil) })
	m.tasks.Go(func() {
		defer close(k.done)
		defer stop()
		if predecessor != nil {
			<-predecessor.done
		}
		k.run()
	})
	return k
}

func (k *keeper) run() {
	m := k.manager
	var pause backoff
	for {
		err := m.keep(k.ctx, k.name)
		if k.ctx.Err() != nil {
			break
		}
		wait := m.pace.check
		if err != nil {
			wait = pause.next(err, m.pace)
			m.log.Error("certificate not obtained", "name", k.name, "error", err, "retry_in", wait.Round(time.Second).String())
			k.note(err, time.Now().Add(wait))
		} else {
			pause = 0
			k.note(nil, m.due(k.ctx, k.name))
		}
		select {
		case <-k.ctx.Done():
		case <-k.wake:
		case <-time.After(wait):
		}
	}
	if errors.Is(context.Cause(k.ctx), errDropped) {
		m.cache.RemoveManaged([]certmagic.SubjectIssuer{{Subject: k.name}})
	}
}

// backoff is how long failures keep a keeper waiting. What cost nothing is soon
// tried again; a fault may ask for more patience, as after an order that failed.
type backoff time.Duration

func (b *backoff) next(err error, pace pace) time.Duration {
	wait := min(max(2*time.Duration(*b), pace.retry), pace.retryMax)
	*b = backoff(wait)
	if f := faultOf(err); f != nil {
		return max(wait, f.wait)
	}
	return wait
}

// drop ends the keeping and the renewing. At the end of the process there is no
// drop: connections that are still served go on having their certificate.
func (k *keeper) drop() { k.cancel(errDropped) }

// hurry has a failed attempt repeated now: what failed may have been corrected.
func (k *keeper) hurry() {
	if _, err := k.last(); err == nil {
		return
	}
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *keeper) note(err error, next time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err, k.at = err, next
}

// last is the error of the last attempt and the time of the next, which after a
// success is when the certificate is due; both are zero while the first attempt is
// under way.
func (k *keeper) last() (next time.Time, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.at, k.err
}
