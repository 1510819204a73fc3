package recount

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// A run whose token was taken while it scanned ends nothing, also when it has no
// sums to store, where the token is compared as well.
func TestAScanWithoutItsTokenEndsNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, "INSERT INTO artifacts VALUES (1, 7, 5)")
	b.feed(t)
	b.flush(t)
	b.exec(t, "DELETE FROM artifacts")
	cfg := b.cfg
	cfg.Logger = slog.New(slog.NewTextHandler(testLog{t}, nil))
	cfg.Hook = func(point string) {
		if point == "scan:summed" {
			b.exec(t, "UPDATE casq.scans SET token = gen_random_uuid()")
		}
	}
	frozen := New(cfg)
	scan, _, err := frozen.Refresh(t.Context(), Request{Kind: "artifact", Scopes: []string{"7"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := frozen.Scan(t.Context(), scan, 1, b.process); !errors.Is(err, ErrSuperseded) {
		t.Errorf("it ended with %v", err)
	}
	var ended bool
	if err := b.pool.QueryRow(t.Context(), "SELECT scanned_at IS NOT NULL FROM casq.scans").Scan(&ended); err != nil || ended {
		t.Errorf("the scan has ended: %v, %v", ended, err)
	}
}

// Home fails over between freezing and flushing, and has lost the newest tick with
// its events; Redis knows both. What was lost is not flushed.
func TestWhatHomeHasLostIsNotFlushed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, "INSERT INTO artifacts VALUES (1, 7, 5)")
	b.feed(t)
	b.flush(t)
	want := b.real(t)
	b.exec(t, "INSERT INTO artifacts VALUES (2, 7, 100)")
	b.feed(t)
	err := pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
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
	b.flush(t)
	if got := b.flushedValues(t); !maps.Equal(got, want) {
		t.Errorf("flushed %v, want %v", got, want)
	}
}

// A flush that died when it had frozen everything is carried on by the next one,
// though nothing is pending.
func TestFlushOfWhatIsFrozenAlone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, "INSERT INTO artifacts VALUES (1, 7, 5)")
	b.feed(t)
	buf, n := b.open(t)
	for shard := range n {
		if _, err := buf.Freeze(t.Context(), shard); err != nil {
			t.Fatal(err)
		}
	}
	b.flush(t)
	if got, want := b.flushedValues(t), b.real(t); !maps.Equal(got, want) {
		t.Errorf("flushed %v, want %v", got, want)
	}
}

// A run has stored its sums when it dies, and the scope's last row goes before the
// next run's snapshot, which finds nothing to store in their place.
func TestWhatAnEarlierRunHasFoundIsForgotten(t *testing.T) {
	t.Parallel()
	var die context.CancelFunc
	b := setup(t, func(c *settings) {
		c.Hook = func(point string) {
			if point == "scan:summed" && die != nil {
				die()
			}
		}
	})
	b.exec(t, "INSERT INTO artifacts VALUES (1, 7, 100), (2, 8, 5)")
	b.feed(t)
	b.flush(t)
	scan, _, err := b.Refresh(t.Context(), Request{Kind: "artifact", Scopes: []string{"7", "8"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	die = cancel
	if err := b.Scan(ctx, scan, 1, b.process); !errors.Is(err, context.Canceled) {
		t.Fatalf("the first run ended with %v", err)
	}
	die = nil
	b.process = uuid.New() // another one goes on at once
	b.exec(t, "INSERT INTO casq.processes (id, host, pid) VALUES ($1, 'test', 2)", b.process)
	b.exec(t, "DELETE FROM artifacts WHERE project = 7")
	b.work(t)
	b.feed(t)
	b.flush(t)
	if got, want := b.flushedValues(t), b.real(t); !maps.Equal(got, want) {
		t.Errorf("flushed %v, the table has %v", got, want)
	}
}
