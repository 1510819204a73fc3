package reads

import "testing"

// TestR44Unstick: a process finds that the standbys have caught up with a position,
// and drops it. Between the two another process stores a newer one.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR44Unstick(t *testing.T) {
	t.Parallel()
	p := newPositionsSite(t)
	first := p.write(t, "first")
	p.stick(t, first)
	p.naiveStick(t, first)
	p.CatchUp(t)
	caughtUp := p.naiveFresh(t, 0) && p.naiveFresh(t, 1)
	p.Pause(t)
	second := p.write(t, "second")
	p.stick(t, second)
	p.naiveStick(t, second)

	t.Run("twin/check, then delete", func(t *testing.T) {
		if !caughtUp {
			t.Fatal("the standbys had not caught up")
		}
		must(t, p.client.Del(t.Context(), "twin").Err())
		p.wantStaleTwin(t, 0, "second")
	})
	t.Run("ours", func(t *testing.T) {
		must(t, p.store.Raise(t.Context(), nil, first, ""))
		wantPrimary(t, wantBody(t, p.session(), "a", "second"))
		p.Resume(t)
		standbyAgain(t, p.session, "a", "second")
	})
}
