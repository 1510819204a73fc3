// Package pause waits for times that a context can cut short.
package pause

import (
	"context"
	"time"
)

// For returns nil after d, or the cause of ctx's end if that comes first.
func For(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// Every calls f at once, and then at each interval, until ctx is done. A call that
// takes longer delays the next one.
func Every(ctx context.Context, interval time.Duration, f func()) {
	EveryOr(ctx, interval, nil, f)
}

// EveryOr is [Every] that also calls f whenever it receives from early.
func EveryOr(ctx context.Context, interval time.Duration, early <-chan struct{}, f func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for ctx.Err() == nil {
		f()
		select {
		case <-ctx.Done():
		case <-early:
		case <-ticker.C:
		}
	}
}
