package recount

import (
	"maps"
	"testing"
)

// A table with rows is counted without being asked for; one that never had any is
// exact as it is, and tracking it again changes nothing.
func TestTrackingATableWithRowsHasThemCounted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	asked := func() (n int) {
		t.Helper()
		if err := b.pool.QueryRow(t.Context(), "SELECT count(*) FROM casq.scans").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	b.track(t)
	if n := asked(); n != 0 {
		t.Errorf("%d recounts of an empty table", n)
	}
	b.exec(t, "SELECT casq.untrack('artifacts')")
	b.exec(t, "INSERT INTO artifacts VALUES (1, 7, 5), (2, 7, 6), (3, 8, 1)")
	b.track(t)
	b.exec(t, "SELECT casq.untrack('artifacts')")
	b.track(t)
	if n := asked(); n != 1 {
		t.Errorf("%d recounts of a table that was tracked twice before one began", n)
	}
	b.work(t)
	b.feed(t)
	b.flush(t)
	if got, want := b.flushedValues(t), b.real(t); !maps.Equal(got, want) {
		t.Errorf("flushed %v, the table has %v", got, want)
	}
	var exact bool
	if err := b.pool.QueryRow(t.Context(), "SELECT bool_and(exact) FROM casq.statistics").Scan(&exact); err != nil || !exact {
		t.Errorf("exact: %v, %v", exact, err)
	}
	// What happened while it was not tracked is in no log, though nothing is left.
	b.exec(t, "SELECT casq.untrack('artifacts')")
	b.exec(t, "DELETE FROM artifacts")
	b.track(t)
	b.work(t)
	if got := b.flushedValues(t); len(got) > 0 {
		t.Errorf("flushed %v, the table is empty", got)
	}
}
