package races

import "testing"

// TestR33DeletedBeforeStart: an artifact is deleted before the recount starts, and
// its event is read while it runs. That is the first scenario that the published
// fix was made for: the scan does not find the artifact, so that the event must
// not count.
func TestR33DeletedBeforeStart(t *testing.T) {
	t.Parallel()
	countRace{
		projects: []int64{1},
		play: func(t *testing.T, s *counterSite, r recounter) {
			s.put(t, 1, 1, 300)
			r.arrive(t)
			r.flush(t)
			s.remove(t, 1)
			r.start(t, 1)
			r.arrive(t)
			r.scan(t)
			r.end(t)
		},
		zero: map[int64]int64{1: -300},
		wins: true,
	}.run(t)
}
