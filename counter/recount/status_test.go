package recount

import "testing"

// While nothing happens, ticks are taken, and no position moves: nothing is behind.
// What has come and is not flushed is behind by the ticks that show it.
func TestStatusWhileNothingHappens(t *testing.T) {
	t.Parallel()
	b := setup(t)
	behind := func() (ticks int, late bool) {
		t.Helper()
		err := b.pool.QueryRow(t.Context(), "SELECT max(ticks_behind), max(lag) > interval '0' FROM casq.counter_status").Scan(&ticks, &late)
		if err != nil {
			t.Fatal(err)
		}
		return ticks, late
	}
	want := func(when string, ticks int) {
		t.Helper()
		if got, late := behind(); got != ticks || late != (ticks > 0) {
			t.Errorf("%s: %d ticks behind, late: %v; want %d", when, got, late, ticks)
		}
	}
	want("at first", 0)
	b.exec(t, "INSERT INTO artifacts VALUES (1, 1, 10)")
	want("before a tick shows it", 0)
	b.feed(t)
	b.tick(t)
	want("before the flush", 2)
	b.flush(t)
	want("after the flush", 0)
	for range 3 {
		b.tick(t)
	}
	want("while nothing happens", 0)
	b.exec(t, "INSERT INTO artifacts VALUES (2, NULL, 10)")
	b.tick(t)
	want("after an event that counts under nothing", 0)
	b.exec(t, "INSERT INTO artifacts VALUES (3, 1, 10)")
	b.tick(t)
	want("after one that counts", 1)
}
