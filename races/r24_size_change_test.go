package races

import "testing"

// TestR24SizeChange: while a recount runs, one artifact grows, and another
// shrinks and is then deleted. Both have been scanned. With one bit for each
// artifact and sign the growth is taken for the creation again, and the deletion
// for the shrinking.
func TestR24SizeChange(t *testing.T) {
	t.Parallel()
	countRace{
		projects: []int64{1, 2},
		play: func(t *testing.T, s *counterSite, r recounter) {
			s.put(t, 1, 1, 100)
			s.put(t, 2, 2, 100)
			r.arrive(t)
			r.flush(t)
			r.start(t, 1, 2)
			r.scan(t)
			s.resize(t, 1, 150)
			s.resize(t, 2, 60)
			s.remove(t, 2)
			r.arrive(t)
			r.end(t)
		},
		refreshkey: map[int64]int64{1: 100, 2: 60},
	}.run(t)
}
