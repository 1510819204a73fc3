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
		if err := b.Pool.QueryRow(t.Context(), "SELECT count(*) FROM casq.scans").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	b.Track(t)
	if n := asked(); n != 0 {
		t.Errorf("%d recounts of an empty table", n)
	}
	b.Exec(t, "SELECT casq.untrack('artifacts')")
	b.Exec(t, "INSERT INTO artifacts VALUES (1, 7, 5), (2, 7, 6), (3, 8, 1)")
	b.Track(t)
	b.Exec(t, "SELECT casq.untrack('artifacts')")
	b.Track(t)
	if n := asked(); n != 1 {
		t.Errorf("%d recounts of a table that was tracked twice before one began", n)
	}
	b.work(t)
	b.Feed(t)
	b.FlushAll(t)
	if got, want := b.Flushed(t), b.Real(t); !maps.Equal(got, want) {
		t.Errorf("flushed %v, the table has %v", got, want)
	}
	var exact bool
	if err := b.Pool.QueryRow(t.Context(), "SELECT bool_and(exact) FROM casq.statistics").Scan(&exact); err != nil || !exact {
		t.Errorf("exact: %v, %v", exact, err)
	}
	// What happened while it was not tracked is in no log, though nothing is left.
	b.Exec(t, "SELECT casq.untrack('artifacts')")
	b.Exec(t, "DELETE FROM artifacts")
	b.Track(t)
	b.work(t)
	if got := b.Flushed(t); len(got) > 0 {
		t.Errorf("flushed %v, the table is empty", got)
	}
}
