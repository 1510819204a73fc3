package cursor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/testing/await"
	"casq/internal/testing/logged"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
)

// recorder is a source that counts polls.
type recorder struct {
	eventlog.DB
	polls atomic.Int64
}

func (r *recorder) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	r.polls.Add(1)
	return r.DB.QueryRow(ctx, sql, args...)
}

// untilRead waits until two polls were begun: the second began after the
// call, and the first is over.
func (r *recorder) untilRead(t *testing.T) {
	t.Helper()
	from := r.polls.Load()
	await.True(t, 30*time.Second, "the cursor polls", func() bool { return r.polls.Load() >= from+3 })
}

// A tick without events of interest is no reason to write.
func TestEmptyTicksWriteNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.write(t, "a")
	source := &recorder{DB: b.pool}
	cfg := b.config(t)
	cfg.Source = source
	run(t, cfg)
	b.untilEffects(t, "a")
	b.tick(t)
	b.until(t, "SELECT caught_up_to IS NULL FROM casq.cursors") // that this was all is said once
	row := func() (version string) {
		t.Helper()
		if err := b.pool.QueryRow(t.Context(), "SELECT xmin || ' ' || ctid FROM casq.cursors").Scan(&version); err != nil {
			t.Fatal(err)
		}
		return version
	}
	before := row()
	for range 20 {
		b.tick(t)
		source.untilRead(t)
	}
	if after := row(); after != before {
		t.Errorf("the row was written: %s, then %s", before, after)
	}
	b.write(t, "b")
	b.untilEffects(t, "a", "b")
}

// So that it holds no old ticks back, an idle cursor is moved now and then.
func TestIdlePositionIsMovedUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.write(t, "a")
	cfg := b.config(t)
	cfg.MoveEvery = time.Millisecond
	run(t, cfg)
	b.untilEffects(t, "a")
	tick := b.tick(t)
	b.until(t, fmt.Sprintf("SELECT tick = %d FROM casq.cursors", tick))
	b.wantEffects(t, "a")
}

// A cursor that stops between two pages, and another that goes on: to the tick
// of the step, though there are newer ones, and an event that committed late.
func TestStepIsGoneOnWithInTheMiddle(t *testing.T) {
	t.Parallel()
	b := setup(t)
	slow, err := b.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Rollback(context.Background())
	if _, err := slow.Exec(t.Context(), "SELECT casq.append_event('resource', 'slow', 'updated')"); err != nil {
		t.Fatal(err)
	}
	b.write(t, "a", "b", "c", "d", "e")
	cfg := b.config(t)
	cfg.PageSize = 2
	stop := newStop("batch:read")
	first := cfg
	first.Hook = func(point string) {
		if point == "batch:read" && pages(t, b) == 1 {
			stop.hook(point)
		}
	}
	r := run(t, first)
	stop.await(t)
	r.cancel()
	close(stop.resume)
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	b.wantEffects(t, "a", "b")
	if err := slow.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.write(t, "f")
	run(t, cfg)
	b.untilEffects(t, "a", "b", "c", "d", "e", "slow", "f")
}

// pages is how many pages of two events took effect.
func pages(t *testing.T, b *testBundle) int {
	var n int
	if err := b.pool.QueryRow(t.Context(), "SELECT count(*) / 2 FROM effects").Scan(&n); err != nil {
		t.Error(err)
	}
	return n
}

func TestFailedBatchIsTriedAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	log := &logged.Messages{}
	cfg := b.config(t)
	cfg.Logger = slog.New(log)
	fails := 3
	cfg.Consumer = writer{fail: func(eventlog.Batch) error {
		if fails == 0 {
			return nil
		}
		fails--
		return errors.New("fail as told")
	}}
	run(t, cfg)
	b.write(t, "a", "b")
	b.untilEffects(t, "a", "b")
	if n := log.Count("batch failed, lease released"); n != 3 {
		t.Errorf("%d failures were logged, want 3", n)
	}
}

func TestCursorWaitsForTheFirstTick(t *testing.T) {
	t.Parallel()
	b := setup(t)
	log := &logged.Messages{}
	cfg := b.config(t)
	cfg.Logger = slog.New(log)
	run(t, cfg)
	untilLogged(t, log, "no tick was taken", 1)
	b.write(t, "a")
	b.untilEffects(t, "a")
}

// A source that is behind the position is waited for.
func TestCursorWaitsForALateSource(t *testing.T) {
	long.Test(t)
	t.Parallel()
	cluster := testdb.NewCluster(t, testdb.Standbys(1))
	b := newBundle(t, cluster.URL())
	b.write(t, "a")
	standby := cluster.Standbys[0]
	if err := standby.WaitReplayed(t.Context(), cluster.Primary); err != nil {
		t.Fatal(err)
	}
	if err := standby.PauseReplay(t.Context()); err != nil {
		t.Fatal(err)
	}
	fromPrimary := run(t, b.config(t))
	b.write(t, "b")
	b.untilEffects(t, "a", "b")
	if err := fromPrimary.stop(); err != nil {
		t.Fatal(err)
	}
	log := &logged.Messages{}
	cfg := b.config(t)
	cfg.Source, cfg.Logger = testdb.Pool(t, cluster.StandbyURL(0)), slog.New(log)
	run(t, cfg)
	untilLogged(t, log, "source is late", 1)
	b.until(t, "SELECT last_error IS NOT NULL FROM casq.cursor_status")
	b.write(t, "c")
	if err := standby.ResumeReplay(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.untilEffects(t, "a", "b", "c")
	b.until(t, "SELECT last_error IS NULL FROM casq.cursor_status")
	if n := log.Count("source is late"); n != 1 {
		t.Errorf("said that the source is late %d times, want once", n)
	}
}

// Where the log does not continue, going on would skip events.
func TestCursorStopsWhereTheLogDoesNotContinue(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, change string
		want         error
	}{
		{"lost", "UPDATE casq.ticks SET nonce = gen_random_uuid()", eventlog.ErrLost},
		{"foreign", "UPDATE casq.cursors SET system_identifier = 1", eventlog.ErrForeign},
		{"pruned", "DELETE FROM casq.ticks WHERE id < (SELECT max(id) FROM casq.ticks)", eventlog.ErrPruned},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.write(t, "a")
			r := run(t, b.config(t))
			b.untilEffects(t, "a")
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
			b.write(t, "b")
			b.exec(t, test.change)
			if err := run(t, b.config(t)).wait(t); !errors.Is(err, test.want) {
				t.Errorf("stopped with %v, want %v", err, test.want)
			}
			b.wantEffects(t, "a")
		})
	}
}

// The position in memory is ahead, over ticks without events. When the source
// loses those, the stored position is as good.
func TestCursorGoesBackOverLostEmptyTicks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.write(t, "a")
	source, log := &recorder{DB: b.pool}, &logged.Messages{}
	cfg := b.config(t)
	cfg.Source, cfg.Logger = source, slog.New(log)
	run(t, cfg)
	b.untilEffects(t, "a")
	tick := b.tick(t)
	source.untilRead(t)
	b.exec(t, "UPDATE casq.ticks SET nonce = gen_random_uuid() WHERE id = $1", tick)
	untilLogged(t, log, "lost ticks without events", 1)
	b.write(t, "b")
	b.untilEffects(t, "a", "b")
}

// When the server ends the session of a holder that has nothing to do, another
// takes over, and the holder notices.
func TestSessionThatEndsWhileIdleIsTakenOver(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.write(t, "a")
	log := &logged.Messages{}
	cfg := b.config(t)
	cfg.Logger = slog.New(log)
	run(t, cfg)
	b.untilEffects(t, "a")
	var first int
	if err := b.pool.QueryRow(t.Context(), "SELECT backend_pid FROM casq.cursors").Scan(&first); err != nil {
		t.Fatal(err)
	}
	b.exec(t, "SELECT pg_terminate_backend($1)", first)
	run(t, b.config(t))
	b.until(t, fmt.Sprintf("SELECT backend_pid <> %d FROM casq.cursors", first))
	untilLogged(t, log, "lease released, finished fetching events", 1)
	b.write(t, "b")
	b.untilEffects(t, "a", "b")
}
