package lease

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"casq/internal/pause"
)

// mostRetry is between two attempts while Redis does not answer. When it is
// back and empty, the process that asks first has the lease: the holder, if it asks often.
const mostRetry = 500 * time.Millisecond

// Lease is held, and renewed in the background at a third of its time. A nil
// Lease is one without Redis: it is never lost, and releasing it does nothing.
type Lease struct {
	leaser *Leaser
	name   string
	log    *slog.Logger

	stop func()        // ends the renewing
	done chan struct{} // closed when it has ended
	lost chan struct{} // closed when another has the lease

	// expires is until when the answers vouch for the lease: a lease's time
	// from the start of the last attempt that succeeded, by the monotonic
	// clock. Zero: no answer yet, see [Leaser.Assume]. Renewing alone uses it.
	expires time.Time
	// doubted is that expires has passed, which has been said.
	doubted bool
}

func (l *Leaser) keep(name string, expires time.Time, logger *slog.Logger) *Lease {
	ctx, cancel := context.WithCancel(context.Background())
	held := &Lease{
		leaser: l, name: name, log: logger, stop: cancel,
		done: make(chan struct{}), lost: make(chan struct{}),
		expires: expires, doubted: expires.IsZero(),
	}
	go held.renew(ctx)
	return held
}

// Lost is closed when Redis has said that the lease is another's. While Redis
// does not answer at all nothing is known, and nothing is lost: whoever holds a
// lease goes on, since the lease does not protect what he does.
func (l *Lease) Lost() <-chan struct{} {
	if l == nil {
		return nil
	}
	return l.lost
}

// Release ends the lease at once. It waits for an attempt that is under
// way, which could otherwise take the lease again, for nobody. When the error
// is not nil the lease may stand until it expires; a lease that is another's by
// now is no error.
func (l *Lease) Release(ctx context.Context) error {
	if l == nil {
		return nil
	}
	l.stop()
	<-l.done
	select {
	case <-l.lost:
		return nil
	default:
	}
	if err := l.leaser.release(ctx, l.name); err != nil && !errors.Is(err, ErrLost) {
		return err
	}
	return nil
}

// renew extends the lease until it is stopped, or the lease is lost.
func (l *Lease) renew(ctx context.Context) {
	defer close(l.done)
	ttl := l.leaser.ttl
	for next := l.until(ttl / 3); pause.For(ctx, next) == nil; {
		began := time.Now()
		free, err := l.leaser.take(context.WithoutCancel(ctx), l.name)
		var held *HeldError
		switch {
		case err == nil:
			l.renewed(began, free)
			next = l.until(ttl / 3)
		case errors.As(err, &held):
			l.log.Warn("lease lost, another process may take over", "taken_by", held.Holder)
			close(l.lost)
			return
		default:
			l.doubt(err)
			next = min(ttl/10, mostRetry)
		}
	}
}

// until is when to renew: after so long from the last answer's attempt. It is
// now when there was no answer.
func (l *Lease) until(after time.Duration) time.Duration {
	if l.expires.IsZero() {
		return 0
	}
	return time.Until(l.expires.Add(after - l.leaser.ttl))
}

// renewed takes a yes. It is late when another process could have obtained the
// lease before it: that it did not is luck.
func (l *Lease) renewed(began time.Time, free bool) {
	before := l.expires
	l.expires = began.Add(l.leaser.ttl)
	if left := before.Sub(began); !before.IsZero() && (free || left < l.leaser.ttl/3) {
		l.log.Warn("lease renewed late", "left", left, "was_free", free)
	}
	l.doubted = false
}

// doubt takes an attempt without an answer. It says once that the time is over.
func (l *Lease) doubt(err error) {
	if l.doubted || time.Now().Before(l.expires) {
		return
	}
	l.doubted = true
	l.log.Warn("lease lost, another process may take over", "err", err)
}
