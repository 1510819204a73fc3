package races

import (
	"testing"

	"casq/eventlog"

	"github.com/jackc/pgx/v5"
)

// TestR12OutOfOrder: a deletion is applied before the creation it follows. The
// creation is logged by a transaction that stays open, the deletion by another
// that commits at once, and the log delivers what is committed. A registry that
// does whatever came last copies the resource back, under a row that nothing will
// ever delete again.
func TestR12OutOfOrder(t *testing.T) {
	t.Parallel()
	t.Run("twin/last one wins", func(t *testing.T) {
		t.Parallel()
		s := newRegistrySite(t)
		n, h := s.naive(t), s.byHand(t)
		s.write(t, "first")
		late := s.outOfOrder(t)
		n.last(t, h.next(t))
		if n.status(t) != "removed" {
			t.Fatal(n.status(t))
		}
		if err := late.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		n.last(t, h.next(t))
		if n.status(t) == "pending" && n.start(t) {
			n.publish(t, n.copy(t))
			n.end(t)
		}
		if n.status(t) != "synced" || s.inPlace(t) != "first" {
			t.Errorf("%s with %q; want the deleted resource back, for that is what goes wrong", n.status(t), s.inPlace(t))
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		s, points := newRegistrySite(t), newPoints()
		s.write(t, "first")
		late := s.outOfOrder(t)
		s.work(t, points)
		s.until(t, "the removal", func() bool { return s.row(t).Status == "removed" })
		before, tick := s.row(t), s.cursor(t)
		if err := late.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.until(t, "the late event", func() bool { return s.cursor(t) != tick })
		if got := lines(t, s.pool, `SELECT string_agg(op, ' ' ORDER BY id) FROM casq.events`); got != "created deleted" {
			t.Fatalf("the events are %q: that is no race", got)
		}
		if row := s.row(t); row.Version != before.Version || row.Status != "removed" {
			t.Errorf("the row was %+v and is %+v", before, row)
		}
		if got := lines(t, s.pool, `SELECT string_agg(kind, ' ') FROM river.river_job`); got != "casq_remove" {
			t.Errorf("the jobs are %q", got)
		}
		s.reaches(t, "removed", "")
	})
}

// outOfOrder logs a deletion, and before it a creation whose transaction is
// returned open.
func (s *registrySite) outOfOrder(t *testing.T) pgx.Tx {
	t.Helper()
	created, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	execute(t, created, `SELECT casq.append_event('artifact', '`+key+`', 'created')`)
	execute(t, s.pool, `SELECT casq.append_event('artifact', '`+key+`', 'deleted')`)
	return created
}

// cursor is the tick at which the registry's cursor stands.
func (s *registrySite) cursor(t *testing.T) string {
	t.Helper()
	return lines(t, s.pool, `SELECT tick::text FROM casq.cursors`)
}

// last applies a batch as it comes.
func (n *naive) last(t *testing.T, batch eventlog.Batch) {
	t.Helper()
	for _, e := range batch.Events {
		n.event(t)
		if e.Op == eventlog.Deleted {
			execute(t, n.pool, `UPDATE naive SET status = 'removed'`)
		}
	}
}
