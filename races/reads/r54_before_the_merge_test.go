package reads

import (
	"testing"

	"casq/internal/redisurl"
	"casq/internal/testing/replicatest"
	"casq/replica"
	"casq/replica/redisstore"
)

// TestR54BeforeTheMerge: a process is killed, or loses the store, after the commit and
// before the position is stored. One that is killed right before the commit has written
// nothing, and does not keep its object from the standbys.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR54BeforeTheMerge(t *testing.T) {
	t.Parallel()
	p := newPositionsSite(t)

	t.Run("twin/position after the commit only", func(t *testing.T) {
		p.Pause(t)
		writer := p.dyingWriter(afterCommit, "twin")
		writer.Twin = true
		killWriter(t, writer)
		if got := body(t, p.Primary, "a"); got != "twin" {
			t.Fatalf("the primary shows %q", got)
		}
		p.wantStaleTwin(t, 0, "twin")
		p.Resume(t)
		p.CatchUp(t)
	})
	t.Run("ours/killed before the commit", func(t *testing.T) {
		killWriter(t, p.dyingWriter(afterMarks, "never"))
		wantPrimary(t, wantBody(t, p.session(), "a", "twin"))
		standbyAgain(t, p.session, "a", "twin")
	})
	t.Run("ours/killed after the commit", func(t *testing.T) {
		p.Pause(t)
		killWriter(t, p.dyingWriter(afterCommit, "killed"))
		decided(t, p.session, p.store, "a", "killed")
		p.Resume(t)
		standbyAgain(t, p.session, "a", "killed")
	})
	t.Run("ours/the store is lost after the commit", func(t *testing.T) {
		p.Pause(t)
		client, err := redisurl.Open(p.redis.URL())
		must(t, err)
		db := p.open(t, replica.Options{Wait: -1, Store: pointedStore{redisstore.New(client, redisstore.Options{}), func(point string) {
			if point == afterCommit {
				must(t, client.Close())
			}
		}}}, 0)
		sessionWrite(t, db.Session(document("a")), "a", "lost")
		decided(t, p.session, p.store, "a", "lost")
		p.Resume(t)
		standbyAgain(t, p.session, "a", "lost")
	})
}

// decided reads an object until its mark is gone, never from a late standby.
func decided(t *testing.T, open func() *replica.Session, store replica.Store, id, want string) {
	t.Helper()
	if undecided(t, store, id) == nil {
		t.Fatal("the writer has left no mark")
	}
	read := func() { wantPrimary(t, wantBody(t, open(), id, want)) }
	read()
	replicatest.Until(t, "the mark is decided", func() error {
		read()
		return undecided(t, store, id)
	})
	read()
}
