package races

import (
	"errors"
	"testing"

	"casq/counter/recount"
)

// TestR26SecondRecount: a recount is asked for when another one has just ended,
// and while another one runs. In the first case all bits of the first one are
// still set, and whatever the second finds is taken for a double; in the second
// the request is dropped, though it was made because of a value that was damaged
// after the scan. Each request has to be answered by a recount that begins after
// it.
func TestR26SecondRecount(t *testing.T) {
	t.Parallel()
	justEnded := func(t *testing.T, s *counterSite, r recounter) {
		t.Helper()
		s.put(t, 1, 1, 600)
		r.arrive(t)
		r.flush(t)
		for range 2 {
			r.start(t, 1)
			r.scan(t)
			r.end(t)
		}
	}
	t.Run("twin/refreshkey", func(t *testing.T) {
		t.Parallel()
		s := newCounterSite(t)
		twin := s.refreshkey(t)
		justEnded(t, s, twin)
		quiesce(t, twin, map[int64]int64{1: 0})
	})
	t.Run("twin/refreshkey cleaned up/wins", func(t *testing.T) {
		t.Parallel()
		s := newCounterSite(t)
		twin := s.refreshkey(t)
		s.put(t, 1, 1, 600)
		twin.arrive(t)
		for range 2 {
			twin.start(t, 1)
			twin.scan(t)
			twin.end(t)
			twin.cleanUp(t)
		}
		quiesce(t, twin, map[int64]int64{1: 600})
	})
	t.Run("twin/refreshkey while one runs", func(t *testing.T) {
		t.Parallel()
		s := newCounterSite(t)
		twin := s.refreshkey(t)
		s.put(t, 1, 1, 600)
		twin.arrive(t)
		twin.start(t, 1)
		twin.scan(t)
		s.exec(t, "UPDATE published_statistics SET size = 5")
		asked, err := twin.Ask(t.Context(), 1)
		must(t, err)
		if asked {
			t.Error("the second request was taken")
		}
		twin.end(t)
		if found, err := twin.Scan(t.Context()); found || err != nil {
			t.Errorf("a second recount was found: %v", err)
		}
		quiesce(t, twin, map[int64]int64{1: 605})
	})
	t.Run("ours/just ended", func(t *testing.T) {
		t.Parallel()
		s := newCounterSite(t)
		o := s.ours(t)
		justEnded(t, s, o)
		s.exec(t, "UPDATE casq.counters SET size = 5")
		o.recount(t, 1)
		o.quiesceReal(t, 1)
	})
	t.Run("ours/while one runs", func(t *testing.T) {
		t.Parallel()
		s := newCounterSite(t)
		o := s.ours(t)
		s.put(t, 1, 1, 600)
		o.arrive(t)
		o.flush(t)
		o.start(t, 1)
		second := o.ask(t, 1)[0]
		waiting := o.queue.scan(t)
		for _, step := range []func(*testing.T){o.scan, o.end} {
			if err := o.worker.Scan(t.Context(), waiting, 1, o.process); !errors.Is(err, recount.ErrBusy) {
				t.Errorf("the second scan has not waited: %v", err)
			}
			step(t)
		}
		s.exec(t, "UPDATE casq.counters SET size = 5")
		must(t, o.worker.Scan(t.Context(), waiting, 1, o.process))
		o.end(t)
		if state, _ := o.state(t, second); state != "done" {
			t.Errorf("the second recount is %s", state)
		}
		o.quiesceReal(t, 1)
	})
}
