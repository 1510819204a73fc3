package races

import "testing"

// TestR29CrashInFlush: a process is killed inside of a flush: when it has frozen
// what was buffered, before and after the commit, and before it drops what it
// has frozen. Whichever of drop and commit comes first, dying between the two
// loses what was flushed or counts it twice, unless the counter itself tells
// how far it has come. The next flush has to be right, without a repair.
func TestR29CrashInFlush(t *testing.T) {
	t.Parallel()
	t.Run("twin/refreshkey", func(t *testing.T) {
		t.Parallel()
		s := newCounterSite(t)
		twin := s.refreshkey(t)
		s.put(t, 1, 1, 100)
		twin.arrive(t)
		s.child(t, countingSpec{Twin: true, Job: "flush", At: "flush:dropped"}).Kill()
		s.expire(t)
		quiesce(t, twin, map[int64]int64{1: 0})
	})
	t.Run("twin/refreshkey after the freeze/wins", func(t *testing.T) {
		t.Parallel()
		s := newCounterSite(t)
		twin := s.refreshkey(t)
		s.put(t, 1, 1, 100)
		twin.arrive(t)
		s.child(t, countingSpec{Twin: true, Job: "flush", At: "flush:frozen"}).Kill()
		s.expire(t)
		twin.flush(t)
		quiesce(t, twin, map[int64]int64{1: 100})
	})
	for _, at := range []string{"flush:frozen", "flush:locked", "flush:committed"} {
		t.Run("ours/"+at, func(t *testing.T) {
			t.Parallel()
			s := newCounterSite(t)
			o := s.ours(t)
			for id := range int64(raceProjects) {
				s.put(t, id, id, 100)
			}
			o.arrive(t)
			s.child(t, countingSpec{Job: "flush", At: at}).Kill()
			s.put(t, 100, 1, 5)
			o.quiesceReal(t, 0, 1, 2, 3, 4, 5, 6, 7)
			s.put(t, 101, 2, 7)
			o.quiesceReal(t, 0, 1, 2, 3, 4, 5, 6, 7)
		})
	}
}

// expire does what time does to the lock of a flush that died.
func (s *counterSite) expire(t *testing.T) {
	t.Helper()
	locks, err := s.client.Keys(t.Context(), "*:locked").Result()
	must(t, err)
	if len(locks) != 1 {
		t.Fatalf("locks %q, want that of the dead flush", locks)
	}
	must(t, s.client.Del(t.Context(), locks...).Err())
}
