package races

import "testing"

// TestR20DeleteBeforeScan: an artifact is deleted while its project is recounted,
// before the scan comes to it, and the event is read at once. The scan does not
// find it any more. With a value that was set to zero it is subtracted from
// nothing.
func TestR20DeleteBeforeScan(t *testing.T) {
	t.Parallel()
	countRace{
		projects: []int64{1},
		play: func(t *testing.T, s *counterSite, r recounter) {
			s.put(t, 1, 1, 300)
			r.arrive(t)
			r.flush(t)
			r.start(t, 1)
			s.remove(t, 1)
			r.arrive(t)
			r.scan(t)
			r.end(t)
		},
		zero: map[int64]int64{1: -300},
		wins: true,
	}.run(t)
}
