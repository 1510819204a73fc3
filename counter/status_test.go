package counter_test

import (
	"testing"

	"casq/counter/internal/countertest"
)

// While nothing happens, ticks are taken, and no position moves: nothing is behind.
// What has come and is not flushed is behind by the ticks that show it.
func TestStatusWhileNothingHappens(t *testing.T) {
	t.Parallel()
	b := countertest.New(t)
	behind := func() (ticks int, late bool) {
		t.Helper()
		err := b.Pool.QueryRow(t.Context(), "SELECT max(ticks_behind), max(lag) > interval '0' FROM casq.counter_status").Scan(&ticks, &late)
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
	b.Exec(t, "INSERT INTO artifacts VALUES (1, 1, 10)")
	want("before a tick shows it", 0)
	b.Feed(t)
	b.Tick(t)
	want("before the flush", 2)
	b.FlushAll(t)
	want("after the flush", 0)
	for range 3 {
		b.Tick(t)
	}
	want("while nothing happens", 0)
	b.Exec(t, "SELECT casq.append_event('artifact', '2', 'updated')")
	b.Tick(t)
	want("after an event that counts under nothing", 0)
	b.Exec(t, "INSERT INTO artifacts VALUES (3, 1, 10)")
	b.Tick(t)
	want("after one that counts", 1)
}
