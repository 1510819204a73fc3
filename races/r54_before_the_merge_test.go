package races

import (
	"testing"

	"casq/internal/testing/replicatest"
	"casq/replica"
)

// TestR54BeforeTheMerge: a process dies, or loses the store, after the commit and
// before the position is stored.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR54BeforeTheMerge(t *testing.T) {
	t.Parallel()
	p := newPositionsSite(t)
	p.Pause(t)
	dying := p.open(t, replica.Options{Store: deadWriter{p.store}, Wait: -1})
	sessionWrite(t, dying.Session(document("a")), "a", "new")
	dying.Close()

	t.Run("twin/position after the commit only", func(t *testing.T) {
		p.wantStaleTwin(t, 0, "new")
	})
	t.Run("ours", func(t *testing.T) {
		wantPrimary(t, wantBody(t, p.session(), "a", "new"))
		replicatest.Until(t, "the mark is decided", func() error {
			wantPrimary(t, wantBody(t, p.session(), "a", "new"))
			return undecided(t, p.store)
		})
		wantPrimary(t, wantBody(t, p.session(), "a", "new"))
		p.Resume(t)
		standbyAgain(t, p.session, "a", "new")
	})
}
