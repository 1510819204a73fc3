package recount

import (
	"context"
	"errors"
	"maps"
	"testing"

	"github.com/google/uuid"
)

// A run whose token was taken while it scanned ends nothing, also when it has no
// sums to store, where the token is compared as well.
func TestAScanWithoutItsTokenEndsNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Exec(t, "INSERT INTO artifacts VALUES (1, 7, 5)")
	b.Feed(t)
	b.FlushAll(t)
	b.Exec(t, "DELETE FROM artifacts")
	cfg := b.cfg
	cfg.Hook = func(point string) {
		if point == "scan:summed" {
			b.Exec(t, "UPDATE casq.scans SET token = gen_random_uuid()")
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
	if err := b.Pool.QueryRow(t.Context(), "SELECT scanned_at IS NOT NULL FROM casq.scans").Scan(&ended); err != nil || ended {
		t.Errorf("the scan has ended: %v, %v", ended, err)
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
	b.Exec(t, "INSERT INTO artifacts VALUES (1, 7, 100), (2, 8, 5)")
	b.Feed(t)
	b.FlushAll(t)
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
	b.Exec(t, "INSERT INTO casq.processes (id, host, pid) VALUES ($1, 'test', 2)", b.process)
	b.Exec(t, "DELETE FROM artifacts WHERE project = 7")
	b.work(t)
	b.Feed(t)
	b.FlushAll(t)
	if got, want := b.Flushed(t), b.Real(t); !maps.Equal(got, want) {
		t.Errorf("flushed %v, the table has %v", got, want)
	}
}
