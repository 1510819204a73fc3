package races

import "testing"

// TestR25FlushInFlight: a flush has frozen what was buffered when a recount
// starts, and goes on when that has ended. What it has in hand is part of what
// the scan has found, and is added to it. A flush may only add to the very value
// that it has taken its part from.
func TestR25FlushInFlight(t *testing.T) {
	t.Parallel()
	type flusher interface {
		recounter
		heldFlush(t *testing.T, at string) (goOn func())
	}
	play := func(t *testing.T, s *counterSite, r flusher, at string) {
		t.Helper()
		s.put(t, 1, 1, 600)
		r.arrive(t)
		goOn := r.heldFlush(t, at)
		r.start(t, 1)
		r.scan(t)
		r.end(t)
		goOn()
	}
	t.Run("twin/refreshkey", func(t *testing.T) {
		t.Parallel()
		s := newCounterSite(t)
		twin := s.refreshkey(t)
		play(t, s, twin, "flush:frozen")
		quiesce(t, twin, map[int64]int64{1: 1200})
	})
	for _, at := range []string{"flush:frozen", "flush:committed"} {
		t.Run("ours/"+at, func(t *testing.T) {
			t.Parallel()
			s := newCounterSite(t)
			o := s.ours(t)
			play(t, s, o, at)
			o.quiesceReal(t, 1)
		})
	}
}
