package races

import "testing"

// TestR32Moved: an artifact changes its project while both projects are
// recounted: before the scan, after it, and with its event read before or after
// the end. Both have to be real.
func TestR32Moved(t *testing.T) {
	t.Parallel()
	for name, when := range map[string]struct{ beforeScan, arrives bool }{
		"before the scan":            {true, true},
		"before the scan, read late": {true, false},
		"after the scan":             {false, true},
		"after the scan, read late":  {false, false},
	} {
		t.Run("ours/"+name, func(t *testing.T) {
			t.Parallel()
			s := newCounterSite(t)
			o := s.ours(t)
			s.put(t, 1, 1, 300)
			s.put(t, 2, 1, 40)
			s.put(t, 3, 2, 5)
			o.arrive(t)
			o.flush(t)
			move := func() {
				s.exec(t, "UPDATE artifacts SET project = 2 WHERE id = 1")
				s.exec(t, "UPDATE artifacts SET project = 1, size = 6 WHERE id = 3")
				if when.arrives {
					o.arrive(t)
				}
			}
			o.start(t, 1, 2)
			if when.beforeScan {
				move()
			}
			o.scan(t)
			if !when.beforeScan {
				move()
			}
			o.end(t)
			o.quiesceReal(t, 1, 2)
		})
	}
}
