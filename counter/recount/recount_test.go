package recount

import (
	"maps"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestRecount(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]Request{
		"all":  {Kind: "artifact", All: true},
		"some": {Kind: "artifact", Scopes: []string{"1", "2", "3", "4"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.Exec(t, "INSERT INTO artifacts SELECT n, n % 4 + 1, n * 10 FROM generate_series(1, 100) AS n")
			b.Feed(t)
			b.FlushAll(t)
			b.Exec(t, "UPDATE casq.counters SET size = 5, items = 7")
			b.Exec(t, "INSERT INTO artifacts VALUES (1000, 1, 1)")
			b.recount(t, r)
			b.Feed(t)
			b.FlushAll(t)
			if got, want := b.Flushed(t), b.Real(t); !maps.Equal(got, want) {
				t.Errorf("flushed %v, want %v", got, want)
			}
			var done, open int
			err := b.Pool.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE state = 'done'), count(*) FILTER (WHERE finished_at IS NULL)
				FROM casq.refreshes`).Scan(&done, &open)
			if err != nil || open != 0 || done < 4 {
				t.Errorf("%d done, %d open, %v", done, open, err)
			}
		})
	}
}

// A recount of everything that has not begun will see what is asked for now. One
// that has begun may have read past it already.
func TestWaitingRecountsOfEverythingAreOne(t *testing.T) {
	t.Parallel()
	var b *testBundle
	ask := func(r Request) (scan int64) {
		scan, refreshes, err := b.Refresh(t.Context(), r)
		if err != nil || len(refreshes) != 1 {
			t.Errorf("ask: %v, %v", refreshes, err)
		}
		return scan
	}
	swap, compare := Request{Kind: "artifact", All: true}, Request{Kind: "artifact", All: true, Compare: true}
	var first, begun int64
	b = setup(t, func(c *settings) {
		c.Hook = func(at string) {
			if at == "scan:started" && begun == 0 {
				begun = ask(swap)
			}
		}
	})
	b.work(t) // what track asks for
	begun = 0
	b.Exec(t, "INSERT INTO artifacts VALUES (1, 1, 10)")
	first = ask(swap)
	b.Exec(t, "INSERT INTO artifacts VALUES (2, 1, 10)")
	if second := ask(swap); second != first {
		t.Errorf("the second of two that wait is recount %d, want %d", second, first)
	}
	if other := ask(compare); other == first {
		t.Error("one that only compares is one with one that swaps")
	}
	b.work(t)
	if begun == first {
		t.Error("what is asked for while a recount reads is one with it")
	}
	b.Feed(t)
	b.FlushAll(t)
	if got, want := b.Flushed(t), b.Real(t); !maps.Equal(got, want) {
		t.Errorf("flushed %v, want %v", got, want)
	}
}

// A scan sees commits that come after its tick. They are in what it has summed
// up, and not again in what has come since: neither in what is summed up before
// the swap nor in the rest, whichever the tick that shows them comes with.
func TestRecountSeesBeyondItsTick(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"scan:summed", "finalize:summed"} {
		t.Run("a tick at "+point, func(t *testing.T) {
			t.Parallel()
			var b *testBundle
			var late pgx.Tx
			b = setup(t, func(c *settings) {
				c.Hook = func(at string) {
					if at == "scan:started" {
						if err := late.Commit(t.Context()); err != nil {
							t.Error(err)
						}
					}
					if at == point {
						b.Tick(t)
					}
				}
			})
			b.Exec(t, "INSERT INTO artifacts VALUES (1, 1, 10)")
			b.Feed(t)
			b.FlushAll(t)
			var err error
			if late, err = b.Pool.Begin(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := late.Exec(t.Context(), "INSERT INTO artifacts VALUES (2, 1, 5)"); err != nil {
				t.Fatal(err)
			}
			b.recount(t, Request{Kind: "artifact", Scopes: []string{"1"}})
			if got, want := b.Flushed(t), b.Real(t); !maps.Equal(got, want) {
				t.Errorf("flushed %v, want %v", got, want)
			}
			var beyond int
			err = b.Pool.QueryRow(t.Context(), "SELECT cardinality(xids) FROM casq.scans").Scan(&beyond)
			if err != nil || beyond != 1 {
				t.Errorf("the scan saw %d transactions beyond its tick, %v", beyond, err)
			}
		})
	}
}

// The first recount may be asked for while somebody else takes the first tick.
func TestRefreshWaitsForTheFirstTick(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Exec(t, "DELETE FROM casq.ticks")
	ticker, err := b.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ticker.Exec(t.Context(), "SELECT pg_advisory_xact_lock(hashtextextended('casq.tick', 0))"); err != nil {
		t.Fatal(err)
	}
	b.Exec(t, "DELETE FROM casq.counter_shards")
	done := make(chan error, 1)
	go func() {
		_, _, err := b.Refresh(t.Context(), Request{Kind: "artifact", All: true})
		done <- err
	}()
	tried := false
	for !tried {
		select {
		case err := <-done:
			t.Fatalf("it did not wait: %v", err)
		default:
		}
		err := b.Pool.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity
			WHERE datname = current_database() AND query LIKE '%casq.tick(true)' AND state = 'idle')`).Scan(&tried)
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := ticker.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
