package races

import "testing"

// TestR23LateDecrement: artifacts are deleted before the scan, and their events
// are read only when the recount has ended. What the scan had not found is
// subtracted all the same: from what is left of one project, and from nothing
// in another. A recount may not end before the log has been read as far as its
// scan has seen.
func TestR23LateDecrement(t *testing.T) {
	t.Parallel()
	wrong := map[int64]int64{1: 0, 2: -300}
	countRace{
		projects: []int64{1, 2},
		play: func(t *testing.T, s *counterSite, r recounter) {
			s.put(t, 1, 1, 300)
			s.put(t, 2, 1, 300)
			s.put(t, 3, 2, 300)
			r.arrive(t)
			r.flush(t)
			s.remove(t, 1, 3)
			r.start(t, 1, 2)
			r.scan(t)
			r.end(t)
			r.arrive(t)
		},
		zero:       wrong,
		refreshkey: wrong,
	}.run(t)
}
