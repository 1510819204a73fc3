package cursor

import (
	"fmt"
	"testing"
	"time"

	"casq/eventlog"
)

// The watcher's rules, one by one. Each poll takes no time; the lease is 30 s,
// and more than 15 s between two readings are an outage.
func TestWatcher(t *testing.T) {
	t.Parallel()
	type reading struct {
		after       int // seconds since the poll before
		epoch, beat int64
		pending     bool
		remaining   int // seconds
	}
	for name, readings := range map[string][]reading{
		"stands still":   {{0, 1, 1, true, 30}, {10, 1, 1, true, 20}, {10, 1, 1, true, 10}, {10, 1, 1, true, 0}},
		"beats":          {{0, 1, 1, true, 30}, {10, 1, 1, true, 20}, {10, 1, 2, true, 30}, {10, 1, 2, true, 20}},
		"another holder": {{0, 1, 1, true, 30}, {15, 1, 1, true, 15}, {15, 2, 1, true, 30}},
		"nothing to do":  {{0, 1, 1, false, 30}, {15, 1, 1, false, 30}, {15, 1, 1, true, 30}, {15, 1, 1, true, 15}, {15, 1, 1, true, 0}},
		"done meanwhile": {{0, 1, 1, true, 30}, {15, 1, 1, false, 30}, {15, 1, 1, true, 30}},
		"outage":         {{0, 1, 1, true, 30}, {14, 1, 1, true, 16}, {16, 1, 1, true, 30}, {15, 1, 1, true, 15}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWatcher(30 * time.Second)
			now := time.Now()
			for i, l := range readings {
				now = now.Add(time.Duration(l.after) * time.Second)
				got := w.observe(now, now, cursorRow{epoch: l.epoch, beat: l.beat}, l.pending)
				if got != time.Duration(l.remaining)*time.Second {
					t.Errorf("poll %d leaves %s, want %d s", i, got, l.remaining)
				}
			}
		})
	}
}

// A poll counts from its end when it starts the time, and from its beginning
// when it tells how much is over: the longer it takes, the more the holder has.
func TestPollThatTakesLong(t *testing.T) {
	t.Parallel()
	w := newWatcher(30 * time.Second)
	now := time.Now()
	w.observe(now, now.Add(3*time.Second), cursorRow{}, true)
	if got := w.observe(now.Add(10*time.Second), now.Add(14*time.Second), cursorRow{}, true); got != 23*time.Second {
		t.Errorf("the holder has %s left, want 23 s", got)
	}
	w.observe(now.Add(20*time.Second), now.Add(40*time.Second), cursorRow{}, true)
	if got := w.observe(now.Add(40*time.Second), now.Add(40*time.Second), cursorRow{}, true); got != 30*time.Second {
		t.Errorf("the holder has %s left after an outage, want 30 s", got)
	}
}

// What an operator sees of the cursors.
func TestStatus(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.write(t, "a")
	cfg := b.config(t)
	cfg.PageSize = 2
	r := run(t, cfg)
	b.untilEffects(t, "a")
	b.until(t, `SELECT lag_events = 0 AND lag_seconds = 0 AND holder IS NOT NULL AND last_error IS NULL AND page = 0
		AND last_beat > now() - interval '1 minute' FROM casq.cursor_status WHERE name = 'test'`)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	b.until(t, "SELECT holder IS NULL FROM casq.cursor_status")
	b.write(t, "b", "c", "d")
	b.until(t, "SELECT lag_events = 3 AND lag_seconds > 0 FROM casq.cursor_status")
	// One page of the step is applied, and the next one fails.
	cfg.Consumer = writer{fail: func(batch eventlog.Batch) error {
		if batch.Events[0].ResourceID == "d" {
			return fmt.Errorf("fail as told: \x00")
		}
		return nil
	}}
	run(t, cfg)
	b.until(t, `SELECT lag_events = 1 AND page > 0 AND last_error IS NOT DISTINCT FROM 'apply 1 events: fail as told: ?' FROM casq.cursor_status`)
	// A log that is not home's: what is known is what the last batch told.
	b.exec(t, "UPDATE casq.ticks SET nonce = gen_random_uuid()")
	b.until(t, "SELECT lag_events IS NULL AND lag_seconds >= 0 FROM casq.cursor_status")
}
