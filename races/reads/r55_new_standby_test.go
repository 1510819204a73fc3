package reads

import (
	"testing"

	"casq/replica"
)

// TestR55NewStandby: a standby that is late is added to one process only. The
// others, who do not know it, must not tell that process that all have caught up.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR55NewStandby(t *testing.T) {
	t.Parallel()
	r := newReplicaSite(t)
	_, store := newPositions(t)
	r.naiveWrite(t, "a", "old")
	r.CatchUp(t)
	old := r.open(t, replica.Options{Store: store(), Wait: -1}, 0)
	standbyAgain(t, func() *replica.Session { return old.Session(document("a")) }, "a", "old")
	r.Pause(t, 1)

	t.Run("twin/the key is removed when all that are known have it", func(t *testing.T) {
		store := &publishedStore{}
		need := r.naiveWrite(t, "a", "twin")
		store.stick(need, "a")
		r.CatchUp(t, 0)
		if r.replayed(t, 0) >= need {
			delete(store.at, "a")
		}
		// The process with the new standby, by turns.
		if host := store.host([]lsn{r.replayed(t, 1)}, "a"); host != 0 || body(t, r.standby[1], "a") != "old" {
			t.Errorf("host %d was chosen, and a is not stale", host)
		}
	})
	t.Run("ours", func(t *testing.T) {
		sessionWrite(t, old.Session(document("a")), "a", "new")
		r.CatchUp(t, 0)
		standbyAgain(t, func() *replica.Session { return old.Session(document("a")) }, "a", "new")
		// By now the floors are raised, or will be, to what the known standby has.
		added := r.open(t, replica.Options{Store: store(), Wait: -1}, 1)
		for range 20 {
			wantPrimary(t, wantBody(t, added.Session(document("a")), "a", "new"))
		}
		r.Resume(t, 1)
		standbyAgain(t, func() *replica.Session { return added.Session(document("a")) }, "a", "new")
	})
}
