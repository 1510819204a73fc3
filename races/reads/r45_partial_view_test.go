package reads

import (
	"fmt"
	"testing"

	"casq/internal/testing/replicatest"
	"casq/replica"
)

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
		// A process that knows the first standby only, and meets the position.
		knowing := p.open(t, replica.Options{Store: p.store, Wait: -1}, 0)
		replicatest.Until(t, "it has raised the floor above the position", func() error {
			wantBody(t, knowing.Session(document("a")), "a", "new")
			known, err := p.store.Read(t.Context(), []replica.Object{document("a")})
			must(t, err)
			if !known.FromFloor || known.Position.Compare(at) < 0 {
				return fmt.Errorf("it is at %s, floor %v", known.Position, known.FromFloor)
			}
			return nil
		})
		wantPrimary(t, wantBody(t, p.session(), "a", "new"))
		p.Resume(t, 1)
		standbyAgain(t, p.session, "a", "new")
	})
}
