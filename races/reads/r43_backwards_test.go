package reads

import "testing"

// TestR43Backwards: two processes write the same object; the later position is stored
// first.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR43Backwards(t *testing.T) {
	t.Parallel()
	p := newPositionsSite(t)
	first := p.write(t, "first")
	p.CatchUp(t)
	p.Pause(t)
	second := p.write(t, "second")

	t.Run("twin/the last call wins", func(t *testing.T) {
		p.naiveStick(t, second)
		p.naiveStick(t, first)
		p.wantStaleTwin(t, 0, "second")
	})
	t.Run("ours", func(t *testing.T) {
		p.stick(t, second)
		p.stick(t, first)
		wantPrimary(t, wantBody(t, p.session(), "a", "second"))
		p.Resume(t)
		standbyAgain(t, p.session, "a", "second")
	})
}
