package races

import "testing"

// TestR34CreatedBeforeStart: an artifact is created before the recount starts, its
// event is read while it runs, and the scan finds the artifact. That is the second
// scenario that the published fix was made for: it must count once.
func TestR34CreatedBeforeStart(t *testing.T) {
	t.Parallel()
	countRace{
		projects: []int64{1},
		play: func(t *testing.T, s *counterSite, r recounter) {
			s.put(t, 1, 1, 300)
			r.start(t, 1)
			r.arrive(t)
			r.scan(t)
			r.end(t)
		},
		zero: map[int64]int64{1: 600},
		wins: true,
	}.run(t)
}
