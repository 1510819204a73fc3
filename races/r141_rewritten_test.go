package races

import (
	"errors"
	"testing"

	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5/pgconn"
)

// r141Rewrite gives all rows other sizes. No trigger sees it.
const r141Rewrite = `ALTER TABLE artifacts ALTER size TYPE bigint USING size * 1024`

// TestR141Rewritten: DDL writes new values into a tracked column, where counters
// are exact and nobody has an event. It is refused where event triggers are; where
// there are none, it is found afterwards: the counters are not exact from then on,
// until the recount that this asks for has ended, and that is real again.
func TestR141Rewritten(t *testing.T) {
	t.Parallel()
	testdb.NeedsSuperuser(t)
	const withoutEventTriggers = `DROP EVENT TRIGGER casq_ddl; DROP EVENT TRIGGER casq_drop; DROP EVENT TRIGGER casq_rewrite`
	const exact = `SELECT count(*) FROM casq.statistics WHERE exact AND scope_id = '1'`
	begin := func(t *testing.T) (*counterSite, *ours) {
		s := newCounterSite(t)
		o := s.ours(t)
		s.put(t, 1, 1, 60)
		s.put(t, 2, 1, 40)
		o.arrive(t)
		o.flush(t)
		return s, o
	}
	t.Run("twin/nobody looks", func(t *testing.T) {
		t.Parallel()
		s, o := begin(t)
		execute(t, s.pool, withoutEventTriggers)
		s.exec(t, r141Rewrite)
		s.remove(t, 1)
		o.arrive(t)
		o.flush(t)
		if got := o.flushed(t, 1); got == s.real(t, 1) || s.count(t, exact) == 0 {
			t.Errorf("%d of %d, want another value that is called exact, for that is what goes wrong", got, s.real(t, 1))
		}
	})
	t.Run("ours/refused", func(t *testing.T) {
		t.Parallel()
		s, o := begin(t)
		_, err := s.pool.Exec(t.Context(), r141Rewrite)
		var refused *pgconn.PgError
		if !errors.As(err, &refused) || refused.Code != "0A000" {
			t.Fatalf("got %v; want it refused", err)
		}
		s.remove(t, 1)
		o.arrive(t)
		o.flush(t)
		o.quiesceReal(t, 1)
	})
	t.Run("ours/found", func(t *testing.T) {
		t.Parallel()
		s, o := begin(t)
		execute(t, s.pool, withoutEventTriggers)
		s.exec(t, r141Rewrite)
		s.exec(t, "SELECT casq.watch_tables()")
		if s.count(t, exact) != 0 {
			t.Error("what no event tells is still called exact")
		}
		s.remove(t, 1)
		o.arrive(t)
		if err := o.worker.Scan(t.Context(), s.count(t, "SELECT id FROM casq.scans WHERE finished_at IS NULL"), 1, o.process); err != nil {
			t.Fatal(err)
		}
		o.end(t)
		o.quiesceReal(t, 1)
		if s.count(t, exact) != 1 {
			t.Error("it is not exact after its recount")
		}
	})
}
