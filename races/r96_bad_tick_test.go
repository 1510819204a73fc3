package races

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"casq/eventlog"
	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
)

// r96Naive is casq.tick without its checks: it takes the lock, and writes down
// the snapshot that its transaction has.
const r96Naive = `CREATE SEQUENCE naive_tick_id START 2;
	CREATE FUNCTION naive_tick(present pg_snapshot DEFAULT pg_current_snapshot()) RETURNS bigint LANGUAGE sql VOLATILE AS $$
		INSERT INTO casq.ticks (id, timeline, snapshot, low_id, high_id, lsn)
		SELECT nextval('naive_tick_id'), 1, present, 0, casq.last_event_id(), pg_current_wal_insert_lsn()
		WHERE pg_try_advisory_xact_lock(1)
		RETURNING id $$`

// TestR96BadTick: a tick is taken from where its snapshot is older than the last
// one's, or from where it can be lost: from REPEATABLE READ, from a transaction
// that is open already, from several sessions at once, with synchronous_commit
// off before a crash. A tick behind the last one makes the next step deliver
// events again; a lost one is issued again for other events. Each has to be
// refused, or to be exact.
func TestR96BadTick(t *testing.T) {
	t.Parallel()
	t.Run("twin/repeatable read", func(t *testing.T) {
		t.Parallel()
		r := newR96(t)
		old := r.old(t)
		r.site.write(t, "a")
		r.naive(t, r.site.pool)
		r.read(t)
		if !r.naive(t, old) {
			t.Fatal("the twin took no tick")
		}
		r.site.commit(t, old)
		r.read(t)
		r.naive(t, r.site.pool)
		r.read(t)
		wantResources(t, r.got, "a", "a")
	})
	t.Run("twin/snapshot before the lock", func(t *testing.T) {
		t.Parallel()
		r := newR96(t)
		// Two sessions at once: the first has its snapshot, and comes to write
		// it down when the second is through.
		var early string
		if err := r.site.pool.QueryRow(t.Context(), "SELECT pg_current_snapshot()::text").Scan(&early); err != nil {
			t.Fatal(err)
		}
		r.site.write(t, "a")
		r.naive(t, r.site.pool)
		r.read(t)
		if _, err := r.site.pool.Exec(t.Context(), "SELECT naive_tick($1::text::pg_snapshot)", early); err != nil {
			t.Fatal(err)
		}
		r.read(t)
		r.naive(t, r.site.pool)
		r.read(t)
		wantResources(t, r.got, "a", "a")
	})
	t.Run("twin/inside an open transaction", func(t *testing.T) {
		t.Parallel()
		r := newR96(t)
		open := r.site.begin(t, "own")
		r.naive(t, open)
		// The lock is held until it ends, and the log stands still.
		r.site.write(t, "a")
		if r.naive(t, r.site.pool) {
			t.Error("another tick was taken; it should have found the lock taken")
		}
		r.read(t)
		wantResources(t, r.got) // and not "a", which has committed
	})
	t.Run("twin/asynchronous", func(t *testing.T) {
		t.Parallel()
		// By tick ids alone, without nonces, the reissued tick is the old one.
		// The WAL writer may be quicker than the crash, now and then.
		tick := func(r *r96, t *testing.T) { r.naive(t, r.site.pool) }
		for range 5 {
			if !slices.Contains(r96Crash(t, tick, true), "second") {
				return
			}
		}
		t.Error("the second event was applied each time; the twin should have taken the reissued tick for the lost one")
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		t.Run("refused", func(t *testing.T) {
			t.Parallel()
			r := newR96(t)
			for name, tx := range map[string]pgx.Tx{"repeatable read": r.old(t), "an open transaction": r.site.begin(t, "own")} {
				r.site.write(t, name)
				r.site.tick(t)
				if _, err := eventlog.Tick(t.Context(), tx, true); err == nil {
					t.Errorf("a tick from %s was not refused", name)
				}
				r.read(t)
			}
			if len(r.got) != 2 || r.got[0] == r.got[1] {
				t.Errorf("applied %v, want each once", r.got)
			}
		})
		t.Run("ten sessions at once", func(t *testing.T) {
			t.Parallel()
			r := newR96(t)
			follow(t, r.site.config(t))
			var group sync.WaitGroup
			var want []string
			for i := range 10 {
				for j := range 10 {
					want = append(want, fmt.Sprint(i, " ", j))
				}
				group.Go(func() {
					for j := range 10 {
						r.site.write(t, fmt.Sprint(i, " ", j))
						if _, err := eventlog.Tick(t.Context(), r.site.pool, true); err != nil {
							t.Error(err)
						}
					}
				})
			}
			group.Wait()
			r.site.tick(t)
			r.site.wantAppliedInAnyOrder(t, want...)
		})
		t.Run("asynchronous", func(t *testing.T) {
			t.Parallel()
			tick := func(r *r96, t *testing.T) {
				t.Helper()
				if _, err := eventlog.Tick(t.Context(), r.site.pool, true); err != nil {
					t.Fatal(err)
				}
			}
			wantResources(t, r96Crash(t, tick, false), "first", "second")
		})
	})
}

// r96 is a log and a reader of it.
type r96 struct {
	site     *logSite
	position eventlog.Position
	got      []string
}

func newR96(t *testing.T) *r96 {
	t.Helper()
	return r96At(t, newLogSite(t))
}

func r96At(t *testing.T, s *logSite) *r96 {
	t.Helper()
	execute(t, s.pool, r96Naive)
	s.tick(t)
	r := &r96{site: s, position: s.start(t)}
	r.read(t)
	return r
}

// old opens a transaction whose snapshot stays that of this moment.
func (r *r96) old(t *testing.T) pgx.Tx {
	t.Helper()
	tx, err := r.site.pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Rollback(context.Background()) })
	if _, err := tx.Exec(t.Context(), "SELECT 1"); err != nil {
		t.Fatal(err)
	}
	return tx
}

// naive lets the twin take a tick, and tells whether it did.
func (r *r96) naive(t *testing.T, db eventlog.DB) bool {
	t.Helper()
	var id *int64
	if err := db.QueryRow(t.Context(), "SELECT naive_tick()").Scan(&id); err != nil {
		t.Fatal(err)
	}
	return id != nil
}

// read applies what the newest tick shows.
func (r *r96) read(t *testing.T) {
	t.Helper()
	resources, position := readOn(t, r.site.pool, r.position, 100)
	r.got, r.position = append(r.got, resources...), position
}

// r96Crash takes a tick with synchronous_commit off and lets the server crash
// once the tick was read. The log goes on with another event. The reader stands
// in another database, which lives on; without nonces it knows ticks by their
// ids.
func r96Crash(t *testing.T, tick func(*r96, *testing.T), withoutMarks bool) []string {
	t.Helper()
	cluster := testdb.NewCluster(t, testdb.Settings(map[string]string{
		"wal_writer_delay": "10s", "synchronous_commit": "off",
	}))
	r := r96At(t, logSiteAt(t, cluster.URL()))
	// What is lost has to be within one page of the WAL: its writer writes each that is
	// full. Else the sequence of ticks may be kept, and the tick lost.
	execute(t, r.site.pool, "SELECT pg_switch_wal()")
	execute(t, r.site.pool, "CHECKPOINT")
	r.site.write(t, "first")
	tick(r, t)
	r.read(t)
	if err := cluster.Primary.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Primary.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.site.pool.Reset()
	r.site.write(t, "second")
	tick(r, t)
	if withoutMarks {
		var nonce [16]byte
		if err := r.site.pool.QueryRow(t.Context(), "SELECT nonce FROM casq.ticks WHERE id = $1", r.position.Tick).Scan(&nonce); err != nil {
			t.Fatal(err)
		}
		r.position.Nonce = nonce
	}
	r.read(t)
	return r.got
}
