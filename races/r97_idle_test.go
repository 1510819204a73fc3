package races

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/testing/await"

	"github.com/jackc/pgx/v5"
)

// r97Naive is casq.tick that compares snapshots to see whether anything
// happened. Its own transaction is what happened since the last one.
const r97Naive = `CREATE FUNCTION naive_tick() RETURNS bigint LANGUAGE sql VOLATILE AS $$
	INSERT INTO casq.ticks (id, timeline, snapshot, low_id, high_id, lsn)
	SELECT last.id + 1, last.timeline, pg_current_snapshot(), last.high_id, casq.last_event_id(), pg_current_wal_insert_lsn()
	FROM (SELECT * FROM casq.ticks ORDER BY id DESC LIMIT 1) AS last
	WHERE last.snapshot::text <> pg_current_snapshot()::text
	RETURNING id $$`

// r97Polls are those of a ticker in a minute.
const r97Polls = int(time.Minute / eventlog.DefaultTickInterval)

// TestR97Idle: nothing happens for a minute. Whoever takes a tick whenever the
// snapshot has changed sees its own last tick, and never rests: 1,200 ticks a
// minute, and a cursor that stores a position for each. At most ten ticks are
// wanted, and no write of a cursor.
func TestR97Idle(t *testing.T) {
	t.Parallel()
	t.Run("twin/compares snapshots", func(t *testing.T) {
		t.Parallel()
		r := newR97(t)
		execute(t, r.site.pool, r97Naive)
		if n := r.minute(t, "SELECT naive_tick()", ""); n < r97Polls*9/10 {
			t.Errorf("%d ticks in an idle minute; the twin should have taken one with nearly each of %d looks", n, r97Polls)
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		r := newR97(t)
		source := &r97Source{DB: r.site.pool}
		cfg := r.site.config(t)
		cfg.Source = source
		follow(t, cfg)
		r.site.wantApplied(t, "a")
		r.site.tick(t)
		r.site.until(t, "SELECT caught_up_to IS NULL FROM casq.cursors") // said once
		position := "SELECT xmin || ' ' || ctid FROM casq.cursors"
		before := lines(t, r.site.pool, position)
		n := r.minute(t, "SELECT casq.tick()", `UPDATE casq.ticks SET taken_at = taken_at - interval '50 ms'
			WHERE id = (SELECT max(id) FROM casq.ticks)`)
		t.Logf("%d ticks in an idle minute", n)
		if n > 10 {
			t.Errorf("%d ticks in an idle minute, more than 10", n)
		}
		source.await(t)
		if after := lines(t, r.site.pool, position); after != before {
			t.Errorf("the cursor has written: its row was %s and is %s", before, after)
		}
	})
}

type r97 struct{ site *logSite }

func newR97(t *testing.T) *r97 {
	t.Helper()
	r := &r97{newLogSite(t)}
	r.site.write(t, "a")
	r.site.tick(t)
	return r
}

// minute looks as often as a ticker does in a minute, and returns how many of
// the looks took a tick. Before each of them, later makes 50 ms pass for it, by
// making its last tick older; the twin does not ask what time it is.
func (r *r97) minute(t *testing.T, look, later string) (ticks int) {
	t.Helper()
	for range r97Polls {
		if later != "" {
			execute(t, r.site.pool, later)
		}
		var id *int64
		if err := r.site.pool.QueryRow(t.Context(), look).Scan(&id); err != nil {
			t.Fatal(err)
		}
		if id != nil {
			ticks++
		}
	}
	return ticks
}

// r97Source counts looks at the source.
type r97Source struct {
	eventlog.DB
	looks atomic.Int64
}

// QueryRow implements [eventlog.DB].
func (s *r97Source) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	s.looks.Add(1)
	return s.DB.QueryRow(ctx, sql, args...)
}

// await returns when a look that began after the call is over.
func (s *r97Source) await(t *testing.T) {
	t.Helper()
	from := s.looks.Load()
	await.True(t, time.Minute, "the cursor looks", func() bool { return s.looks.Load() >= from+3 })
}
