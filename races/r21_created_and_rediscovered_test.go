package races

import "testing"

// TestR21CreatedAndRediscovered: an artifact is created while its project is
// recounted, its event is read at once, and the scan finds it as well. Its id is
// lower than the highest one at the start, since ids are not in the order of
// commits. With a value that was set to zero it counts twice.
func TestR21CreatedAndRediscovered(t *testing.T) {
	t.Parallel()
	countRace{
		projects: []int64{1},
		play: func(t *testing.T, s *counterSite, r recounter) {
			late, err := s.pool.Begin(t.Context())
			must(t, err)
			_, err = late.Exec(t.Context(), "INSERT INTO artifacts VALUES (1, 1, 300)")
			must(t, err)
			s.put(t, 2, 1, 50)
			r.arrive(t)
			r.flush(t)
			r.start(t, 1)
			must(t, late.Commit(t.Context()))
			r.arrive(t)
			r.scan(t)
			r.end(t)
		},
		zero: map[int64]int64{1: 650},
		wins: true,
	}.run(t)
}
