package cursor

import (
	"context"
	"fmt"
	"time"

	"casq/eventlog"
)

// freshness is what a holder knows of the newest tick, by its own clock alone:
// those of the source's hosts may be apart. A log that nobody takes ticks of looks
// like one in which nothing happens, and nothing that happens in it is seen.
type freshness struct {
	timeline eventlog.Timeline
	tick     int64
	since    time.Time // when the tick was seen to be a new one; zero: not by us
	told     bool      // the row says that all is applied up to now
}

// saw takes the newest tick that the source has shown. The first one may be of
// any age.
func (f *freshness) saw(timeline eventlog.Timeline, tick int64, now time.Time) {
	if timeline == f.timeline && tick == f.tick {
		return
	}
	if f.timeline != (eventlog.Timeline{}) {
		f.since = now
	}
	f.timeline, f.tick = timeline, tick
}

// age is how many seconds ago the newest tick was seen for the first time; nil: it may be
// of any age.
func (f *freshness) age(now time.Time) *float64 {
	if !f.known() {
		return nil
	}
	return new(now.Sub(f.since).Seconds())
}

func (f *freshness) known() bool { return !f.since.IsZero() }

// fresh tells whether the log has moved within the time in which it always does
// while somebody takes ticks.
func (f *freshness) fresh(now time.Time, stale time.Duration) bool {
	return f.known() && now.Sub(f.since) < stale
}

// tellLag writes how far the log is applied when that has changed, for a home which
// cannot see the log: nothing is left to be applied, or the newest tick has grown
// old. In between the row says it by itself, so nothing is written while nothing
// happens.
func (h *holder) tellLag(ctx context.Context, now time.Time) error {
	fresh := h.newest.fresh(now, h.stale)
	if fresh == h.newest.told {
		return nil
	}
	return h.storeLag(ctx, fresh, now.Sub(h.newest.since))
}

// storeLag has the row say that all is applied up to now, or up to some time ago.
func (h *holder) storeLag(ctx context.Context, current bool, age time.Duration) error {
	if _, err := h.conn.Exec(ctx, cursorSQL.Lag, h.cfg.Name, h.epoch, current, age); err != nil {
		return fmt.Errorf("store how far the log is applied: %w", err)
	}
	h.newest.told = current
	return nil
}
