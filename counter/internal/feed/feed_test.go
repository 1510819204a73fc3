package feed_test

import (
	"maps"
	"testing"

	"casq/counter/internal/countertest"
	"casq/internal/testing/long"

	"github.com/jackc/pgx/v5"
)

// Without Redis everything goes to Postgres; when it is back, it goes on from
// there.
func TestWithoutRedis(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := countertest.New(t)
	b.Exec(t, "INSERT INTO artifacts SELECT n, n % 4, 10 FROM generate_series(1, 20) AS n")
	b.Feed(t)
	b.Exec(t, "INSERT INTO artifacts SELECT n, n % 4, 10 FROM generate_series(21, 40) AS n")
	b.Tick(t)
	b.FeedInto(t, false)
	if got, want := b.Flushed(t), b.Real(t); !maps.Equal(got, want) {
		t.Errorf("flushed %v, want %v", got, want)
	}
	b.Exec(t, "DELETE FROM artifacts WHERE id < 30")
	b.Feed(t)
	for scope, want := range b.Real(t) {
		if got := b.Live(t, scope); got != want {
			t.Errorf("scope %s: live %v, want %v", scope, got, want)
		}
	}
}

// Home fails over between freezing and flushing, and has lost the newest tick with
// its events; Redis knows both. What was lost is not flushed.
func TestWhatHomeHasLostIsNotFlushed(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := countertest.New(t)
	b.Exec(t, "INSERT INTO artifacts VALUES (1, 7, 5)")
	b.Feed(t)
	b.FlushAll(t)
	want := b.Real(t)
	b.Exec(t, "INSERT INTO artifacts VALUES (2, 7, 100)")
	b.Feed(t)
	err := pgx.BeginFunc(t.Context(), b.Pool, func(tx pgx.Tx) error {
		for _, sql := range []string{
			"SELECT casq.untrack('artifacts')", "DELETE FROM artifacts WHERE id = 2",
			"DELETE FROM casq.events WHERE id = (SELECT max(id) FROM casq.events)",
			"DELETE FROM casq.ticks WHERE id > (SELECT max(tick) FROM casq.counter_shards)",
		} {
			if _, err := tx.Exec(t.Context(), sql); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	b.FlushAll(t)
	if got := b.Flushed(t); !maps.Equal(got, want) {
		t.Errorf("flushed %v, want %v", got, want)
	}
}

// A flush that died when it had frozen everything is carried on by the next one,
// though nothing is pending.
func TestFlushOfWhatIsFrozenAlone(t *testing.T) {
	t.Parallel()
	b := countertest.New(t)
	b.Exec(t, "INSERT INTO artifacts VALUES (1, 7, 5)")
	b.Feed(t)
	buf, n := b.Open(t)
	for shard := range n {
		if _, err := buf.Freeze(t.Context(), shard); err != nil {
			t.Fatal(err)
		}
	}
	b.FlushAll(t)
	if got, want := b.Flushed(t), b.Real(t); !maps.Equal(got, want) {
		t.Errorf("flushed %v, want %v", got, want)
	}
}

// What a buffer still has of a kind that has ended brings none of its counters back; that
// of one which is tracked again is recounted.
func TestFlushOfAKindThatHasEnded(t *testing.T) {
	t.Parallel()
	b := countertest.New(t)
	b.Exec(t, "INSERT INTO artifacts VALUES (1, 7, 5)")
	b.Feed(t)
	b.FlushAll(t)
	b.Exec(t, "INSERT INTO artifacts VALUES (2, 8, 5)")
	b.Feed(t)
	b.Exec(t, "SELECT casq.untrack(kind => 'artifact')")
	b.Exec(t, "SELECT casq.drop_kind('artifact')")
	b.FlushAll(t)
	if got := b.Flushed(t); len(got) > 0 {
		t.Errorf("flushed %v of a kind that nobody knows", got)
	}
	b.Track(t)
	if got := b.Texts(t, "SELECT kind, complete::text FROM casq.counter_kinds"); got["artifact"] != "false" {
		t.Errorf("tracked again it is complete: %v", got)
	}
}
