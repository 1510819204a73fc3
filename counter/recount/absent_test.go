package recount

import (
	"maps"
	"testing"
)

// A scope that was never counted loses its last resource, and gets another one that is
// as large. A scan sees that it has nothing; both events reach the counters
// together, as a sum of zero. What came after the scan counts all the same: there
// is a counter, though nothing has changed it.
func TestScopeWithoutRowsWhoseSumIsZero(t *testing.T) {
	t.Parallel()
	for name, buffered := range map[string]bool{"redis": true, "postgres": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var b *testBundle
			b = setup(t, func(c *settings) {
				c.Hook = func(point string) {
					if point == "scan:summed" {
						b.Exec(t, "INSERT INTO artifacts VALUES (2, 7, 5)")
						b.Tick(t)
						b.FeedInto(t, buffered)
						b.FlushAll(t)
					}
				}
			})
			b.Exec(t, "SELECT casq.untrack('artifacts')")
			b.Exec(t, "INSERT INTO artifacts VALUES (1, 7, 5)")
			b.Track(t)
			b.Feed(t)
			b.FlushAll(t)
			b.Exec(t, "DELETE FROM artifacts")
			b.work(t) // the recount that tracking it has asked for
			b.Feed(t)
			b.FlushAll(t)
			if got, want := b.Flushed(t), b.Real(t); !maps.Equal(got, want) {
				t.Errorf("flushed %v, the table has %v", got, want)
			}
		})
	}
}

// The same, where a recount in parts looks for what its parts have not found.
func TestScopeBetweenPartsWhoseSumIsZero(t *testing.T) {
	t.Parallel()
	s := newSlow(t)
	s.Exec(t, "SELECT casq.untrack('artifacts')")
	s.Exec(t, "INSERT INTO artifacts VALUES (1, 1, 10), (2, 2, 20), (50, 50, 500)")
	s.Track(t)
	s.Feed(t)
	s.FlushAll(t)
	s.before = func(n int) {
		if n == 2 {
			s.Exec(t, "DELETE FROM artifacts WHERE project = 50")
		}
	}
	s.between = func(n int) {
		if n == 3 { // it has looked for what is beyond 2
			s.Exec(t, "INSERT INTO artifacts VALUES (51, 50, 500)")
			s.Tick(t)
		}
	}
	s.work(t) // the recount that tracking it has asked for
	s.same(t)
}
