package races

import "testing"

// TestR45PartialView: a process knows one of two standbys, sees that it has caught up,
// and drops the position. Another process reads through the other one, which is late.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR45PartialView(t *testing.T) {
	t.Parallel()
	p := newPositionsSite(t, 1)
	p.Pause(t, 1)
	at := p.write(t, "new")
	p.stick(t, at)
	p.naiveStick(t, at)
	p.CatchUp(t, 0)

	t.Run("twin/all that I know have it", func(t *testing.T) {
		if !p.naiveFresh(t, 0) {
			t.Fatal("the standby that is known has not caught up")
		}
		must(t, p.client.Del(t.Context(), "twin").Err())
		p.wantStaleTwin(t, 1, "new")
	})
	t.Run("ours", func(t *testing.T) {
		// As the process does that knows the first standby only.
		must(t, p.store.Raise(t.Context(), nil, at, ""))
		wantPrimary(t, wantBody(t, p.session(), "a", "new"))
		p.Resume(t, 1)
		standbyAgain(t, p.session, "a", "new")
	})
}
