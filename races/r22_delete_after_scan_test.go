package races

import "testing"

// TestR22DeleteAfterScan: an artifact is deleted while its project is recounted,
// after the scan has passed. Its event takes away what the scan has found.
func TestR22DeleteAfterScan(t *testing.T) {
	t.Parallel()
	countRace{
		projects: []int64{1},
		play: func(t *testing.T, s *counterSite, r recounter) {
			s.put(t, 1, 1, 300)
			s.put(t, 2, 1, 50)
			r.arrive(t)
			r.flush(t)
			r.start(t, 1)
			r.scan(t)
			s.remove(t, 1)
			r.arrive(t)
			r.end(t)
		},
		wins: true,
	}.run(t)
}
