package cursor

import (
	"fmt"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/testing/long"

	"github.com/google/uuid"
)

// A log elsewhere cannot be counted at home. What is known of it there has the lag
// grow when it does not move, and when nobody reads it, and only then.
func TestLagOfALogElsewhere(t *testing.T) {
	long.Test(t)
	t.Parallel()
	source, home := setup(t), setup(t)
	cfg := home.config(t)
	cfg.Source = source.pool
	const current, behind = "SELECT caught_up_to IS NULL FROM casq.cursors", "SELECT caught_up_to IS NOT NULL FROM casq.cursors"
	lag := func() (seconds float64) {
		t.Helper()
		err := home.pool.QueryRow(t.Context(), "SELECT lag_seconds FROM casq.cursor_status WHERE lag_events IS NULL").Scan(&seconds)
		if err != nil {
			t.Fatal(err)
		}
		return seconds
	}
	grows := func() {
		t.Helper()
		home.until(t, fmt.Sprintf("SELECT lag_seconds > %g FROM casq.cursor_status", lag()+0.3))
	}

	source.write(t, "a")
	r := run(t, cfg)
	home.untilEffects(t, "a")
	grows() // until it is known that this was all
	source.tick(t)
	home.until(t, current)
	home.until(t, "SELECT lag_seconds < 0.3 FROM casq.cursor_status")
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	home.until(t, behind) // nobody reads it
	grows()

	r = run(t, cfg, func(c *Cursor) { c.stale = 50 * time.Millisecond })
	home.until(t, "SELECT count(holder) > 0 FROM casq.cursor_status")
	grows() // its newest tick may be an old one
	source.tick(t)
	home.until(t, "SELECT coalesce(caught_up_to > now() - interval '10 seconds', true) FROM casq.cursors")
	home.until(t, behind) // no tick has come after it
	grows()
	source.write(t, "b")
	home.untilEffects(t, "a", "b")
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
}

// The first tick that a holder sees may be of any age; those that come after it are
// new when they are seen.
func TestFreshness(t *testing.T) {
	t.Parallel()
	const stale = 30 * time.Second
	timeline := eventlog.Timeline{Ordinal: 1, ID: uuid.New()}
	now := time.Now()
	var f freshness
	for i, step := range []struct {
		timeline eventlog.Timeline
		tick     int64
		after    time.Duration
		want     bool
	}{
		{timeline, 7, 0, false},
		{timeline, 7, 10 * time.Second, false},
		{timeline, 8, 10 * time.Second, true},
		{timeline, 8, 29 * time.Second, true},
		{timeline, 8, time.Second, false},
		{eventlog.Timeline{Ordinal: 2, ID: uuid.New()}, 8, time.Second, true},
	} {
		now = now.Add(step.after)
		f.saw(step.timeline, step.tick, now)
		if got := f.fresh(now, stale); got != step.want {
			t.Errorf("step %d: fresh is %v, want %v", i, got, step.want)
		}
	}
}

// The source's clock is an hour behind home's: nothing is late for that.
func TestLagKnowsOneClock(t *testing.T) {
	t.Parallel()
	source, home := setup(t), setup(t)
	cfg := home.config(t)
	cfg.Source, cfg.Wait = source.pool, time.Minute // it does not say again that nothing is left
	source.tick(t)
	run(t, cfg)
	home.until(t, "SELECT count(holder) > 0 FROM casq.cursor_status")
	var want []string
	for i := range 3 {
		want = append(want, fmt.Sprint(i))
		source.exec(t, `INSERT INTO casq.events (kind, resource_id, op, occurred_at)
			VALUES ('resource', $1, 'updated', clock_timestamp() - interval '1 hour')`, want[i])
		source.tick(t)
		home.untilEffects(t, want...)
	}
	var late bool
	err := home.pool.QueryRow(t.Context(), `SELECT s.lag_seconds > 60 OR EXISTS (SELECT FROM casq.log_delays WHERE delay > interval '1 minute')
		FROM casq.cursor_status AS s`).Scan(&late)
	if err != nil {
		t.Fatal(err)
	}
	if late {
		t.Error("the source's clock makes it late")
	}
}

// What came while nobody read the log is known to be as old as that, once it is applied.
func TestWhatCameLateIsNoted(t *testing.T) {
	t.Parallel()
	source, home := setup(t), setup(t)
	cfg := home.config(t)
	cfg.Source = source.pool
	source.tick(t)
	r := run(t, cfg)
	home.until(t, "SELECT count(holder) > 0 FROM casq.cursor_status")
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	home.exec(t, "UPDATE casq.cursors SET caught_up_to = clock_timestamp() - interval '1 hour'")
	source.write(t, "a")
	run(t, cfg)
	home.untilEffects(t, "a")
	home.until(t, `SELECT count(*) > 0 AND min(delay) >= interval '1 hour' AND max(delay) < interval '61 minutes'
			AND max(since) BETWEEN now() - interval '1 minute' AND now()
		FROM casq.log_delays WHERE cursor = 'test'`)
}
