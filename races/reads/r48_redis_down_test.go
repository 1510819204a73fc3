package reads

import (
	"testing"

	"casq/internal/testing/testredis"
	"casq/replica"
	"casq/replica/redisstore"
)

// TestR48RedisDown: the store of positions hangs, and then it is gone. Reads of
// watched objects go to the primary, without an error; later they return to the
// standbys.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR48RedisDown(t *testing.T) {
	t.Parallel()
	r := newReplicaSite(t)
	server := testredis.Start(t)
	store := redisstore.New(testredis.Client(t, server), redisstore.Options{})
	db := r.open(t, replica.Options{Store: store, Wait: -1})
	r.naiveWrite(t, "a", "old")
	r.CatchUp(t)
	open := func() *replica.Session { return db.Session(document("a")) }
	standbyAgain(t, open, "a", "old")
	r.Pause(t)
	must(t, server.Freeze())
	sessionWrite(t, open(), "a", "new")

	t.Run("twin/no answer, so nothing was written", func(t *testing.T) {
		if _, err := store.Read(t.Context(), []replica.Object{document("a")}); err == nil {
			t.Fatal("the store answers")
		}
		if got := body(t, r.standby[0], "a"); got != "old" {
			t.Errorf("the standby shows %q", got)
		}
	})
	t.Run("ours", func(t *testing.T) {
		for range 3 {
			wantPrimary(t, wantBody(t, open(), "a", "new"))
		}
		must(t, server.Thaw())
		// It has forgotten nothing, and was told nothing of the write.
		for range 20 {
			wantPrimary(t, wantBody(t, open(), "a", "new"))
		}
		must(t, server.Kill())
		for range 3 {
			wantPrimary(t, wantBody(t, open(), "a", "new"))
		}
		testredis.Restart(t, server)
		for range 3 {
			wantPrimary(t, wantBody(t, open(), "a", "new"))
		}
		r.Resume(t)
		standbyAgain(t, open, "a", "new")
	})
}
